"""An inverted-file index (faiss IVF): search among a small part of the images, and miss some.

Each image lies in the list of its nearest center, and a query looks into the lists of a few centers
only. At a million images that is some hundred times less work than comparing with all of them, and
an image in a list that is not looked into is never found: `measure_recall` says how often. Vectors
are whole in the index, so that what is found has the cosine that an exact search gives it.

The same features, seed and settings give the same lists and the same neighbors, whatever the number
of threads and ranks: centers are trained on rows that the seed draws and by one thread, and queries
are searched in slices of fixed size, each by one thread. Features are read from the disk in chunks,
and the index is mapped from its file, which ranks of one machine share.

Shapes: U images that are searched, D features, B queries of a block.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from pairuni_eval.toolkit import UserError, seed_for
from pairuni_eval.toolkit.stats import wilson
from pairuni_eval.toolkit.store import atomic_path
from pairuni_train.pair_data.encoders import FloatArray
from pairuni_train.pair_data.free_images import FreeImages, NobodyNamed
from pairuni_train.pair_data.nearest import (
    LISTED,
    BoolArray,
    ExactIndex,
    Index,
    NearestList,
    NearestLists,
)
from pairuni_train.pair_data.retrieve import BLOCK

_TRAINED_ON = 40  # rows per list that centers are trained on; faiss asks for 39
_ADDED = 65_536  # rows that are added together
_SLICE = 256  # queries that one thread searches together
_NPROBE = 32


class IvfSpec(NamedTuple):
    """How an index is made and looked into.

    Attributes:
        nlist: Lists.
        nprobe: Lists that a query looks into.
    """

    nlist: int
    nprobe: int

    def __str__(self) -> str:
        return f"IVF index of {self.nlist} lists, {self.nprobe} looked into"


def ivf_spec(images: int, nlist: int | None, nprobe: int | None) -> IvfSpec:
    """What is settled by the number of images where it is not given.

    Args:
        images: U.
        nlist: Default: 4 times the root of U, faiss's advice for up to a million, and no more than
            there are 40 rows to train each on.
        nprobe: Default: 32. Never more than there are lists.

    Raises:
        UserError: for more lists than images.
    """
    if nlist is not None and nlist > images:
        raise UserError(
            f"retrieval.nlist is {nlist}, but there are only {images} understanding images.",
            hint=f"Set it to at most {images // _TRAINED_ON or 1}, or leave it out.",
        )
    lists = nlist or max(1, min(round(4 * sqrt(images)), images // _TRAINED_ON))
    return IvfSpec(lists, min(nprobe or _NPROBE, lists))


def write_ivf(
    features_UD: FloatArray,
    path: Path,
    *,
    nlist: int,
    seed: int,
    done: Callable[[int], None] = lambda _: None,
) -> None:
    """Make an index of images and write it to a file, whole or not at all.

    Args:
        features_UD: Unit vectors, float32; may be mapped from a file.
        path: Where it will lie.
        nlist: Lists.
        seed: Of the rows that centers are trained on, and of their training.
        done: Called with a number of images that are in it.
    """
    import faiss

    width = features_UD.shape[1]
    with _one_thread():
        index = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(width), width, nlist, faiss.METRIC_INNER_PRODUCT
        )
        index.cp.seed = seed_for(seed, "ivf", nlist, "centers") % 2**31
        index.cp.min_points_per_centroid = 1  # so that it says nothing where rows are few
        index.train(_drawn(features_UD, nlist * _TRAINED_ON, seed, "ivf training"))
        for start in range(0, len(features_UD), _ADDED):
            rows = np.ascontiguousarray(features_UD[start : start + _ADDED])
            index.add(rows)
            done(len(rows))
    with atomic_path(path) as partial:
        faiss.write_index(index, str(partial))


class IvfIndex:
    """An index that `write_ivf` wrote, mapped from its file.

    Args:
        path: The file.
        nprobe: Lists that a query looks into.
        listed: Neighbors of a list.

    Raises:
        UserError: if it is not such a file.
    """

    def __init__(self, path: Path, *, nprobe: int, listed: int = LISTED) -> None:
        import faiss

        try:
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except RuntimeError as failure:
            raise UserError(
                f"{path}: not an index of faiss: {str(failure).splitlines()[0]}",
                hint="Delete it: it is made again.",
            ) from failure
        self._index = index
        lists: Any = faiss.downcast_InvertedLists(index.invlists)
        lists.prefetch_nthread = 0  # what threads read ahead is in the page cache or comes as it is
        self._nprobe, self._listed = nprobe, listed
        self._threads = faiss.omp_get_max_threads()

    def nearest(
        self,
        query_BD: FloatArray,
        free_U: BoolArray,
        *,
        fresh: bool = False,  # noqa: ARG002
    ) -> NearestLists:
        """As `Index.nearest`; no taken image is in a list."""
        slices = [query_BD[start : start + _SLICE] for start in range(0, len(query_BD), _SLICE)]
        if not slices:
            nothing = np.zeros((0, self._listed))
            return NearestLists(nothing.astype(np.float32), nothing.astype(np.int64))
        import faiss

        parameters = self._parameters(free_U)

        def search(slice_BD: FloatArray) -> NearestLists:
            found = self._index.search(slice_BD, self._listed, params=parameters)
            return NearestLists(*found)

        with (
            _one_thread(),
            ThreadPoolExecutor(
                self._threads, initializer=lambda: faiss.omp_set_num_threads(1)
            ) as p,
        ):
            found = list(p.map(search, slices))
        return NearestLists(*map(np.concatenate, zip(*found, strict=True)))

    def all_of(self, query_D: FloatArray, free_U: BoolArray) -> NearestList:
        """As `Index.all_of`: what the index has for a query that looks again."""
        query_1D = np.ascontiguousarray(query_D[None])
        found = self._index.search(query_1D, self._listed, params=self._parameters(free_U))
        return NearestLists(*found).of(0)._replace(complete=True)

    def _parameters(self, free_U: BoolArray) -> Any:
        faiss: Any = importlib.import_module("faiss")  # its stubs know no selectors
        free = faiss.IDSelectorBitmap(np.packbits(free_U, bitorder="little"))
        return faiss.SearchParametersIVF(sel=free, nprobe=self._nprobe)


# How much is found


class Recall(msgspec.Struct, frozen=True):
    """How often an index finds the nearest image.

    Attributes:
        asked: Generation images that were drawn by the seed.
        partnered: Those of them whose nearest understanding image is above the threshold.
        found: Those of these for which the index gives an image as near.
    """

    asked: int
    partnered: int
    found: int

    def __str__(self) -> str:
        sample = f"of {self.asked} generation images drawn by the seed"
        if not self.partnered:
            return f"recall not known: none {sample} has a neighbor above the threshold"
        share = self.found / self.partnered
        low, high = wilson(share, self.partnered)
        return (
            f"recall {share:.3f} (95 % interval {low:.3f} to {high:.3f}): it finds the nearest "
            f"image of {self.found} of {self.partnered} that have one above the threshold, {sample}"
        )


def measure_recall(
    features_UD: FloatArray,
    features_GD: FloatArray,
    index: Index,
    *,
    threshold: float,
    queries: int,
    seed: int,
) -> Recall:
    """Compare an index with exact search, before any image is taken.

    Args:
        features_UD: Unit vectors of the understanding images, which the index has.
        features_GD: Unit vectors of the generation images.
        index: The index.
        threshold: Least cosine of a pair.
        queries: Generation images that are drawn.
        seed: Of the draw.
    """
    sample_SD = _drawn(features_GD, queries, seed, "recall")
    rows_U = np.arange(len(features_UD))
    exact, looked = (
        FreeImages(features_UD, np.ones(len(rows_U), dtype=bool), rows_U, threshold, one)
        for one in (ExactIndex(features_UD), index)
    )
    partnered = found = 0
    for start in range(0, len(sample_SD), BLOCK):
        block_BD = sample_SD[start : start + BLOCK]
        lists = [one.nearest(block_BD) for one in (exact, looked)]
        for query_D, of_exact, of_looked in zip(block_BD, *lists, strict=True):
            best = exact.surely_best(query_D, of_exact)
            if not isinstance(best, NobodyNamed):
                partnered += 1
                reached = looked.surely_best(query_D, of_looked)
                found += not isinstance(reached, NobodyNamed) and reached[0] == best[0]
    return Recall(len(sample_SD), partnered, found)


def _drawn(features_ND: FloatArray, count: int, seed: int, purpose: str) -> FloatArray:
    """Rows that the seed draws, in the order of the file; all where there are no more."""
    draw = np.random.default_rng(seed_for(seed, "rows", count, purpose))
    rows = draw.choice(len(features_ND), min(count, len(features_ND)), replace=False)
    return np.ascontiguousarray(features_ND[np.sort(rows)])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Faiss and what it multiplies with use one thread, whose order of work is always the same."""
    import faiss
    from threadpoolctl import threadpool_limits

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        faiss.omp_set_num_threads(before)
