"""The text sampler: answers token by token over the same static cache as images.

Image placeholder, begin- and end-of-image ids are banned: a sampled placeholder would make the
replayed sequence ask for image features that do not exist.

Legend: B rows, T tokens, V vocabulary, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.finite import mark_of
from pairuni_eval.models.cast_weights import cast_once
from pairuni_eval.models.janus.decoder import StaticDecoder
from pairuni_eval.models.janus.prefix import begin
from pairuni_eval.models.janus.prompts import Prompt
from pairuni_eval.models.sampling import logp_of, pick, uniforms, warp


class SampledText(NamedTuple):
    """Sampled tokens (B, T), which of them count (the end token does), and log-probs if asked.

    `finite_B` is True where all logits up to a row's end were finite.
    """

    tokens_BT: Tensor
    mask_BT: Tensor
    logp_BT: Tensor | None
    finite_B: Tensor


class Vocabulary(NamedTuple):
    """The ids a text loop must know: where an answer ends, what fills, what may never be said."""

    end: int
    pad: int
    banned: tuple[int, ...]


def ban(logits_BV: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Logits in which banned ids cannot be chosen."""
    return logits_BV.index_fill(
        -1, torch.tensor(vocabulary.banned, device=logits_BV.device), float("-inf")
    )


@torch.inference_mode()
def sample_text(
    janus: Any,
    prompt: Prompt,
    *,
    vocabulary: Vocabulary,
    decoding: Decoding,
    seeds: Sequence[int],
    record_logp: bool = False,
) -> SampledText:
    """Sample one answer per row, at most `decoding.max_tokens` long.

    Returns tokens up to the longest answer of the batch; a row that ended earlier is padded. A row
    whose logits are not finite ends there.
    """
    with cast_once(janus.model.language_model, janus.lm_head):
        return _sample(janus, prompt, vocabulary, decoding, seeds, record_logp)


def _sample(
    janus: Any,
    prompt: Prompt,
    vocabulary: Vocabulary,
    decoding: Decoding,
    seeds: Sequence[int],
    record_logp: bool,
) -> SampledText:
    limit = decoding.max_tokens
    slots = prompt.mask_NP.shape[1] + limit - 1
    decoder = StaticDecoder(janus.model.language_model, slots=slots)
    hidden_BD = decoder.prefill(begin(janus, [prompt]))
    uniform_BT = uniforms(seeds, limit, hidden_BD.device)
    alive_B = torch.ones(len(seeds), dtype=torch.bool, device=hidden_BD.device)
    finite_B = alive_B
    tokens: list[Tensor] = []
    masks: list[Tensor] = []
    logps: list[Tensor] = []
    for i in range(limit):
        logits_BV = janus.lm_head(hidden_BD).float()
        finite_B = finite_B & (mark_of(logits_BV).isfinite() | ~alive_B)
        logits_BV = warp(
            ban(logits_BV, vocabulary),
            decoding.temperature,
            decoding.top_k,
            decoding.top_p,
        )
        token_B = pick(logits_BV, uniform_BT[:, i], greedy=decoding.temperature == 0.0)
        if record_logp:
            logps.append(logp_of(logits_BV, token_B).masked_fill(~alive_B, 0.0))
        token_B = token_B.masked_fill(~alive_B, vocabulary.pad)
        tokens.append(token_B)
        masks.append(alive_B)
        alive_B = alive_B & finite_B & (token_B != vocabulary.end)
        if i + 1 == limit or not bool(alive_B.any()):
            break
        hidden_BD = decoder.step(janus.get_input_embeddings()(token_B))
    return SampledText(
        torch.stack(tokens, 1),
        torch.stack(masks, 1),
        torch.stack(logps, 1) if logps else None,
        finite_B,
    )
