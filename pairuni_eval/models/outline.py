"""What is known of a model that could be trained before a number of it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Weight(NamedTuple):
    """A tensor of the weights.

    Attributes:
        shape: Of a matrix outputs, then inputs.
        product: Whether an autocast casts it: it belongs to a layer that multiplies.
    """

    shape: tuple[int, ...]
    product: bool

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def row_by_row(rows: int, prompts: int, before: int, tokens: int) -> int:  # noqa: ARG001
    """Positions of rows that share nothing; see `Outline.scored`."""
    return rows * (before + tokens)


class Outline(NamedTuple):
    """Sizes of a model that answers and draws token by token.

    Attributes:
        weights: Every tensor by its policy's names, each once.
        layers: What the names of the decoder's layers begin with.
        depth: How many of these there are.
        hidden: Numbers that flow between layers for a token.
        feed_forward: Numbers inside a feed-forward network for a token.
        heads: Heads of queries.
        key_value: Numbers that a layer keeps of a token: of keys as many as of values.
        vocabulary: Words that it may say.
        codebook: Codes that a picture is made of.
        picture: Codes of a picture.
        seen: Tokens that a picture in a question takes.
        scored: How many positions at most a pass runs through that scores rows, given their number,
            that of their prompts, and the tokens of a prompt and of a completion.
    """

    weights: Mapping[str, Weight]
    layers: str
    depth: int
    hidden: int
    feed_forward: int
    heads: int
    key_value: int
    vocabulary: int
    codebook: int
    picture: int
    seen: int
    scored: Callable[[int, int, int, int], int] = row_by_row
