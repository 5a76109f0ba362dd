"""Understanding images that are still free, and the choice of the nearest among them.

A list of nearest images has float32 sums, which only say who can be the nearest: whoever comes
within the rounding error of the best is measured again in float64, row by row. A list may have been
made before some of its images were taken; where it can no longer tell, it says so.

Shapes: U understanding images, D features, B queries of a block, K neighbors listed, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np

from pairuni_train.pair_data.encoders import FloatArray
from pairuni_train.pair_data.nearest import BoolArray, Index, IntArray, NearestList

UNIT = 1e-3  # how far from 1 a vector's length may be


class NobodyNamed(Enum):
    """Why a list names nobody."""

    NOTHING = 0  # no free image is similar enough
    UNSEEN = 1  # an image that is not in the list may be the best


class FreeImages:
    """The understanding images that are still free, and the choice among them.

    Args:
        features_UD: Their unit vectors.
        free_U: Which are free; `take` changes it.
        rank_U: Places of their ids among the sorted ones.
        threshold: Least cosine.
        index: Searches them.
    """

    def __init__(
        self,
        features_UD: FloatArray,
        free_U: BoolArray,
        rank_U: IntArray,
        threshold: float,
        index: Index,
    ) -> None:
        self.free_U = free_U
        self.index = index
        self._features_UD = features_UD
        self._rank_U = rank_U
        self._threshold = threshold
        # |float32 sum - exact sum| of D products of unit vectors, in whatever order they are added.
        self._error: float = (features_UD.shape[1] + 2) * 2.0**-24 * (1 + UNIT) ** 2

    def take(self, row: int) -> None:
        """Use an image up."""
        self.free_U[row] = False

    def nearest(self, query_BD: FloatArray) -> list[NearestList]:
        """The nearest free images of each query."""
        return self.index.nearest(query_BD, self.free_U, fresh=True).one_by_one()

    def best(self, query_D: FloatArray, found: NearestList) -> tuple[float, int] | NobodyNamed:
        """The cosine and row of the free image nearest to a query, if the list can tell."""
        open_K = self.free_U[found.row_K]
        # What no image that is missing from the list exceeds.
        unseen = -np.inf if found.complete else float(found.cosine_K[-1]) + self._error
        top = float(found.cosine_K.max(where=open_K, initial=-np.inf)) - self._error
        if unseen >= max(top, self._threshold):
            return NobodyNamed.UNSEEN
        if not open_K.any():
            return NobodyNamed.NOTHING
        cosine, row = self._exact_best(
            query_D, found.row_K[open_K & (found.cosine_K >= top - self._error)]
        )
        return (cosine, row) if cosine >= self._threshold else NobodyNamed.NOTHING

    def surely_best(
        self, query_D: FloatArray, found: NearestList
    ) -> tuple[float, int] | NobodyNamed:
        """The same, looked for anew where the list cannot tell."""
        best = self.best(query_D, found)
        if best is NobodyNamed.UNSEEN:
            return self.best(query_D, self.index.all_of(query_D, self.free_U))
        return best

    def _exact_best(self, query_D: FloatArray, row_C: IntArray) -> tuple[float, int]:
        """Measure candidates in float64, each in the same order of summation."""
        exact_C = (self._features_UD[row_C].astype(np.float64) * query_D.astype(np.float64)).sum(1)
        first = np.lexsort((self._rank_U[row_C], -exact_C))[0]
        return float(exact_C[first]), int(row_C[first])


def ranks_of(ids: Sequence[str]) -> IntArray:
    """The place of each id among the sorted ones."""
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    return ranks
