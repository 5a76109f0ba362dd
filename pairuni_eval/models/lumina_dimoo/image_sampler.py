"""Draws the codes of a picture over a few steps, the surest first.

Of N masked places, floor(N cos(pi/2 (s+1)/S)) stay masked after step s, at least one until the
last step, and at least one is filled at every step (MaskGIT's cosine schedule, Chang et al. 2022).
At each step every masked place gets a code; its confidence is the log-probability of that code
under the guided distribution at temperature 1, plus the temperature times Gumbel noise; the least
sure are masked again.

Guidance is a weighted sum over branches: (1 + s) c - s u for drawing, and for editing
c + t (c - without text) + i (c - without picture).

How many places are masked at a step is known before the first, so no number is read back from the
device in the loop, and every step has its fixed shapes.

Departure from the official code: of places with equal confidence exactly as many are masked as
planned. There they are compared with the k-th, and bfloat16 ties leave fewer.

Legend: B requests, N places, P masked ones, V codes, G branches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pairuni_eval.models.lumina_dimoo.masked_batch import MaskedBatch
from pairuni_eval.models.lumina_dimoo.network import GivesLogits, VocabularySlice
from pairuni_eval.models.lumina_dimoo.noise import Noise


class ImagePlan(NamedTuple):
    """How a picture is drawn.

    Attributes:
        masked: Places to draw, N, or fewer where a part of the picture is known.
        steps: S; no more are run than there are places.
        temperature: 0 takes the likeliest code.
        weights: Of each branch in the guided logits; (1,) without guidance.
    """

    masked: int
    steps: int
    temperature: float
    weights: tuple[float, ...]

    @property
    def schedule(self) -> tuple[int, ...]:
        """How many places stay masked after each step, 0 at the end."""
        left, found = self.masked, list[int]()
        for step in range(self.steps):
            if left == 0:
                break
            share = math.cos(_float32(math.pi / 2 * (step + 1) / self.steps))
            planned = max(1, math.floor(_float32(_float32(self.masked) * _float32(share))))
            left = 0 if step == self.steps - 1 else min(planned, left - 1)
            found.append(left)
        return tuple(found)


def _float32(value: float) -> float:
    """Rounded as the official schedule is."""
    return float(torch.tensor(value, dtype=torch.float32))


def draw_weights(text: float) -> tuple[float, ...]:
    """Weights of (conditional, unconditional) at guidance s; s = 0 needs no second branch."""
    return (1 + text, -text) if text > 0 else (1.0,)


def edit_weights(text: float, image: float) -> tuple[float, ...]:
    """Weights of (conditional, without text, without picture); at 0 and 0 of the first alone."""
    return (1 + text + image, -text, -image) if max(text, image) > 0 else (1.0,)


class DrawnCodes(NamedTuple):
    """What was drawn, places that were known before among it.

    Attributes:
        codes_BN: The codes, from 0.
        trace_BN: The step at which each was kept; -1 for what was known.
        logp_BN: Log-prob under the tempered, guided distribution that it was drawn from.
        finite_B: Whether all logits of a request were finite numbers.
    """

    codes_BN: Tensor
    trace_BN: Tensor
    logp_BN: Tensor
    finite_B: Tensor


class LogitSource(Protocol):
    """What gives a sampler its logits, step by step."""

    def logits(self, batch: MaskedBatch, step: int, index_BP: Tensor) -> Tensor:
        """Code logits of every branch at some of the tail's places, (G, B, P, V)."""
        ...


class FreshLogits(NamedTuple):
    """Computes them anew at every step, at the asked places and columns alone."""

    network: GivesLogits
    codes: VocabularySlice

    def logits(self, batch: MaskedBatch, step: int, index_BP: Tensor) -> Tensor:  # noqa: ARG002
        """See `LogitSource.logits`."""
        return batch.logits(self.network, index_BP, self.codes)


@torch.no_grad()
def draw_codes(
    source: LogitSource,
    batch: MaskedBatch,
    plan: ImagePlan,
    noise: Noise,
    *,
    mask: int,
    offset: int,
) -> DrawnCodes:
    """Fill the masked places of a batch.

    Args:
        source: Gives the logits.
        batch: Requests that have `plan.masked` masked places each.
        plan: How.
        noise: Where draws come from; unused at temperature 0.
        mask: Id of the mask token.
        offset: Code k is the token `offset + k`.
    """
    state_BN = batch.state_BN
    masked_BN = state_BN == mask
    trace_BN = torch.full_like(state_BN, -1)
    logp_BN = torch.zeros(state_BN.shape, device=state_BN.device)
    finite_B = torch.ones(len(state_BN), dtype=torch.bool, device=state_BN.device)
    left = plan.masked
    for step, stay in enumerate(plan.schedule):
        # True sorts first: the masked places of a row, in order.
        index_BP = masked_BN.byte().argsort(dim=1, descending=True, stable=True)[:, :left]
        logits_GBPV = source.logits(batch, step, index_BP)
        guided_BPV = guided_sum(logits_GBPV, plan.weights)
        finite_B &= guided_BPV.isfinite().flatten(1).all(1)
        made = _step(guided_BPV, index_BP, step, plan.temperature, noise)
        state_BN = state_BN.scatter(1, index_BP, made.code_BP + offset)
        trace_BN = trace_BN.scatter(1, index_BP, torch.full_like(index_BP, step))
        logp_BN = logp_BN.scatter(1, index_BP, made.logp_BP)
        unsure_BK = made.confidence_BP.topk(stay, dim=1, largest=False).indices
        again_BK = index_BP.gather(1, unsure_BK)
        state_BN = state_BN.scatter(1, again_BK, mask)
        batch = batch.written(state_BN)
        masked_BN = torch.zeros_like(masked_BN).scatter(1, again_BK, value=True)
        left = stay
    return DrawnCodes(state_BN - offset, trace_BN, logp_BN, finite_B)


def guided_sum(logits_GBPV: Tensor, weights: Sequence[float]) -> Tensor:
    """The weighted sum over branches, in float32: (B, P, V)."""
    if len(weights) == 1:
        return logits_GBPV[0].float()
    weight_G = torch.tensor(weights, device=logits_GBPV.device)
    return torch.einsum("g,gbpv->bpv", weight_G, logits_GBPV.float())


class _Filled(NamedTuple):
    code_BP: Tensor
    confidence_BP: Tensor
    logp_BP: Tensor


def _step(
    guided_BPV: Tensor, index_BP: Tensor, step: int, temperature: float, noise: Noise
) -> _Filled:
    """A code for every masked place, with its confidence and its log-prob."""
    logp_BPV = guided_BPV.log_softmax(-1)
    if temperature == 0:
        code_BP = guided_BPV.argmax(-1)
        confidence_BP = logp_BPV.gather(-1, code_BP[..., None])[..., 0]
        return _Filled(code_BP, confidence_BP, torch.zeros_like(confidence_BP))
    code_BP = noise.codes(step, index_BP, guided_BPV, temperature)
    confidence_BP = logp_BPV.gather(-1, code_BP[..., None])[..., 0]
    drawn_BPV = logp_BPV if temperature == 1 else (guided_BPV / temperature).log_softmax(-1)
    drawn_BP = drawn_BPV.gather(-1, code_BP[..., None])[..., 0]
    confidence_BP = confidence_BP.clamp_min(math.log(1e-20))
    return _Filled(code_BP, confidence_BP + temperature * noise.ranks(step, index_BP), drawn_BP)
