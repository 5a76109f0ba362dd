"""The text sampler: answers token by token over the same static cache as images.

Image placeholder, begin- and end-of-image ids are banned: a sampled placeholder would make the
replayed sequence ask for image features that do not exist.

Legend: B rows, T tokens, V vocabulary, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.models.janus.captured_step import DrawnToken
from pairuni_eval.models.janus.prefix import begin
from pairuni_eval.models.janus.prompts import Prompt
from pairuni_eval.models.janus.token_loop import TokenChoice, TokenLoop
from pairuni_eval.models.sampling import uniforms

_LOOKS_EVERY = 8  # tokens


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
    loop: TokenLoop | None = None,
) -> SampledText:
    """Sample one answer per row, at most `decoding.max_tokens` long.

    Returns tokens up to the longest answer of the batch; a row that ended earlier is padded. A row
    whose logits are not finite ends there.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        prompt: B rows.
        vocabulary: Which tokens end, fill, or may not be said.
        decoding: Temperature, top-k, top-p and the greatest length.
        seeds: One per row.
        record_logp: Also return log-probs of the distribution that was sampled from.
        loop: The model's own, for what it keeps from batch to batch; None begins with nothing.
    """
    loop, answers = loop or TokenLoop(), len(seeds)
    prompt, seeds = loop.batch(prompt, seeds)
    device = prompt.ids_NP.device
    choose = TokenChoice(
        janus.lm_head,
        decoding.temperature,
        decoding.top_k,
        decoding.top_p,
        1.0,
        record_logp,
        torch.tensor(vocabulary.banned, device=device),
    )
    run = loop.run(
        janus.model.language_model,
        begin(janus, [prompt]),
        uniforms(seeds, decoding.max_tokens, device).T,
        choose,
        janus.get_input_embeddings(),
    )
    with closing(run):
        return _cut(_until_all_end(run, vocabulary.end), vocabulary, answers)


def _until_all_end(run: Iterable[DrawnToken], end: int) -> list[DrawnToken]:
    """What is drawn until every row has ended.

    On a GPU the host looks for that now and then, for it has to wait there.
    """
    drawn: list[DrawnToken] = []
    ended_B: Tensor | None = None
    for one in run:
        drawn.append(one)
        ends_B = (one.token_B == end) | ~one.mark_B.isfinite()
        ended_B = ends_B if ended_B is None else ended_B | ends_B
        looks = not ended_B.is_cuda or len(drawn) % _LOOKS_EVERY == 0
        if looks and bool(ended_B.all()):
            break
    return drawn


def _cut(drawn: Sequence[DrawnToken], vocabulary: Vocabulary, answers: int) -> SampledText:
    """Answers up to their ends, of the first rows; what a row drew after its end is left out."""
    tokens_BT = torch.stack([one.token_B for one in drawn], 1)[:answers]
    finite_BT = torch.stack([one.mark_B for one in drawn], 1)[:answers].isfinite()
    ends_BT = ((tokens_BT == vocabulary.end) | ~finite_BT).int()
    mask_BT = ends_BT.cumsum(1) - ends_BT == 0
    longest = int(mask_BT.sum(1).max())
    tokens_BT, mask_BT = tokens_BT[:, :longest], mask_BT[:, :longest]
    logps = [one.logp_B[:answers] for one in drawn[:longest] if one.logp_B is not None]
    return SampledText(
        tokens_BT.masked_fill(~mask_BT, vocabulary.pad),
        mask_BT,
        torch.stack(logps, 1).masked_fill(~mask_BT, 0.0) if logps else None,
        (finite_BT[:, :longest] | ~mask_BT).all(1),
    )
