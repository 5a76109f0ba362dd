"""Teacher forcing: hidden states of given completions, from which replay reads log-probs.

Completions of one prompt share it, and what they have in common at their beginning. A packed
sequence is a distinct prompt with the tree of its completions behind it: a node is a distinct
beginning, and sees the prompt and its own beginnings. The gradient of what rows share is the sum
over them, as it would be had each row run by itself. A group of eight answers to a question about
an image costs one prompt instead of eight, and equal answers cost one.

Attention is paid over a whole packed sequence, so that short prompts of long completions are better
run row by row: `pays` weighs the tokens that are saved against it. Both ways go through
transformers' modules.

Legend: N rows, U distinct prompts, P prompt positions (left-padded), T completion positions, M
nodes behind a prompt at most, S positions of a sequence, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairuni_eval.models.janus.prefix import Tree, causal, grow
from pairuni_eval.models.janus.prompts import Distinct, Prompt, distinct, embed


class _Behind(NamedTuple):
    """What stands behind a distinct prompt: its completions, but for the last token of each.

    Attributes:
        rows: The rows that it is of.
        lengths: Tokens of each row.
        tree: Their distinct beginnings.
    """

    rows: list[int]
    lengths: list[int]
    tree: Tree

    @property
    def nodes(self) -> int:
        """Number of distinct beginnings."""
        return len(self.tree.ids_M)


def hidden_before(
    janus: Any,
    prompt: Prompt,
    tokens_NT: Tensor,
    mask_NT: Tensor,
    read: Callable[[Tensor], Tensor],
) -> Tensor:
    """Hidden states one position before each completion token: (N, T, D). Differentiable.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        prompt: N rows.
        tokens_NT: The completions.
        mask_NT: True at the tokens that count, which are the first of a row. What is returned for
            others is some hidden state of that row's sequence.
        read: What the language model reads for tokens: a tensor of their shape and D.
    """
    shared = distinct(prompt)
    text = janus.config.get_text_config()
    if text._attn_implementation in ("sdpa", "eager"):  # flash attention takes no mask
        behind_U = _behind(tokens_NT, mask_NT, shared)
        if pays(
            [behind.nodes for behind in behind_U],
            rows=len(tokens_NT),
            width=prompt.mask_NP.shape[1],
            length=tokens_NT.shape[1] - 1,
            token_cost=token_cost(text.hidden_size, text.intermediate_size),
        ):
            return _packed(janus, prompt.rows(shared.first_U), behind_U, tokens_NT.shape, read)
    before_NTD = read(tokens_NT[:, :-1])
    x_NSD = torch.cat((embed(janus, prompt), before_NTD), dim=1)
    seen_NT = prompt.mask_NP.new_ones(before_NTD.shape[:2])
    mask_NS = torch.cat((prompt.mask_NP, seen_NT), dim=1)
    hidden_NSD: Tensor = janus.model.language_model(
        inputs_embeds=x_NSD, attention_mask=mask_NS.long(), use_cache=False
    ).last_hidden_state
    return hidden_NSD[:, prompt.mask_NP.shape[1] - 1 :]


def pays(nodes_U: Sequence[int], *, rows: int, width: int, length: int, token_cost: int) -> bool:
    """Whether packed sequences cost less than rows, in pairs of positions that attention visits.

    Args:
        nodes_U: Distinct beginnings of completions behind each distinct prompt.
        rows: N.
        width: Positions of a prompt.
        length: Positions of a completion.
        token_cost: What the projections of a token cost.
    """
    alone, packed = width + length, width + max(nodes_U)
    cost_of_rows = rows * alone * (token_cost + alone)
    cost_packed = len(nodes_U) * packed * (token_cost + packed)
    return cost_packed < cost_of_rows


def token_cost(hidden: int, feed_forward: int) -> int:
    """What the projections of a token cost, in pairs of positions that attention visits.

    (4 D^2 + 3 D F) / 2 D for a hidden size D and a feed-forward size F.
    """
    return 2 * hidden + 3 * feed_forward // 2


def scored_positions(rows: int, prompts: int, before: int, tokens: int, *, cost: int) -> int:
    """Positions that a pass runs through where completions have nothing but prompts in common.

    Args:
        rows: N.
        prompts: Distinct ones among theirs, of about as many rows each.
        before: Positions of a prompt.
        tokens: Positions of a completion.
        cost: See `token_cost`.
    """
    nodes = -(-rows // prompts) * tokens
    if pays([nodes] * prompts, rows=rows, width=before, length=tokens, token_cost=cost):
        return prompts * (before + nodes)
    return rows * (before + tokens)


def _behind(tokens_NT: Tensor, mask_NT: Tensor, shared: Distinct) -> list[_Behind]:
    """What stands behind each distinct prompt."""
    completions, counts = tokens_NT.tolist(), mask_NT.sum(1).tolist()
    rows_U: list[list[int]] = [[] for _ in shared.first_U]
    for row, kind in enumerate(shared.kind_N.tolist()):
        rows_U[kind].append(row)
    found = []
    for rows in rows_U:
        read = [completions[row][: max(0, counts[row] - 1)] for row in rows]
        found.append(_Behind(rows, [len(one) for one in read], grow(read, tokens_NT.shape[1])))
    return found


def _packed(
    janus: Any,
    different: Prompt,
    behind_U: Sequence[_Behind],
    shape: Sequence[int],
    read: Callable[[Tensor], Tensor],
) -> Tensor:
    """`hidden_before` over packed sequences.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        different: U distinct prompts.
        behind_U: What stands behind each.
        shape: N and T.
        read: What the language model reads for tokens.
    """
    device, most = different.ids_NP.device, max(behind.nodes for behind in behind_U)
    prompt_UPD = embed(janus, different)
    width = prompt_UPD.shape[1]
    ids_UM = torch.zeros(len(behind_U), most, dtype=torch.long)
    place_US = torch.arange(width + most).repeat(len(behind_U), 1)
    where_NT = torch.zeros(*shape, dtype=torch.long)
    for number, behind in enumerate(behind_U):
        ids_UM[number, : behind.nodes] = torch.tensor(behind.tree.ids_M, dtype=torch.long)
        depth_M = torch.tensor(behind.tree.depth_M, dtype=torch.long)
        place_US[number, width : width + behind.nodes] = width + depth_M
        where_NT[behind.rows] = number * (width + most) + _before(behind, width, shape[1])
    hidden_USD: Tensor = janus.model.language_model(
        inputs_embeds=torch.cat((prompt_UPD, read(ids_UM.to(device))), dim=1),
        attention_mask=_sees(different.mask_NP, behind_U, most)[:, None],
        position_ids=place_US.to(device),
        use_cache=False,
    ).last_hidden_state
    before_KD = hidden_USD.flatten(0, 1).index_select(0, where_NT.flatten().to(device))
    return before_KD.view(*shape, -1)


def _before(behind: _Behind, width: int, length: int) -> Tensor:
    """Where the position before each token of each row is in a packed sequence.

    Where a row has ended it is its last.
    """
    found = []
    for path, count in zip(behind.tree.where_BP, behind.lengths, strict=True):
        places = [width - 1, *(width + node for node in path[len(path) - count :])][:length]
        found.append(places + places[-1:] * (length - len(places)))
    return torch.tensor(found)


def _sees(mask_UP: Tensor, behind_U: Sequence[_Behind], most: int) -> Tensor:
    """Which positions each sees (U, S, S): of nodes, the prompt and their own beginnings.

    What fills a sequence up sees itself, for no row of a softmax may be empty.
    """
    width, device = mask_UP.shape[1], mask_UP.device
    sees_USS = mask_UP.new_zeros(len(mask_UP), width + most, width + most)
    sees_USS[:, :width, :width] = causal(mask_UP)
    sees_USS[:, width:, :width] = mask_UP[:, None]
    sees_USS[:, width:, width:] = torch.eye(most, dtype=torch.bool, device=device)
    for number, behind in enumerate(behind_U):
        own = slice(width, width + behind.nodes)
        sees_USS[number, own, own] = torch.from_numpy(behind.tree.sees_MM).to(device)
    return sees_USS
