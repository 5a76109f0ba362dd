"""Teacher forcing: hidden states of given completions, from which replay reads log-probs.

Completions of one prompt share it. A packed sequence is a distinct prompt with the completions of
its rows behind it, each of which sees the prompt and itself; the gradient of the prompt's part is
the sum over its rows, as it would be had each row run by itself. A group of eight answers to a
question about an image costs one prompt instead of eight.

Attention is paid over a whole packed sequence, so that short prompts of long completions are better
run row by row: `pays` weighs the tokens that are saved against it. Both ways go through
transformers' modules.

Legend: N rows, U distinct prompts, P prompt positions (left-padded), T completion positions, K
completions behind a prompt at most, S positions of a sequence, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pairuni_eval.models.janus.prefix import causal
from pairuni_eval.models.janus.prompts import Distinct, Prompt, distinct, embed


def hidden_before(janus: Any, prompt: Prompt, completion_NTD: Tensor) -> Tensor:
    """Hidden states one position before each completion token: (N, T, D). Differentiable.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        prompt: N rows.
        completion_NTD: What the language model reads for each token; the last is never read.
    """
    before_NTD = completion_NTD[:, :-1]
    shared = distinct(prompt)
    text = janus.config.get_text_config()
    masked = text._attn_implementation in ("sdpa", "eager")  # flash attention takes no mask
    if masked and pays(
        torch.bincount(shared.kind_N).tolist(),
        width=prompt.mask_NP.shape[1],
        length=before_NTD.shape[1],
        token_cost=2 * text.hidden_size + 3 * text.intermediate_size // 2,
    ):
        return _packed(janus, prompt, shared, before_NTD)
    x_NSD = torch.cat((embed(janus, prompt), before_NTD), dim=1)
    seen_NT = prompt.mask_NP.new_ones(before_NTD.shape[:2])
    mask_NS = torch.cat((prompt.mask_NP, seen_NT), dim=1)
    hidden_NSD: Tensor = janus.model.language_model(
        inputs_embeds=x_NSD, attention_mask=mask_NS.long(), use_cache=False
    ).last_hidden_state
    return hidden_NSD[:, prompt.mask_NP.shape[1] - 1 :]


def pays(copies_U: Sequence[int], *, width: int, length: int, token_cost: int) -> bool:
    """Whether packed sequences cost less than rows, in pairs of positions that attention visits.

    Args:
        copies_U: Rows of each distinct prompt.
        width: Positions of a prompt.
        length: Positions of a completion.
        token_cost: What the projections of a token cost: (4 D^2 + 3 D F) / 2 D for a hidden size D
            and a feed-forward size F.
    """
    rows, prompts = sum(copies_U), len(copies_U)
    alone, packed = width + length, width + max(copies_U) * length
    cost_of_rows = rows * alone * (token_cost + alone)
    cost_packed = prompts * packed * (token_cost + packed)
    return cost_packed < cost_of_rows


def _packed(janus: Any, prompt: Prompt, shared: Distinct, before_NTD: Tensor) -> Tensor:
    first_U, kind_N = shared
    different = prompt.rows(first_U)
    place_N = _places(kind_N, len(first_U))
    copies, (length, size) = int(place_N.max()) + 1, before_NTD.shape[1:]
    behind_UKTD = before_NTD.new_zeros(len(first_U), copies, length, size)
    behind_UKTD = behind_UKTD.index_put((kind_N, place_N), before_NTD)
    prompt_UPD = embed(janus, different)
    width = prompt_UPD.shape[1]
    hidden_USD: Tensor = janus.model.language_model(
        inputs_embeds=torch.cat((prompt_UPD, behind_UKTD.flatten(1, 2)), dim=1),
        attention_mask=_sees(different.mask_NP, copies, length)[:, None],
        position_ids=_positions(width, copies, length, kind_N.device).expand(len(first_U), -1),
        use_cache=False,
    ).last_hidden_state
    last_UD = hidden_USD[:, width - 1]
    after_UKTD = hidden_USD[:, width:].reshape(behind_UKTD.shape)
    return torch.cat((last_UD[kind_N][:, None], after_UKTD[kind_N, place_N]), dim=1)


def _places(kind_N: Tensor, kinds: int) -> Tensor:
    """Which of the rows of its kind each row is, from 0: (N,)."""
    is_NU = kind_N[:, None] == torch.arange(kinds, device=kind_N.device)
    return (is_NU.cumsum(0) - 1).gather(1, kind_N[:, None])[:, 0]


def _positions(width: int, copies: int, length: int, device: torch.device) -> Tensor:
    """Rotary positions (S,): every completion goes on where the prompt ends."""
    places_S = torch.arange(width + length, device=device)
    return torch.cat((places_S[:width], places_S[width:].repeat(copies)))


def _sees(mask_UP: Tensor, copies: int, length: int) -> Tensor:
    """Which positions each position sees (U, S, S): of completions, the prompt and themselves."""
    width, device = mask_UP.shape[1], mask_UP.device
    owner_S = torch.arange(copies, device=device).repeat_interleave(length)
    place_S = torch.arange(length, device=device).repeat(copies)
    own_SS = (owner_S[:, None] == owner_S) & (place_S[:, None] >= place_S)
    sees_USS = mask_UP.new_zeros(len(mask_UP), width + len(owner_S), width + len(owner_S))
    sees_USS[:, :width, :width] = causal(mask_UP)
    sees_USS[:, width:, :width] = mask_UP[:, None]
    sees_USS[:, width:, width:] = own_SS
    return sees_USS
