"""Retrieved pairs: exact nearest neighbors above a threshold, every image used at most once.

Algorithm 1, second half: for each remaining generation image g, J = top-n of the remaining
understanding images by cosine, those below the threshold left out; the pairs (u, g) are taken and
J and g removed. The g are gone through in the order that they stand in.

faiss searches a block of g at a time (inner product of unit vectors, a list of nearest neighbors
per row), so memory is bounded by the block whatever the sizes. Its sums are float32 and depend on
how the product was cut into pieces, so they only say who can be the nearest: whoever comes within
the rounding error of the best is measured again in float64, row by row. Hence the pairs are those
of float64 arithmetic, on any machine, with any block size. Ties go to the smaller id.

Shapes: U understanding and G generation images, D features, B rows of a block, K neighbors listed,
R images that were free when a search began.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairuni_train.pair_data.encoders import FloatArray

IntArray = npt.NDArray[np.int64]

_BLOCK = 2048
_LISTED = 32
_SCANS = 32  # lists found used up after which the rest of a block is searched again
_STALE = 0.1  # share of taken images in a list's base at which it is copied without them
_UNIT = 1e-3  # how far from 1 a vector's length may be


class RetrievedMatch(NamedTuple):
    """A retrieved pair: row of the understanding features, row of the generation ones, cosine."""

    understanding: int
    generation: int
    similarity: float


class _Outcome(Enum):
    NOTHING = 0  # no free image is similar enough
    UNSEEN = 1  # an image that is not in the list may be the best


class _NearestList(NamedTuple):
    """The nearest images of one g, best first, as float32 arithmetic has it."""

    cosine_K: npt.NDArray[np.float64]
    row_K: IntArray
    complete: bool  # True if it holds every image that was free


def retrieve(
    features_UD: FloatArray,
    features_GD: FloatArray,
    ids_U: Sequence[str],
    *,
    threshold: float,
    neighbors: int = 1,
    block: int = _BLOCK,
    done: Callable[[int], None] = lambda _: None,
) -> list[RetrievedMatch]:
    """Pair generation images with understanding images.

    Args:
        features_UD: Unit vectors, float32; may be mapped from a file.
        features_GD: The same for generation.
        ids_U: Ids of the understanding images; the smaller one wins a tie.
        threshold: Least cosine of a pair.
        neighbors: Understanding images per generation image.
        block: Generation images that are searched together.
        done: Called with a number of generation images that are dealt with.

    Returns:
        Pairs in the order they were made.

    Raises:
        ValueError: if vectors are not of length one (or zero), or differ in width.
    """
    _check(features_UD, features_GD)
    free = _Free(features_UD, _ranks(ids_U), threshold)
    matches: list[RetrievedMatch] = []
    for start in range(0, len(features_GD), block):
        rows = range(start, min(start + block, len(features_GD)))
        matches += _matches_of_block(free, features_GD, rows, neighbors)
        done(len(rows))
    return matches


def highest(features_UD: FloatArray, features_GD: FloatArray) -> float:
    """The largest cosine between the two sides."""
    free = _Free(features_UD, np.arange(len(features_UD)), -1.0)
    best = -1.0
    for start in range(0, len(features_GD), _BLOCK):
        for found in free.nearest(features_GD[start : start + _BLOCK]):
            best = max(best, float(found.cosine_K.max(initial=-1.0)))
    return best


def _check(features_UD: FloatArray, features_GD: FloatArray) -> None:
    if features_UD.shape[1] != features_GD.shape[1]:
        raise ValueError(f"{features_UD.shape[1]} features against {features_GD.shape[1]}")
    for features in (features_UD, features_GD):
        for start in range(0, len(features), _BLOCK):
            length = np.linalg.norm(features[start : start + _BLOCK], axis=1)
            if not ((np.abs(length - 1) < _UNIT) | (length == 0)).all():
                raise ValueError("features must be unit vectors")


def _ranks(ids: Sequence[str]) -> IntArray:
    """The place of each id among the sorted ones."""
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    return ranks


class _Free:
    """The understanding images that are still free, and the search among them."""

    def __init__(self, features_UD: FloatArray, rank_U: IntArray, threshold: float) -> None:
        self._features_UD = features_UD
        self._rank_U = rank_U
        self._threshold = threshold
        self._free_U = np.ones(len(features_UD), dtype=bool)
        self._base_RD, self._row_R = features_UD, np.arange(len(features_UD))
        # |float32 sum - exact sum| of D products of unit vectors, in whatever order they are added.
        self._error: float = (features_UD.shape[1] + 2) * 2.0**-24 * (1 + _UNIT) ** 2

    def take(self, row: int) -> None:
        """Use an image up."""
        self._free_U[row] = False

    def nearest(self, query_BD: FloatArray, *, fresh: bool = False) -> list[_NearestList]:
        """The nearest images of each query; taken ones may be among them unless `fresh`."""
        import faiss

        self._leave_out_taken(0.0 if fresh else _STALE)
        listed = min(_LISTED, len(self._base_RD))
        if listed == 0:
            nothing = _NearestList(np.zeros(0), np.zeros(0, np.int64), complete=True)
            return [nothing] * len(query_BD)
        cosine_BK, place_BK = faiss.knn(
            np.ascontiguousarray(query_BD), self._base_RD, listed, faiss.METRIC_INNER_PRODUCT
        )
        complete = listed == len(self._base_RD)
        return [
            _NearestList(cosine_K, self._row_R[place_K], complete)
            for cosine_K, place_K in zip(cosine_BK.astype(np.float64), place_BK, strict=True)
        ]

    def all_of(self, query_D: FloatArray) -> _NearestList:
        """Every free image for one query, unsorted."""
        self._leave_out_taken(_STALE)
        return _NearestList(
            (self._base_RD @ query_D).astype(np.float64), self._row_R, complete=True
        )

    def best(self, query_D: FloatArray, found: _NearestList) -> tuple[float, int] | _Outcome:
        """The cosine and row of the free image nearest to a query, if the list can tell."""
        open_K = self._free_U[found.row_K]
        # What no image that is missing from the list exceeds.
        unseen = -np.inf if found.complete else float(found.cosine_K[-1]) + self._error
        top = float(found.cosine_K.max(where=open_K, initial=-np.inf)) - self._error
        if unseen >= max(top, self._threshold):
            return _Outcome.UNSEEN
        if not open_K.any():
            return _Outcome.NOTHING
        cosine, row = self._exact_best(
            query_D, found.row_K[open_K & (found.cosine_K >= top - self._error)]
        )
        return (cosine, row) if cosine >= self._threshold else _Outcome.NOTHING

    def _exact_best(self, query_D: FloatArray, row_C: IntArray) -> tuple[float, int]:
        """Measure candidates in float64, each in the same order of summation."""
        exact_C = (self._features_UD[row_C].astype(np.float64) * query_D.astype(np.float64)).sum(1)
        first = np.lexsort((self._rank_U[row_C], -exact_C))[0]
        return float(exact_C[first]), int(row_C[first])

    def _leave_out_taken(self, share: float) -> None:
        """Copy the base without the taken images, once they are more than `share` of it."""
        open_R = self._free_U[self._row_R]
        if len(open_R) - int(open_R.sum()) > share * len(open_R):
            self._row_R = self._row_R[open_R]
            self._base_RD = self._features_UD[self._row_R]


def _matches_of_block(
    free: _Free, features_GD: FloatArray, rows: range, neighbors: int
) -> list[RetrievedMatch]:
    matches: list[RetrievedMatch] = []
    lists = free.nearest(features_GD[rows.start : rows.stop])
    scans = 0
    for place, row in enumerate(rows):
        query_D = features_GD[row]
        for _ in range(neighbors):
            best = free.best(query_D, lists[place])
            if best is _Outcome.UNSEEN:
                scans += 1
                if scans % _SCANS == 0:
                    lists[place:] = free.nearest(features_GD[row : rows.stop], fresh=True)
                    best = free.best(query_D, lists[place])
            if best is _Outcome.UNSEEN:
                best = free.best(query_D, free.all_of(query_D))
            if isinstance(best, _Outcome):
                break
            cosine, taken = best
            matches.append(RetrievedMatch(taken, row, min(1.0, max(0.0, cosine))))
            free.take(taken)
    return matches
