"""Writes answers and thoughts: a token after the other, rows together.

The first token that is fed is the start of a text; what follows ends with its end or after the
most tokens that are allowed. The official limit counts the start as well: N of it are N - 1 here.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.models.bagel.contexts import Context, ContextBlock, Marks, read
from pairuni_eval.models.bagel.network import Bagel
from pairuni_eval.models.sampling import pick, uniforms, warp


class Written(NamedTuple):
    """What was written.

    Attributes:
        ids: Tokens of each row, without the end.
        finite_R: Whether every distribution of a row was made of finite numbers.
    """

    ids: list[list[int]]
    finite_R: Tensor


@torch.no_grad()
def write(
    network: Bagel, context: Context, marks: Marks, decoding: Decoding, seeds: Sequence[int]
) -> Written:
    """Continue R contexts by a text each.

    Args:
        network: The model.
        context: What was said before; it is left as it is.
        marks: Its special tokens.
        decoding: Temperature, top-k, top-p and the most tokens.
        seeds: Of each row.
    """
    greedy = decoding.temperature == 0.0
    uniform_RT = uniforms(seeds, decoding.max_tokens, network.device)
    token_R = torch.full_like(context.next_R, marks.text_start)
    going_R = torch.ones_like(context.next_R, dtype=torch.bool)
    finite_R = going_R.clone()
    tokens: list[Tensor] = []
    for step in range(decoding.max_tokens):
        logits_RV, context = next_logits(network, context, token_R)
        finite_R &= logits_RV.isfinite().all(-1) | ~going_R
        warped_RV = warp(
            logits_RV.nan_to_num(), decoding.temperature, decoding.top_k, decoding.top_p
        )
        token_R = pick(warped_RV, uniform_RT[:, step], greedy=greedy)
        going_R = going_R & (token_R != marks.text_end)
        tokens.append(torch.where(going_R, token_R, marks.text_end))
        if not bool(going_R.any()):
            break
    rows = torch.stack(tokens, dim=1).tolist() if tokens else [[] for _ in seeds]
    return Written([[one for one in row if one != marks.text_end] for row in rows], finite_R)


def next_logits(network: Bagel, context: Context, token_R: Tensor) -> tuple[Tensor, Context]:
    """Logits (R, V) in float32 behind one more token of each row, and the context with it."""
    valid_R1 = torch.ones(len(token_R), 1, dtype=torch.bool, device=token_R.device)
    block = ContextBlock(network.words(token_R[:, None]), valid_R1, causal=True)
    hidden_R1D, context = read(network, context, block)
    logits: Tensor = network.language_model.lm_head(hidden_R1D[:, 0])
    return logits.float(), context
