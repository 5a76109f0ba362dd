"""Retrieved pairs are those of a naive float64 search, whatever the blocks, ties and duplicates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pair_sources import FloatArray, naive_pairs, photograph_features

from pairuni_train.pair_data import retrieve as module
from pairuni_train.pair_data.embed import normalized
from pairuni_train.pair_data.retrieve import highest, retrieve


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:05d}" for number in range(count)]


def pairs(
    u_UD: FloatArray, g_GD: FloatArray, *, threshold: float, block: int = 64
) -> list[tuple[int, int]]:
    found = retrieve(u_UD, g_GD, ids("u", len(u_UD)), threshold=threshold, block=block)
    return [(match.understanding, match.generation) for match in found]


# By hand: u0 = (1, 0), u1 = (0, 1), g0 = (0.6, 0.8), g1 = (0, 1).
AXES = np.asarray([[1, 0], [0, 1]], dtype=np.float32)
SLANTED = np.asarray([[0.6, 0.8], [0, 1]], dtype=np.float32)


def test_given_order_gives_the_first_its_choice() -> None:
    found = retrieve(AXES, SLANTED, ["u0", "u1"], threshold=0.5)
    # g0 takes u1 (0.8), so g1, which is u1, is left with u0: 0.
    assert [(m.understanding, m.generation) for m in found] == [(1, 0)]
    assert found[0].similarity == pytest.approx(0.8, abs=1e-7)


def test_ties_go_to_the_smaller_id() -> None:
    same = np.asarray([[1, 0], [1, 0], [1, 0]], dtype=np.float32)
    found = retrieve(same, same, ["c", "a", "b"], threshold=0.5)
    assert [("cab"[m.understanding], m.generation) for m in found] == [("a", 0), ("b", 1), ("c", 2)]


def test_several_neighbors_use_every_image_once() -> None:
    u_UD = np.asarray([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], dtype=np.float32)
    g_GD = np.asarray([[1, 0], [0, 1]], dtype=np.float32)
    found = retrieve(u_UD, g_GD, list("abcd"), threshold=0.6, neighbors=3)
    # x takes a (1), b (.8) and c (.6); for y only d (1) is left.
    assert [(m.understanding, m.generation) for m in found] == [(0, 0), (1, 0), (2, 0), (3, 1)]


def test_similarity_stays_in_range_where_float32_exceeds_it() -> None:
    long = np.asarray([[0.6, 0.8]], dtype=np.float32) * np.float32(1.0000002)
    assert retrieve(long, long, ["u"], threshold=0.5)[0].similarity == 1.0


def test_threshold_is_met_by_equality() -> None:
    half = np.asarray([[0.5, 0.75**0.5]], dtype=np.float32)
    assert len(retrieve(AXES[:1], half, ["u"], threshold=0.5)) == 1
    assert not retrieve(AXES[:1], half, ["u"], threshold=0.5000001)


def test_vectors_must_be_of_length_one() -> None:
    with pytest.raises(ValueError, match="unit vectors"):
        retrieve(2 * AXES, SLANTED, ["a", "b"], threshold=0.5)
    with pytest.raises(ValueError, match="2 features against 3"):
        retrieve(AXES, np.eye(3, dtype=np.float32), ["a", "b"], threshold=0.5)


def test_highest_is_the_largest_cosine() -> None:
    assert highest(AXES, SLANTED[:1]) == pytest.approx(0.8, abs=1e-6)


@pytest.fixture(scope="module")
def photographed(photographs: dict[str, bytes]) -> tuple[FloatArray, FloatArray]:
    data = list(photographs.values())
    return (
        photograph_features(data, 400, seed=1),
        photograph_features(data, 300, seed=2),
    )


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.95])
def test_photographs_are_paired_like_naively(
    photographed: tuple[FloatArray, FloatArray], threshold: float
) -> None:
    expected = naive_pairs(*photographed, threshold=threshold)
    assert len(expected) > 20
    assert pairs(*photographed, threshold=threshold, block=128) == expected


def test_lists_that_are_used_up_are_searched_again(
    photographed: tuple[FloatArray, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LISTED", 2)
    monkeypatch.setattr(module, "_SCANS", 3)
    expected = naive_pairs(*photographed, threshold=0.6)
    assert pairs(*photographed, threshold=0.6, block=512) == expected


# Few directions, so that many images are equal and many cosines tie.
directions = st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any)
sides = st.lists(directions, min_size=0, max_size=40)


@settings(deadline=None, max_examples=40)
@given(sides, sides, st.sampled_from([0.0, 0.5, 0.6, 0.99]), st.integers(1, 50))
def test_ties_and_duplicates_are_paired_like_naively(
    us: list[list[int]], gs: list[list[int]], threshold: float, block: int
) -> None:
    u_UD, g_GD = (normalized(np.asarray(x, dtype=np.float32).reshape(-1, 3)) for x in (us, gs))
    found = pairs(u_UD, g_GD, threshold=threshold, block=block)
    assert found == _by_sorting(u_UD, g_GD, threshold)


def _by_sorting(u_UD: FloatArray, g_GD: FloatArray, threshold: float) -> list[tuple[int, int]]:
    """All pairs above the threshold in the order of the rule, each kept if both are free.

    Cosines are sums over rows in float64, so equal rows tie exactly.
    """
    cosine = {
        (u, g): float((u_UD[u].astype(np.float64) * g_GD[g].astype(np.float64)).sum())
        for u, g in itertools.product(range(len(u_UD)), range(len(g_GD)))
    }
    above = [pair for pair, value in cosine.items() if value >= threshold]
    kept: list[tuple[int, int]] = []
    used: tuple[set[int], set[int]] = (set(), set())
    for u, g in sorted(above, key=lambda pair: (pair[1], -cosine[pair], pair[0])):
        if u not in used[0] and g not in used[1]:
            kept.append((u, g))
            used[0].add(u)
            used[1].add(g)
    return kept
