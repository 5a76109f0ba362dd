"""The images nearest to a query, and the exact search for them: features are read chunk by chunk.

faiss searches a block of queries at a time (inner product of unit vectors, a list of nearest
neighbors per query) among a chunk of images, and the lists of the chunks are merged. Memory is
bounded by block and chunk, however many images there are: features stay in their mapped file. The
sums are float32 and depend on how the product was cut into pieces, so a list only says who can be
the nearest; `retrieve` measures these again.

Shapes: U images that are searched, D features, B queries of a block, K neighbors listed, R images
of a chunk.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pairuni_train.pair_data.encoders import FloatArray

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

LISTED = 32  # neighbors of a list
_CHUNK = 2**27  # bytes of features that are copied at most
_STALE = 0.1  # share of taken images in a chunk at which it is copied without them


class NearestList(NamedTuple):
    """The nearest images of one query, as float32 arithmetic has it.

    Attributes:
        cosine_K: Cosines, the largest first; in any order if the list is complete.
        row_K: The images' rows.
        complete: True if it holds every free image that the index has for this query.
    """

    cosine_K: npt.NDArray[np.float64]
    row_K: IntArray
    complete: bool


class NearestLists(NamedTuple):
    """The lists of a block of queries; past the end of a short one stands row -1."""

    cosine_BK: FloatArray
    row_BK: IntArray

    def part(self, first: int, count: int) -> NearestLists:
        """The lists of some of the queries."""
        rows = slice(first, first + count)
        return NearestLists(self.cosine_BK[rows], self.row_BK[rows])

    def of(self, place: int) -> NearestList:
        """The list of one query."""
        row_K = self.row_BK[place]
        filled = row_K >= 0
        cosine_K = self.cosine_BK[place][filled].astype(np.float64)
        return NearestList(cosine_K, row_K[filled], complete=not filled.all())

    def one_by_one(self) -> list[NearestList]:
        """The list of every query."""
        return [self.of(place) for place in range(len(self.row_BK))]


class Index(Protocol):
    """Finds the nearest of U images."""

    def nearest(
        self, query_BD: FloatArray, free_U: BoolArray, *, fresh: bool = False
    ) -> NearestLists:
        """The nearest images of each query; taken ones may be among them unless `fresh`."""
        ...

    def all_of(self, query_D: FloatArray, free_U: BoolArray) -> NearestList:
        """A complete list for one query."""
        ...


class ExactIndex:
    """Compares every query with every free image.

    Args:
        features_UD: Unit vectors, float32; may be mapped from a file.
        listed: K.
        chunk: Bytes of features that are copied at most.
    """

    def __init__(
        self, features_UD: FloatArray, *, listed: int = LISTED, chunk: int = _CHUNK
    ) -> None:
        self._features_UD = features_UD
        self._listed = listed
        self._rows = max(1, chunk // max(1, 4 * features_UD.shape[1]))
        self._row_U = np.arange(len(features_UD))

    def nearest(
        self, query_BD: FloatArray, free_U: BoolArray, *, fresh: bool = False
    ) -> NearestLists:
        """As `Index.nearest`."""
        import faiss

        shape = (len(query_BD), self._listed)
        found = NearestLists(np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64))
        for start in range(0, len(free_U), self._rows):
            row_R = self._worth_searching(start, free_U, 0.0 if fresh else _STALE)
            if len(row_R) and len(query_BD):
                chunk_RD = self._features_UD[_as_slice(row_R)]
                listed = min(self._listed, len(row_R))
                cosine_BK, place_BK = faiss.knn(
                    query_BD, chunk_RD, listed, faiss.METRIC_INNER_PRODUCT
                )
                found = _merged(found, NearestLists(cosine_BK, row_R[place_BK]))
        return found

    def all_of(self, query_D: FloatArray, free_U: BoolArray) -> NearestList:
        """As `Index.all_of`; taken images are in it."""
        cosine_U = np.empty(len(free_U))
        for start in range(0, len(free_U), self._rows):
            rows = slice(start, start + self._rows)
            if free_U[rows].any():
                cosine_U[rows] = self._features_UD[rows] @ query_D
            else:
                cosine_U[rows] = -np.inf
        return NearestList(cosine_U, self._row_U, complete=True)

    def _worth_searching(self, start: int, free_U: BoolArray, stale: float) -> IntArray:
        """Rows of a chunk: all of them, or the free ones once more than `stale` are taken."""
        row_R = self._row_U[start : start + self._rows]
        free_R = free_U[row_R]
        taken = len(free_R) - int(free_R.sum())
        return row_R[free_R] if taken > stale * len(free_R) else row_R


def _as_slice(row_R: IntArray) -> slice | IntArray:
    """Rows without a gap as a slice, which copies nothing."""
    first, last = int(row_R[0]), int(row_R[-1])
    return slice(first, last + 1) if last - first + 1 == len(row_R) else row_R


def _merged(first: NearestLists, second: NearestLists) -> NearestLists:
    """The nearest of two sets of images, as many as `first` lists."""
    cosine_BK = np.concatenate([first.cosine_BK, second.cosine_BK], axis=1)
    row_BK = np.concatenate([first.row_BK, second.row_BK], axis=1)
    listed = first.row_BK.shape[1]
    order_BK = np.argsort(-cosine_BK, axis=1, kind="stable")[:, :listed]
    return NearestLists(
        np.take_along_axis(cosine_BK, order_BK, axis=1),
        np.take_along_axis(row_BK, order_BK, axis=1),
    )
