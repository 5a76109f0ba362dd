"""Which rows become aligned pairs: the medoid of each cluster, or a random draw (paper, T9).

Algorithm 1, first half: C = MiniBatchKMeans(F, K); in each cluster the sample with the largest
inner product with the center. Rows of a cluster are given nearest first, for a completion may be
rejected. Ties go to the smaller name. Features are unit vectors; a center is not, which changes no
order within its cluster.

Shapes: N rows, D features, K clusters.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairuni_eval.toolkit import UserError, seed_for
from pairuni_train.pair_data.encoders import FloatArray
from pairuni_train.pair_data.feature_files import StackedFeatures
from pairuni_train.pair_data.means_from_disk import fit_from_disk, labels_from_disk

_BATCH = 4096  # rows of a step of MiniBatchKMeans
_SMALL = 10**9  # products per pass below which threads cost more than they give


class Clusters(NamedTuple):
    """Rows by cluster.

    Attributes:
        members: Rows of each cluster that has any, nearest to its center first.
        empty: Clusters without a row.
    """

    members: tuple[tuple[int, ...], ...]
    empty: int


def medoids(
    features: StackedFeatures,
    names: Sequence[str],
    *,
    clusters: int,
    seed: int,
    depth: int = 1,
    in_memory: int,
) -> Clusters:
    """Cluster the rows and take the first `depth` of each cluster.

    Args:
        features: Unit vectors.
        names: Names of the rows, which break ties.
        clusters: K.
        seed: Of MiniBatchKMeans.
        depth: Rows to give per cluster.
        in_memory: Rows that are clustered in memory at most; of more, mini-batches are read from
            the disk.

    Raises:
        UserError: if there are fewer rows than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    _check(clusters, len(features))
    batch = max(_BATCH, clusters)
    means = MiniBatchKMeans(
        n_clusters=clusters,
        random_state=seed_for(seed, "clusters", clusters, "k-means") % 2**32,
        batch_size=batch,
        n_init=1,
    )
    small = len(features) * features.width * clusters < _SMALL
    with threadpool_limits(1 if small else None):
        if len(features) > in_memory:
            fit_from_disk(means, features, batch=batch, seed=seed)
            label_N = labels_from_disk(means, features)
        else:
            means.fit(features.whole())
            label_N = means.labels_
    order = np.argsort(label_N, kind="stable")
    bounds = np.searchsorted(label_N[order], np.arange(clusters + 1))
    members = [
        _nearest_first(features, order[first:last], center_D, names, depth)
        for center_D, first, last in zip(
            means.cluster_centers_, bounds[:-1], bounds[1:], strict=True
        )
        if last > first
    ]
    return Clusters(tuple(members), clusters - len(members))


def at_random(names: Sequence[str], *, clusters: int, seed: int, depth: int = 1) -> Clusters:
    """As many groups as clusters, of `depth` rows each, drawn without looking at features.

    Raises:
        UserError: if there are fewer rows than clusters.
    """
    _check(clusters, len(names))
    rows = sorted(range(len(names)), key=names.__getitem__)
    random.Random(seed_for(seed, "clusters", clusters, "random selection")).shuffle(rows)
    return Clusters(tuple(tuple(rows[k::clusters][:depth]) for k in range(clusters)), 0)


def _nearest_first(
    features: StackedFeatures,
    rows: npt.NDArray[np.int64],
    center_D: FloatArray,
    names: Sequence[str],
    depth: int,
) -> tuple[int, ...]:
    # In float64 and row by row, so that equal rows have equal products.
    products = (features.take(rows).astype(np.float64) * center_D.astype(np.float64)).sum(axis=1)
    near = dict(zip(rows.tolist(), products.tolist(), strict=True))
    return tuple(sorted(near, key=lambda row: (-near[row], names[row]))[:depth])


def _check(clusters: int, rows: int) -> None:
    if clusters > rows:
        raise UserError(
            f"{clusters} clusters, but only {rows} images: every cluster needs one.",
            hint=f"Set selection.clusters (or pairs) to at most {rows}.",
        )
