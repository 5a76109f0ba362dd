"""A pair, as it is stored and trained on.

A pair has an understanding half (an image, a question, its answer) and a generation half (a prompt,
perhaps with the image it belongs to). In an *aligned* pair both halves are about one image, and one
of them was written by a model (`completed`); in a *retrieved* pair they are about two images whose
features have the cosine `similarity`. Ablations pair at random, or hold one half only: such rows
are *unpaired*.

Departure: the paper stores no pair without two halves; its unpaired arms are rows of one half here,
so that every arm of a comparison is read by the same code.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from pairuni_eval.toolkit import stable_hash

Side = Literal["understanding", "generation"]
SIDES: tuple[Side, ...] = ("understanding", "generation")


class Kind(StrEnum):
    """How the halves of a pair came together."""

    ALIGNED = "aligned"  # one image, the other half completed
    RETRIEVED = "retrieved"  # two images, nearest neighbors above the threshold
    LOW_SIMILARITY = "low_similarity"  # two images, below the threshold
    RANDOM = "random"  # two images, drawn without looking
    UNPAIRED = "unpaired"  # one half only


class Understanding(msgspec.Struct, frozen=True, kw_only=True):
    """The understanding half.

    Attributes:
        id: The row's id in its source.
        image: The encoded image (PNG, JPEG, ...).
        question: The whole question as the model reads it, options included.
        answer: The gold answer: a letter for multiple choice, else a word or number.
        facts: What a programmatic checker knows about the row; empty for real data.
    """

    id: str
    source: str
    licence: str
    image: bytes
    question: str
    answer: str
    facts: dict[str, Any] = {}


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """The generation half; its image is used for pairing, never for training."""

    id: str
    source: str
    licence: str
    prompt: str
    image: bytes | None = None
    facts: dict[str, Any] = {}


Half = Understanding | Generation


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote a completed half, and who checked it.

    Attributes:
        half: Which half was written.
        writer: Snapshot of the model that wrote it.
        verifier: Snapshot of the model that checked it against the given half.
    """

    half: Side
    writer: str
    verifier: str


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a pair data set.

    Attributes:
        id: Hash of kind and both halves' sources and ids: the same on every machine.
        similarity: Cosine of the two images' features in [0, 1]; 1 for aligned pairs, None where
            nobody looked.
        completed: Set if one half was written by a model.
    """

    id: str
    kind: Kind
    understanding: Understanding | None = None
    generation: Generation | None = None
    similarity: float | None = None
    completed: Provenance | None = None


def pair_id(kind: Kind, understanding: Understanding | None, generation: Generation | None) -> str:
    """The id of a pair: the hash of its kind and of the sources and ids of its halves."""
    halves = [half and [half.source, half.id] for half in (understanding, generation)]
    return stable_hash("pair/1", str(kind), *halves)
