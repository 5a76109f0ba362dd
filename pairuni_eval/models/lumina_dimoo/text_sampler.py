"""Fills the masked places of an answer, block by block, the surest first.

L places are cut into blocks of equal length; a block has its share of the steps, and each of its
steps keeps an equal share of its places (the first ones one more, where that does not divide). At a
step every masked place of the block gets a token; its confidence is the probability of that token
over the vocabulary, and the surest are kept. The official evaluation asks for one token in one step
(`Layout.single`).

Guidance is c + s (c - u), where u sees the answer's masks alone: every other token is a mask.

Departures from the official code: the mask token, codes and the ends of pictures are no words, so
that no place stays masked and no code stands in a text; the loop does not end early, which never
changes the text before the end token.

Legend: B requests, N places of the answer, P those of a block, V vocabulary, G branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pairuni_eval.errors import UserError
from pairuni_eval.models.lumina_dimoo.config import TokenIds
from pairuni_eval.models.lumina_dimoo.image_sampler import guided_sum
from pairuni_eval.models.lumina_dimoo.masked_batch import MaskedBatch
from pairuni_eval.models.lumina_dimoo.network import GivesLogits


class TextPlan(NamedTuple):
    """How an answer is filled in.

    Attributes:
        tokens: Places of the answer, N.
        block: Places of a block; it divides `tokens`.
        steps: Steps in all; the number of blocks divides them.
        temperature: 0 takes the likeliest word.
        guidance: s; 0 needs no second branch.
    """

    tokens: int
    block: int
    steps: int
    temperature: float
    guidance: float = 0.0

    @property
    def quotas(self) -> tuple[tuple[int, ...], ...]:
        """For each block, how many places each of its steps keeps."""
        blocks, part = divmod(self.tokens, self.block)
        each, rest = divmod(self.steps, max(1, blocks))
        if part or rest or not blocks:
            raise UserError(
                f"{self.tokens} answer tokens in blocks of {self.block} and {self.steps} steps: a "
                "block divides the tokens, and the number of blocks the steps."
            )
        base, more = divmod(self.block, each)
        return tuple(tuple(base + (step < more) for step in range(each)) for _ in range(blocks))


class TextNoise(Protocol):
    """What words are drawn with."""

    def words(self, step: int, logits_BNV: Tensor, temperature: float) -> Tensor:
        """A word for every place of the answer, (B, N)."""
        ...


class UniformWords:
    """Exact draws by the inverse of the distribution, with numbers of each request's own seed."""

    def __init__(self, seeds: Sequence[int], steps: int, places: int, device: torch.device):
        rows = [
            torch.rand(
                (steps, places), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
            )
            for seed in seeds
        ]
        self._uniform_BSN = torch.stack(rows).to(device)

    def words(self, step: int, logits_BNV: Tensor, temperature: float) -> Tensor:
        """Draws from softmax(logits / temperature)."""
        mass_BNV = (logits_BNV.double() / temperature).softmax(-1).cumsum(-1)
        target_BN1 = self._uniform_BSN[:, step, :, None] * mass_BNV[..., -1:]
        word_BN: Tensor = torch.searchsorted(mass_BNV, target_BN1, right=True)[..., 0]
        return word_BN.clamp_(max=logits_BNV.shape[-1] - 1)


class FilledText(NamedTuple):
    """What was filled in.

    Attributes:
        tokens_BN: The answer's tokens.
        trace_BN: The step at which each was kept.
        logp_BN: Log-prob under the tempered, guided distribution over words.
        finite_B: Whether all logits of a request were finite numbers.
    """

    tokens_BN: Tensor
    trace_BN: Tensor
    logp_BN: Tensor
    finite_B: Tensor


def no_words(ids: TokenIds, vocabulary: int, device: torch.device) -> Tensor:
    """True for ids that an answer cannot hold: the mask, codes, and the frame of a picture."""
    banned_V = torch.zeros(vocabulary, dtype=torch.bool, device=device)
    banned_V[ids.image_offset :] = True
    for token in (ids.mask, ids.boi, ids.eoi, ids.newline, ids.uncondition, ids.answer_start):
        banned_V[token] = True
    return banned_V


@torch.no_grad()
def fill_text(
    network: GivesLogits,
    batch: MaskedBatch,
    plan: TextPlan,
    noise: TextNoise,
    *,
    mask: int,
    banned_V: Tensor | None,
) -> FilledText:
    """Fill the answers of a batch in.

    Args:
        network: Gives the logits.
        batch: Requests with `plan.tokens` masked places each, and two branches with guidance.
        plan: How.
        noise: Where draws come from; unused at temperature 0.
        mask: Id of the mask token.
        banned_V: Words that are never taken; None takes any, as the official code does.
    """
    state_BN = batch.state_BN
    trace_BN = torch.full_like(state_BN, -1)
    logp_BN = torch.zeros(state_BN.shape, device=state_BN.device)
    finite_B = torch.ones(len(state_BN), dtype=torch.bool, device=state_BN.device)
    place_N = torch.arange(plan.tokens, device=state_BN.device)
    weights = (1 + plan.guidance, -plan.guidance) if plan.guidance > 0 else (1.0,)
    step = 0
    for number, quota in enumerate(plan.quotas):
        stop = (number + 1) * plan.block
        for count in quota:
            logits_BNV = guided_sum(batch.logits(network), weights)
            finite_B &= logits_BNV.isfinite().flatten(1).all(1)
            made = _words(logits_BNV, step, plan.temperature, noise, banned_V)
            open_BN = (state_BN == mask) & (place_N < stop)
            sure_BN = made.confidence_BN.masked_fill(~open_BN, float("-inf"))
            kept_BK = sure_BN.topk(count, dim=1).indices
            state_BN = state_BN.scatter(1, kept_BK, made.word_BN.gather(1, kept_BK))
            trace_BN = trace_BN.scatter(1, kept_BK, torch.full_like(kept_BK, step))
            logp_BN = logp_BN.scatter(1, kept_BK, made.logp_BN.gather(1, kept_BK))
            batch = batch.written(state_BN)
            step += 1
    return FilledText(state_BN, trace_BN, logp_BN, finite_B)


class _Words(NamedTuple):
    word_BN: Tensor
    confidence_BN: Tensor
    logp_BN: Tensor


def _words(
    logits_BNV: Tensor, step: int, temperature: float, noise: TextNoise, banned_V: Tensor | None
) -> _Words:
    """A word for every place, its probability at temperature 1, and its log-prob when drawn."""
    if banned_V is not None:
        logits_BNV = logits_BNV.masked_fill(banned_V, float("-inf"))
    if temperature == 0:
        word_BN = logits_BNV.argmax(-1)
    else:
        word_BN = noise.words(step, logits_BNV, temperature)
    sure_BNV = logits_BNV.double().log_softmax(-1)
    sure_BN = sure_BNV.gather(-1, word_BN[..., None])[..., 0]
    if temperature in (0, 1):
        return _Words(word_BN, sure_BN, sure_BN.float())
    drawn_BNV = (logits_BNV.double() / temperature).log_softmax(-1)
    return _Words(word_BN, sure_BN, drawn_BNV.gather(-1, word_BN[..., None])[..., 0].float())
