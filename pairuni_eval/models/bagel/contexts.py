"""Contexts: what a conversation has put into the cache, block by block.

A conversation has no roles. A text is `<|im_start|> words <|im_end|>`, causal, one position a
token. A picture is a pair of marks around its tokens, which all stand at one position and see each
other; it is followed at the next position. Every block sees all blocks before it.

The marks of a picture stand before its tokens here: inside a block that shares its position and
sees all of itself the order says nothing, and the generation expert has one slice.

Rows of a batch may have texts and pictures of any length: what is missing is masked, in the block
and for everything behind it.

Legend: R rows, L tokens of a block, S tokens before it, T tokens of a picture, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pairuni_eval.models.bagel.network import WORDS, Bagel, Cache, Routing

MARKS = 2  # of a picture, before its tokens
PICTURE = Routing(slice(0, MARKS), slice(MARKS, None))  # of latents; those that are seen are words


class Marks(NamedTuple):
    """Ids of the special tokens, by what they do."""

    text_start: int
    text_end: int
    picture_start: int
    picture_end: int


class Context(NamedTuple):
    """What R rows have said so far.

    Attributes:
        past: Keys and values of S tokens; None of none.
        valid_RS: Which of them a row has.
        next_R: The position of what comes next.
    """

    past: Cache | None
    valid_RS: Tensor
    next_R: Tensor

    @classmethod
    def empty(cls, rows: int, device: torch.device) -> Context:
        """Nothing yet."""
        nothing = torch.zeros(rows, 0, dtype=torch.bool, device=device)
        return cls(None, nothing, torch.zeros(rows, dtype=torch.long, device=device))

    def __len__(self) -> int:
        """Number of rows; of a context, not of the tuple that holds it."""
        return len(self.next_R)

    def rows(self, index_N: Tensor) -> Context:
        """Some rows, or the same several times."""
        past = self.past
        if past is not None:
            keys = tuple(key.index_select(0, index_N) for key in past.keys)
            values = tuple(value.index_select(0, index_N) for value in past.values)
            past = Cache(keys, values)
        return Context(past, self.valid_RS[index_N], self.next_R[index_N])


class ContextBlock(NamedTuple):
    """Tokens that enter together.

    Attributes:
        x_RLD: What the experts read.
        valid_RL: Which tokens a row has.
        causal: A text, whose tokens see those before them; else a picture.
        routing: Which expert has which token.
    """

    x_RLD: Tensor
    valid_RL: Tensor
    causal: bool
    routing: Routing = WORDS


def positions(context: Context, block: ContextBlock) -> Tensor:
    """Positions of the tokens of a block (R, L)."""
    length = block.x_RLD.shape[1]
    along_L = torch.arange(length, device=context.next_R.device) * int(block.causal)
    return context.next_R[:, None] + along_L


def visible(context: Context, block: ContextBlock) -> Tensor | None:
    """Which tokens of cache and block each token of the block sees (R, L, S + L); None: all.

    A token that a row does not have sees itself, because no row of a softmax may be empty.
    """
    length = block.x_RLD.shape[1]
    if not block.causal and bool(context.valid_RS.all()) and bool(block.valid_RL.all()):
        return None
    device = block.x_RLD.device
    inside_LL = torch.ones(length, length, dtype=torch.bool, device=device)
    inside_LL = inside_LL.tril() if block.causal else inside_LL
    eye_LL = torch.eye(length, dtype=torch.bool, device=device)
    inside_RLL = (inside_LL & block.valid_RL[:, None]) | eye_LL
    before_RLS = context.valid_RS[:, None].expand(-1, length, -1)
    return torch.cat((before_RLS, inside_RLL), dim=2)


def read(network: Bagel, context: Context, block: ContextBlock) -> tuple[Tensor, Context]:
    """Hidden states of a block (R, L, D), and the context behind it."""
    hidden_RLD, fresh = network.experts(
        block.x_RLD,
        positions(context, block),
        block.routing,
        context.past,
        visible(context, block),
    )
    past = fresh if context.past is None else _joined(context.past, fresh)
    moved_R = block.valid_RL.sum(1)
    if not block.causal:
        moved_R = moved_R.clamp(max=1)
    valid_RS = torch.cat((context.valid_RS, block.valid_RL), dim=1)
    return hidden_RLD, Context(past, valid_RS, context.next_R + moved_R)


def _joined(before: Cache, fresh: Cache) -> Cache:
    keys = tuple(torch.cat(pair, dim=2) for pair in zip(before.keys, fresh.keys, strict=True))
    values = tuple(torch.cat(pair, dim=2) for pair in zip(before.values, fresh.values, strict=True))
    return Cache(keys, values)


def text_block(network: Bagel, marks: Marks, texts: Sequence[Sequence[int] | None]) -> ContextBlock:
    """A text of every row; None where a row has none.

    Args:
        network: Embeds the words.
        marks: Set around each text.
        texts: Ids, which may hold special tokens: a mark in somebody's text is one, as it is in the
            official code.
    """
    rows = [[] if one is None else [marks.text_start, *one, marks.text_end] for one in texts]
    width = max(map(len, rows))
    ids = [[*row, *[marks.text_end] * (width - len(row))] for row in rows]
    ids_RL = torch.tensor(ids, dtype=torch.long, device=network.device).view(len(rows), width)
    lengths_R1 = torch.tensor([[len(row)] for row in rows], device=network.device)
    valid_RL = torch.arange(width, device=network.device) < lengths_R1
    return ContextBlock(network.words(ids_RL), valid_RL, causal=True)


def picture_block(network: Bagel, marks: Marks, pictures: Sequence[Tensor | None]) -> ContextBlock:
    """A picture of every row that the vision tower has seen; None where a row has none.

    Args:
        network: Embeds the marks.
        marks: Set around each picture.
        pictures: Tokens (T, D), as `Bagel.seen` gives them.
    """
    found = [one for one in pictures if one is not None]
    width = max(map(len, found))
    around_MD = _marks(network, marks)
    nothing_TD = found[0].new_zeros(width, found[0].shape[1])
    x_RTD = torch.stack(
        [nothing_TD if one is None else F.pad(one, (0, 0, 0, width - len(one))) for one in pictures]
    )
    lengths_R1 = torch.tensor(
        [[0 if one is None else len(one) + MARKS] for one in pictures], device=network.device
    )
    valid_RL = torch.arange(width + MARKS, device=network.device) < lengths_R1
    x_RLD = torch.cat((around_MD.expand(len(x_RTD), -1, -1), x_RTD), dim=1)
    return ContextBlock(x_RLD, valid_RL, causal=False)


def latent_block(
    network: Bagel, marks: Marks, tokens_RTN: Tensor, places_T: Tensor, time: float | Tensor
) -> ContextBlock:
    """Latents of a picture of every row, all of one size.

    Args:
        network: Embeds them.
        marks: Set around each picture.
        tokens_RTN: The tokens.
        places_T: Their rows of the position table.
        time: 0 of a clean picture, up to 1 of noise; one for all, or (R,).
    """
    rows = len(tokens_RTN)
    time_R1 = torch.as_tensor(time, dtype=torch.float32, device=network.device).view(-1, 1)
    x_RTD = network.latents(tokens_RTN, places_T[None], time_R1.expand(-1, len(places_T)))
    x_RLD = torch.cat((_marks(network, marks).expand(rows, -1, -1), x_RTD), dim=1)
    valid_RL = torch.ones(x_RLD.shape[:2], dtype=torch.bool, device=network.device)
    return ContextBlock(x_RLD, valid_RL, causal=False, routing=PICTURE)


def _marks(network: Bagel, marks: Marks) -> Tensor:
    ids = torch.tensor([marks.picture_start, marks.picture_end], device=network.device)
    return network.words(ids)


def stacked(contexts: Sequence[Context]) -> Context:
    """The rows of several contexts, one after the other, as rows of one."""
    width = max(one.valid_RS.shape[1] for one in contexts)
    like = next((one.past for one in contexts if one.past is not None), None)
    valid_RS = torch.cat(
        [F.pad(one.valid_RS, (0, width - one.valid_RS.shape[1])) for one in contexts]
    )
    next_R = torch.cat([one.next_R for one in contexts])
    if like is None:
        return Context(None, valid_RS, next_R)
    wide = [_widened(one, width, like) for one in contexts]
    layers = range(len(like.keys))
    keys = tuple(torch.cat([one.keys[layer] for one in wide]) for layer in layers)
    values = tuple(torch.cat([one.values[layer] for one in wide]) for layer in layers)
    return Context(Cache(keys, values), valid_RS, next_R)


def _widened(context: Context, width: int, like: Cache) -> Cache:
    past = context.past
    if past is None:
        shape = (len(context), like.keys[0].shape[1], width, like.keys[0].shape[3])
        nothing = like.keys[0].new_zeros(shape)
        return Cache((nothing,) * len(like.keys), (nothing,) * len(like.keys))
    more = width - past.keys[0].shape[2]
    return Cache(
        tuple(F.pad(key, (0, 0, 0, more)) for key in past.keys),
        tuple(F.pad(value, (0, 0, 0, more)) for value in past.values),
    )
