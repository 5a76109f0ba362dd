"""k-means of features that memory does not hold: mini-batches read from the disk.

scikit-learn's MiniBatchKMeans takes one batch after the other (`partial_fit`). The seed draws the
order of all rows for each pass, and the rows of a batch stand in the order of their numbers: so it
does not matter in which pieces or in which order they were read. Afterward every row is compared
with the centers, chunk by chunk.

Shapes: N rows, D features, K clusters, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pairuni_eval.toolkit import seed_for
from pairuni_train.pair_data.feature_files import IntArray, StackedFeatures

PASSES = 3
_BEGINNING = 3  # batches that k-means++ begins on, as MiniBatchKMeans does
_CHUNK = 16_384  # rows that are compared with the centers together


def fit_from_disk(means: Any, features: StackedFeatures, *, batch: int, seed: int) -> None:
    """Fit a MiniBatchKMeans to rows on the disk, in `PASSES` passes.

    Args:
        means: The estimator; its own random state draws what k-means++ begins with.
        features: Unit vectors.
        batch: B, no less than there are clusters.
        seed: Of the order of the rows.
    """
    from threadpoolctl import threadpool_limits

    drawn = batches(len(features), batch=batch, seed=seed)
    with threadpool_limits(1):  # k-means++ makes many small products, which threads only slow down
        means.partial_fit(features.take(next(drawn)))
    for rows_B in drawn:
        means.partial_fit(features.take(rows_B))


def batches(rows: int, *, batch: int, seed: int) -> Iterator[IntArray]:
    """The rows of each batch, ascending; in every pass each row is in exactly one."""
    for number in range(PASSES):
        draw = np.random.default_rng(seed_for(seed, "clusters", number, "mini-batches"))
        order_N = draw.permutation(rows)
        start, length = 0, batch if number else _BEGINNING * batch
        while start < rows:
            yield np.sort(order_N[start : start + length])
            start, length = start + length, batch


def labels_from_disk(
    means: Any, features: StackedFeatures, chunks: Iterable[range] | None = None
) -> npt.NDArray[np.int32]:
    """The cluster of each row.

    Args:
        means: The fitted estimator.
        features: Unit vectors.
        chunks: Rows that are read together, in the order of reading; default: from first to last.
    """
    label_N = np.empty(len(features), dtype=np.int32)
    for chunk in row_chunks(len(features)) if chunks is None else chunks:
        label_N[chunk.start : chunk.stop] = means.predict(features.take(np.asarray(chunk)))
    return label_N


def row_chunks(rows: int) -> list[range]:
    """All rows, a chunk after the other."""
    return [range(start, min(start + _CHUNK, rows)) for start in range(0, rows, _CHUNK)]
