"""A search for neighbors cut into waves, and waves into parts, with what is written of each.

A wave is searched among the images that were free when it began. Its parts have lists of nearest
images; the wave has the pairs that came of them. Where waves and parts begin depends on what is
searched alone, and each file exists only when it is whole.

Shapes: U understanding and G generation images, D features, B queries of a block, K neighbors
listed, Q generation images that are asked about.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.store import atomic_path
from pairuni_train.pair_data.encoders import FloatArray
from pairuni_train.pair_data.nearest import BoolArray, IntArray, NearestLists

PART = 512  # queries of a file
_WAVE = 0.05  # share of the free images that a wave may take
_LEAST = 2048  # queries of a wave, however few images are free
_LATE = 120.0  # seconds that a shared file system may take to show a file


class Search(NamedTuple):
    """What is searched for what.

    Attributes:
        features_UD: Unit vectors, float32; may be mapped from a file.
        features_GD: The same for generation.
        free_U: The understanding images that may be taken.
        asked_Q: Rows of the generation images that are to be paired, in order.
        neighbors: Understanding images per generation image.
    """

    features_UD: FloatArray
    features_GD: FloatArray
    free_U: BoolArray
    asked_Q: IntArray
    neighbors: int = 1

    @classmethod
    def of_all(
        cls, features_UD: FloatArray, features_GD: FloatArray, *, neighbors: int = 1
    ) -> Search:
        """A search of every generation image among all understanding images."""
        free_U = np.ones(len(features_UD), dtype=bool)
        return cls(features_UD, features_GD, free_U, np.arange(len(features_GD)), neighbors)

    def queries(self, places: range) -> FloatArray:
        """The features of some of those that are asked about."""
        rows = self.asked_Q[places.start : places.stop]
        return np.ascontiguousarray(self.features_GD[rows])


class RetrievedMatch(NamedTuple):
    """A retrieved pair: row of the understanding features, row of the generation ones, cosine."""

    understanding: int
    generation: int
    similarity: float


class WaveResult(msgspec.Struct, frozen=True):
    """The pairs of a wave, and the largest cosine in its lists, -1 without any."""

    matches: tuple[RetrievedMatch, ...]
    highest: float


class Wave(NamedTuple):
    """Generation images that are searched among the same free images.

    Attributes:
        number: From 0.
        places: Their places among those that are asked about.
        path: Where its pairs will lie.
    """

    number: int
    places: range
    path: Path

    @property
    def parts(self) -> list[range]:
        """Its places file by file."""
        return _pieces(self.places, PART)

    def part_path(self, part: range) -> Path:
        """Where the lists of a part lie."""
        return self.path.with_name(f"part-{part.start:09d}.safetensors")

    def result(self) -> WaveResult:
        """Its pairs, which the first rank has written.

        Raises:
            UserError: if they are not to be seen.
        """
        wait_for_file(self.path)
        return msgspec.json.decode(self.path.read_bytes(), type=WaveResult)


class Waves:
    """The waves of a search, one after the other: how long one is depends on what is free.

    Attributes:
        free_U: The understanding images that are free now.
    """

    def __init__(self, search: Search, folder: Path) -> None:
        self.free_U = search.free_U.copy()
        self._asked, self._neighbors = len(search.asked_Q), search.neighbors
        self._folder = folder

    def __iter__(self) -> Iterator[Wave]:
        number = start = 0
        while start < self._asked:
            length = max(_LEAST, int(_WAVE * self.free_U.sum()) // self._neighbors)
            places = range(start, min(start + length, self._asked))
            yield Wave(number, places, _wave_path(self._folder, number))
            number, start = number + 1, places.stop

    def apply(self, result: WaveResult) -> None:
        """Use up what a wave has taken."""
        self.free_U[[match.understanding for match in result.matches]] = False


def wait_for_file(path: Path) -> None:
    """Until a file is to be seen that the first rank has written: shared folders may be late.

    Raises:
        UserError: if it never is.
    """
    patience = time.monotonic() + _LATE
    while not path.exists():
        if time.monotonic() > patience:
            raise UserError(
                f"{path} is not there, though the first rank has written it.",
                hint="All ranks need the same --out, on a file system that they share.",
            )
        time.sleep(0.1)


def _wave_path(folder: Path, number: int) -> Path:
    return folder / f"wave-{number:06d}.json"


def _pieces(places: range, size: int) -> list[range]:
    return [places[start : start + size] for start in range(0, len(places), size)]


def write_lists(path: Path, lists: NearestLists) -> None:
    """Write the lists of a part, whole or not at all."""
    from safetensors.numpy import save_file

    with atomic_path(path) as partial:
        save_file(
            {
                "cosines": np.ascontiguousarray(lists.cosine_BK),
                "rows": np.ascontiguousarray(lists.row_BK),
            },
            partial,
        )


def read_lists(path: Path) -> NearestLists:
    """The lists of a part."""
    from safetensors.numpy import load_file

    found = load_file(path)
    return NearestLists(found["cosines"], found["rows"])


def finished_waves(folder: Path) -> int:
    """How many waves have been gone through already."""
    number = 0
    while _wave_path(folder, number).exists():
        number += 1
    return number
