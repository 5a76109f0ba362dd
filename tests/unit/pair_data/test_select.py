"""Which rows become aligned pairs: medoids, in memory or from the disk, and a draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans
from support.pair_sources import FloatArray

from pairuni_eval.errors import UserError
from pairuni_eval.toolkit import seed_for
from pairuni_train.pair_data import means_from_disk
from pairuni_train.pair_data.embed import normalized
from pairuni_train.pair_data.feature_files import IntArray, StackedFeatures
from pairuni_train.pair_data.means_from_disk import (
    PASSES,
    batches,
    fit_from_disk,
    labels_from_disk,
    row_chunks,
)
from pairuni_train.pair_data.select import Clusters, at_random, medoids


def grouped(
    features: FloatArray,
    names: Sequence[str],
    *,
    clusters: int,
    depth: int = 1,
    in_memory: int = 10**6,
    cut: int = 2,
) -> Clusters:
    """Medoids of features that lie in two matrices."""
    return medoids(
        StackedFeatures([features[:cut], features[cut:]]),
        list(names),
        clusters=clusters,
        seed=0,
        depth=depth,
        in_memory=in_memory,
    )


def test_the_medoid_has_the_largest_product_with_the_center() -> None:
    # Two tight groups; in the first, row 1 lies in the middle.
    angles = np.radians([0, 10, 20, 90, 92])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = grouped(features, "abcde", clusters=2, depth=3)
    members = sorted(found.members)
    assert members[0][0] == 1
    assert sorted(members[0]) == [0, 1, 2]
    assert members[1] == (3, 4)  # both as near: the smaller name
    assert found == grouped(features, "abcde", clusters=2, depth=3)


def test_clusters_without_rows_are_reported() -> None:
    same = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)
    found = grouped(same, "01234567", clusters=4)
    assert len(found.members) == 2
    assert found.empty == 2


def test_random_selection_uses_no_features() -> None:
    names = [f"n{n:02d}" for n in range(20)]
    found = at_random(names, clusters=6, seed=0, depth=3)
    assert [len(members) for members in found.members] == [3] * 6
    assert len({row for members in found.members for row in members}) == 18
    assert found == at_random(names, clusters=6, seed=0, depth=3)
    assert found != at_random(names, clusters=6, seed=1, depth=3)


def test_more_clusters_than_images_are_refused() -> None:
    with pytest.raises(UserError, match="3 clusters, but only 2 images"):
        grouped(np.eye(2, dtype=np.float32), "ab", clusters=3, cut=1)


# From the disk


@pytest.fixture(scope="module")
def bunches() -> FloatArray:
    """Ten directions, 60 rows around each of them."""
    rng = np.random.default_rng(0)
    centers = normalized(rng.standard_normal((10, 24)).astype(np.float32))
    noise = 0.05 * rng.standard_normal((600, 24))
    return normalized((np.repeat(centers, 60, axis=0) + noise).astype(np.float32))


def test_few_rows_are_clustered_as_ever(bunches: FloatArray) -> None:
    names = [f"{row:03d}" for row in range(600)]
    means = MiniBatchKMeans(
        n_clusters=10,
        random_state=seed_for(0, "clusters", 10, "k-means") % 2**32,
        batch_size=4096,
        n_init=1,
    ).fit(bunches)
    found = grouped(bunches, names, clusters=10, depth=600, in_memory=600)
    expected = [tuple(np.flatnonzero(means.labels_ == k)) for k in range(10)]
    assert [tuple(sorted(one)) for one in found.members] == [one for one in expected if one]


def test_many_rows_are_clustered_as_well(bunches: FloatArray) -> None:
    names = [f"{row:03d}" for row in range(600)]
    in_memory, from_disk = (
        grouped(bunches, names, clusters=10, depth=600, in_memory=rows) for rows in (600, 599)
    )

    def inertia(found: Clusters) -> float:
        return sum(
            float(bunches[list(rows)].var(axis=0).sum()) * len(rows) for rows in found.members
        )

    assert sorted(row for rows in from_disk.members for row in rows) == list(range(600))
    assert inertia(from_disk) <= 1.05 * inertia(in_memory)
    assert from_disk == grouped(bunches, names, clusters=10, depth=600, in_memory=599)


def test_the_matrices_that_rows_lie_in_change_nothing(bunches: FloatArray) -> None:
    names = [f"{row:03d}" for row in range(600)]
    found = [grouped(bunches, names, clusters=10, in_memory=1, cut=cut) for cut in (1, 300, 599)]
    assert found[0] == found[1] == found[2]


class Backward(StackedFeatures):
    """Features that are read from the last row to the first, one by one."""

    def take(self, rows_R: IntArray) -> FloatArray:
        taken_RD = np.empty((len(rows_R), self.width), dtype=np.float32)
        for place in reversed(range(len(rows_R))):
            taken_RD[place] = super().take(rows_R[place : place + 1])
        return taken_RD


def test_the_order_of_reading_changes_nothing(
    bunches: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(means_from_disk, "_CHUNK", 64)

    def labels(features: StackedFeatures, chunks: Sequence[range]) -> list[int]:
        means = MiniBatchKMeans(n_clusters=10, random_state=3, batch_size=50, n_init=1)
        fit_from_disk(means, features, batch=50, seed=1)
        return labels_from_disk(means, features, chunks).tolist()

    chunks = row_chunks(600)
    assert len(chunks) == 10
    expected = labels(StackedFeatures([bunches]), chunks)
    assert labels(Backward([bunches]), chunks[::-1]) == expected


def test_every_pass_meets_every_row_once() -> None:
    def passes(seed: int) -> Iterator[list[list[int]]]:
        found = [rows.tolist() for rows in batches(1000, batch=300, seed=seed)]
        first, *others = found
        assert len(first) == 900  # k-means++ begins on three batches
        yield [first, others[0]]
        rest = others[1:]
        for start in range(0, len(rest), 4):
            yield rest[start : start + 4]

    found = list(passes(0))
    assert len(found) == PASSES
    for one in found:
        assert sorted(row for rows in one for row in rows) == list(range(1000))
        assert all(rows == sorted(rows) for rows in one)
    assert found[1] != found[2]
    assert list(passes(0)) == found
    assert list(passes(1)) != found
