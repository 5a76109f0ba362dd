"""Log-probs of given tokens from hidden states, without the logits of all positions at once.

Answers over a vocabulary of 100,000 words take gigabytes of logits, and as much again for each step
from there to a log-prob. Where they are many, positions go through the head in chunks, and again in
the backward pass; a chunk is then all that is held. Few logits are computed as they are.

Legend: N rows, T positions, V vocabulary or codebook, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pairuni_eval.models.policies import entropy

HELD = 2**27  # logits that are held at once: half a gigabyte in float32


class LazyLogits(NamedTuple):
    """Logits that are not there yet.

    Attributes:
        hidden: Hidden states (N, T, D) of each branch that the head reads.
        head: From some positions of these to logits.
        width: Numbers that it gives for a position.
    """

    hidden: tuple[Tensor, ...]
    head: Callable[..., Tensor]
    width: int


def scored_tokens(
    logits: LazyLogits,
    tokens_NT: Tensor,
    *,
    temperature: float,
    with_entropy: bool,
    held: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-probs of tokens (N, T) in float32 and, where asked, entropies without gradient (N, T).

    Args:
        logits: What they are read from.
        tokens_NT: The tokens.
        temperature: That divides the logits.
        with_entropy: Whether the entropy is asked for.
        held: Logits that may be held at once; None is `HELD`.
    """
    rows, length = tokens_NT.shape
    size = max(1, (HELD if held is None else held) // (rows * logits.width))

    def some(tokens_NC: Tensor, *hidden: Tensor) -> tuple[Tensor, Tensor]:
        logp_NCV = (logits.head(*hidden).float() / temperature).log_softmax(-1)
        logp_NC = logp_NCV.gather(-1, tokens_NC[..., None])[..., 0]
        entropy_NC = entropy(logp_NCV.detach()) if with_entropy else torch.zeros_like(logp_NC)
        return logp_NC, entropy_NC.detach()

    if size >= length:
        logp_NT, entropy_NT = some(tokens_NT, *logits.hidden)
        return logp_NT, entropy_NT if with_entropy else None
    parts = [
        checkpoint(
            some,
            *(one[:, start : start + size] for one in (tokens_NT, *logits.hidden)),
            use_reentrant=False,
        )
        for start in range(0, length, size)
    ]
    logps, entropies = zip(*parts, strict=True)
    return torch.cat(logps, 1), torch.cat(entropies, 1) if with_entropy else None
