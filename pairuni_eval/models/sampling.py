"""From logits to tokens with one uniform number per token.

The numbers of a request come from its own CPU generator before the loop starts, so a token depends
on the request's seed and its own logits: not on the batch, the rank or the device's generator.
Drawing by the inverse of the cumulative distribution needs one number where Gumbel noise needs one
per vocabulary entry.

Legend: B rows, T steps, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def uniforms(seeds: Sequence[int], steps: int, device: torch.device) -> Tensor:
    """One row of `steps` numbers in [0, 1) per seed: (B, T) float64."""
    rows = [
        torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in seeds
    ]
    return torch.stack(rows).to(device)


def guide(logits_CV: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance in Janus' form, u + w (c - u).

    Args:
        logits_CV: Conditional rows, then as many unconditional rows: C = 2B along the first axis.
        scale: The CFG scale w.

    Returns:
        The guided logits of the B rows.
    """
    conditional_BV, unconditional_BV = logits_CV.chunk(2)
    return unconditional_BV + scale * (conditional_BV - unconditional_BV)


def warp(logits_BV: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Apply temperature, top-k and top-p in transformers' order; greedy leaves logits alone."""
    if temperature == 0.0:
        return logits_BV
    if temperature != 1.0:
        logits_BV = logits_BV / temperature
    if 0 < top_k < logits_BV.shape[-1]:
        floor_B1 = logits_BV.topk(top_k, dim=-1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < floor_B1, float("-inf"))
    if top_p < 1.0:
        sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True)
        mass_BV = sorted_BV.softmax(-1).cumsum(-1) - sorted_BV.softmax(-1)
        sorted_BV = sorted_BV.masked_fill(mass_BV >= top_p, float("-inf"))
        logits_BV = torch.empty_like(logits_BV).scatter(-1, order_BV, sorted_BV)
    return logits_BV


def pick(logits_BV: Tensor, uniform_B: Tensor, *, greedy: bool) -> Tensor:
    """The token of each row (B,): the argmax, or the inverse of its distribution at `uniform_B`."""
    if greedy:
        return logits_BV.argmax(-1)
    # float64, or the last entries of a large vocabulary could not be told apart.
    mass_BV = logits_BV.double().softmax(-1).cumsum(-1)
    target_B1 = uniform_B[:, None] * mass_BV[:, -1:]
    index_B: Tensor = torch.searchsorted(mass_BV, target_B1, right=True)[:, 0]
    return index_B.clamp_(max=logits_BV.shape[-1] - 1)


def logp_of(logits_BV: Tensor, tokens_B: Tensor) -> Tensor:
    """Log-probability of each row's token, in float32: (B,)."""
    return logits_BV.float().log_softmax(-1).gather(-1, tokens_B[:, None])[:, 0]
