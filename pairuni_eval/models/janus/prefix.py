"""The prefix of a batch: every distinct beginning of its prompts runs once, before any new token.

Prompts to draw share their template and often their first words; the unconditional rows of guidance
are one word repeated. Texts therefore run as one tree: a node is a distinct beginning, it looks at
its ancestors, and a row is a path from the root. Rows with images run side by side instead, padded
to one length, for there is nothing to share and a tree over their many tokens would be mostly mask.

Legend: B rows, P prompt positions (left-padded), U sequences that run, M tokens in each (nodes of
the tree, or P), D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pairuni_eval.models.janus.prompts import Prompt, distinct, embed


class Prefix(NamedTuple):
    """Sequences to run, and where each row finds its prompt in them.

    Attributes:
        x_UMD: Embeddings.
        sees_UMM: True where a token looks at another; always at itself.
        position_UM: Rotary position of each token.
        where_BP: Each row's prompt as flat indices into the U * M tokens; arbitrary at padding.
        mask_BP: True at the prompt's tokens, False at padding.
        next_B: Rotary position of each row's first new token.
    """

    x_UMD: Tensor
    sees_UMM: Tensor
    position_UM: Tensor
    where_BP: Tensor
    mask_BP: Tensor
    next_B: Tensor


class Tree(NamedTuple):
    """Distinct beginnings of many token sequences.

    Attributes:
        ids_M: The last token of each beginning.
        depth_M: Its position in a sequence.
        parent_M: The beginning without it, which comes earlier; -1 for none.
        where_BP: The node of each position of each row, 0 at padding.
    """

    ids_M: list[int]
    depth_M: list[int]
    parent_M: list[int]
    where_BP: list[list[int]]

    @property
    def sees_MM(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """True at a beginning's own beginnings, itself included."""
        sees_MM = np.eye(len(self.parent_M), dtype=np.bool_)
        for node, parent in enumerate(self.parent_M):
            if parent >= 0:
                sees_MM[node] |= sees_MM[parent]
        return sees_MM


def begin(janus: Any, prompts: Sequence[Prompt]) -> Prefix:
    """The prefix of all rows of some prompts of one length, in order."""
    if any(prompt.pixels_ICHW is not None for prompt in prompts):
        return _side_by_side(janus, prompts)
    mask_BP = torch.cat([prompt.mask_NP for prompt in prompts])
    ids_BP = torch.cat([prompt.ids_NP for prompt in prompts])
    tree = grow(
        [
            ids_P[-count:] if count else []
            for ids_P, count in zip(ids_BP.tolist(), mask_BP.sum(1).tolist(), strict=True)
        ],
        mask_BP.shape[1],
    )
    device = mask_BP.device
    return Prefix(
        janus.get_input_embeddings()(torch.tensor([tree.ids_M], device=device)),
        torch.from_numpy(tree.sees_MM)[None].to(device),
        torch.tensor([tree.depth_M], device=device),
        torch.tensor(tree.where_BP, device=device),
        mask_BP,
        mask_BP.sum(1),
    )


def grow(sequences: Sequence[Sequence[int]], width: int) -> Tree:
    """The tree of some token sequences, nodes in order of first appearance.

    Args:
        sequences: The tokens of each row, without padding.
        width: P, the length that rows are padded to on the left.
    """
    nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node
    parents: list[int] = []
    ids: list[int] = []
    depths: list[int] = []
    paths: dict[tuple[int, ...], list[int]] = {}
    for tokens in map(tuple, sequences):
        if tokens in paths:
            continue
        node, path = -1, []
        for depth, token in enumerate(tokens):
            parent = node
            node = nodes.setdefault((parent, token), len(ids))
            if node == len(ids):
                parents.append(parent)
                ids.append(token)
                depths.append(depth)
            path.append(node)
        paths[tokens] = [0] * (width - len(path)) + path
    return Tree(ids, depths, parents, [paths[tuple(tokens)] for tokens in sequences])


def _side_by_side(janus: Any, prompts: Sequence[Prompt]) -> Prefix:
    """Every distinct row by itself.

    Positions are those of the padded row: a constant shift, which rotary embeddings cannot see.
    """
    x: list[Tensor] = []
    masks: list[Tensor] = []
    rows: list[Tensor] = []
    for prompt in prompts:
        first_U, kind_N = distinct(prompt)
        different = prompt.rows(first_U)
        rows.append(kind_N + sum(map(len, masks)))
        x.append(embed(janus, different))
        masks.append(different.mask_NP)
    mask_UP, rows_B = torch.cat(masks), torch.cat(rows)
    length = mask_UP.shape[1]
    places_P = torch.arange(length, device=mask_UP.device)
    return Prefix(
        torch.cat(x),
        causal(mask_UP),
        places_P.expand(len(mask_UP), -1),
        rows_B[:, None] * length + places_P,
        mask_UP[rows_B],
        torch.full_like(rows_B, length),
    )


def causal(mask_UP: Tensor) -> Tensor:
    """Which positions each position sees (U, P, P): the real tokens up to itself, and itself.

    Padding sees itself only: no row of a softmax may be empty.
    """
    length = mask_UP.shape[1]
    before_PP = torch.ones(length, length, dtype=torch.bool, device=mask_UP.device).tril()
    eye_PP = torch.eye(length, dtype=torch.bool, device=mask_UP.device)
    return (before_PP & mask_UP[:, None]) | eye_PP
