"""Retrieved pairs are those of a naive float64 search, whatever the pieces, ties and duplicates."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pair_sources import FloatArray, naive_pairs, photograph_features

from pairuni_train.pair_data import retrieve as module
from pairuni_train.pair_data import search_waves
from pairuni_train.pair_data.embed import normalized
from pairuni_train.pair_data.nearest import BoolArray, ExactIndex, NearestLists
from pairuni_train.pair_data.retrieve import Retrieved, retrieve
from pairuni_train.pair_data.search_waves import RetrievedMatch, Search


class Pieces(NamedTuple):
    """How a search is cut: queries of a part and of a wave, images of a chunk, listed neighbors."""

    part: int = search_waves.PART
    wave: int = 2048
    chunk: int = 10_000
    listed: int = 32


USUAL = Pieces()


def searched(
    u_UD: FloatArray,
    g_GD: FloatArray,
    ids_U: Sequence[str],
    *,
    threshold: float,
    neighbors: int = 1,
    pieces: Pieces = USUAL,
) -> Retrieved:
    """What is retrieved, with the search cut into pieces."""
    index = ExactIndex(u_UD, listed=pieces.listed, chunk=4 * u_UD.shape[1] * pieces.chunk)
    search = Search.of_all(u_UD, g_GD, neighbors=neighbors)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_waves, "PART", pieces.part)
        patch.setattr(search_waves, "_LEAST", pieces.wave)
        return retrieve(search, index, ids_U, Path(folder), threshold=threshold)


def matches(
    u_UD: FloatArray,
    g_GD: FloatArray,
    ids_U: Sequence[str],
    *,
    threshold: float,
    neighbors: int = 1,
) -> list[RetrievedMatch]:
    """The pairs of a search in one piece."""
    return searched(u_UD, g_GD, ids_U, threshold=threshold, neighbors=neighbors).matches


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:05d}" for number in range(count)]


def pairs(
    u_UD: FloatArray, g_GD: FloatArray, *, threshold: float, pieces: Pieces
) -> list[tuple[int, int]]:
    found = searched(u_UD, g_GD, ids("u", len(u_UD)), threshold=threshold, pieces=pieces)
    return [(match.understanding, match.generation) for match in found.matches]


# By hand: u0 = (1, 0), u1 = (0, 1), g0 = (0.6, 0.8), g1 = (0, 1).
AXES = np.asarray([[1, 0], [0, 1]], dtype=np.float32)
SLANTED = np.asarray([[0.6, 0.8], [0, 1]], dtype=np.float32)


def test_given_order_gives_the_first_its_choice() -> None:
    found = matches(AXES, SLANTED, ["u0", "u1"], threshold=0.5)
    # g0 takes u1 (0.8), so g1, which is u1, is left with u0: 0.
    assert [(m.understanding, m.generation) for m in found] == [(1, 0)]
    assert found[0].similarity == pytest.approx(0.8, abs=1e-7)


def test_ties_go_to_the_smaller_id() -> None:
    same = np.asarray([[1, 0], [1, 0], [1, 0]], dtype=np.float32)
    found = matches(same, same, ["c", "a", "b"], threshold=0.5)
    assert [("cab"[m.understanding], m.generation) for m in found] == [("a", 0), ("b", 1), ("c", 2)]


def test_several_neighbors_use_every_image_once() -> None:
    u_UD = np.asarray([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], dtype=np.float32)
    g_GD = np.asarray([[1, 0], [0, 1]], dtype=np.float32)
    found = matches(u_UD, g_GD, list("abcd"), threshold=0.6, neighbors=3)
    # x takes a (1), b (.8) and c (.6); for y only d (1) is left.
    assert [(m.understanding, m.generation) for m in found] == [(0, 0), (1, 0), (2, 0), (3, 1)]


def test_similarity_stays_in_range_where_float32_exceeds_it() -> None:
    long = np.asarray([[0.6, 0.8]], dtype=np.float32) * np.float32(1.0000002)
    assert matches(long, long, ["u"], threshold=0.5)[0].similarity == 1.0


def test_threshold_is_met_by_equality() -> None:
    half = np.asarray([[0.5, 0.75**0.5]], dtype=np.float32)
    assert len(matches(AXES[:1], half, ["u"], threshold=0.5)) == 1
    assert not matches(AXES[:1], half, ["u"], threshold=0.5000001)


def test_vectors_must_be_of_length_one() -> None:
    with pytest.raises(ValueError, match="unit vectors"):
        matches(2 * AXES, SLANTED, ["a", "b"], threshold=0.5)
    with pytest.raises(ValueError, match="2 features against 3"):
        matches(AXES, np.eye(3, dtype=np.float32), ["a", "b"], threshold=0.5)


def test_highest_is_the_largest_cosine() -> None:
    found = searched(AXES, SLANTED[:1], ["a", "b"], threshold=0.9)
    assert not found.matches
    assert found.highest == pytest.approx(0.8, abs=1e-6)


def test_what_is_used_up_before_is_left_alone(tmp_path: Path) -> None:
    free_U, asked_Q = np.asarray([True, False]), np.asarray([1])
    search = Search(AXES, SLANTED, free_U, asked_Q)
    found = retrieve(search, ExactIndex(AXES), ["a", "b"], tmp_path, threshold=0.0)
    # g0 is not asked about, and of g1 = (0, 1) only u0 = (1, 0) is left.
    assert found.matches == [RetrievedMatch(0, 1, 0.0)]
    assert free_U.tolist() == [True, False]  # of the caller


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
    for pieces in (USUAL, Pieces(part=50, wave=120, chunk=90)):
        assert pairs(*photographed, threshold=threshold, pieces=pieces) == expected


def test_lists_that_are_used_up_are_searched_again(
    photographed: tuple[FloatArray, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SCANS", 3)
    expected = naive_pairs(*photographed, threshold=0.6)
    assert pairs(*photographed, threshold=0.6, pieces=Pieces(listed=2)) == expected
    assert pairs(*photographed, threshold=0.6, pieces=Pieces(listed=2, chunk=30)) == expected


def test_a_search_goes_on_where_it_was_stopped(
    photographed: tuple[FloatArray, FloatArray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its second wave: the one before and the part that is there are not made anew."""
    monkeypatch.setattr(search_waves, "PART", 40)
    monkeypatch.setattr(search_waves, "_LEAST", 80)
    search, names = Search.of_all(*photographed), ids("u", len(photographed[0]))
    whole = retrieve(search, ExactIndex(search.features_UD), names, tmp_path / "a", threshold=0.6)
    index = Stopping(search.features_UD, after=120)
    monkeypatch.setattr(module, "_TOGETHER", 1)
    with pytest.raises(InterruptedError):
        retrieve(search, index, names, tmp_path / "b", threshold=0.6)
    left = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert left == ["part-000000080.safetensors", "wave-000000.json"]
    index = Stopping(search.features_UD, after=10**9)
    assert retrieve(search, index, names, tmp_path / "b", threshold=0.6) == whole
    assert index.asked == 300 - 120


class Stopping(ExactIndex):
    """An exact index that is asked for so many lists of waves, and stops."""

    def __init__(self, features_UD: FloatArray, after: int) -> None:
        super().__init__(features_UD)
        self.asked, self._after = 0, after

    def nearest(
        self, query_BD: FloatArray, free_U: BoolArray, *, fresh: bool = False
    ) -> NearestLists:
        if not fresh:
            if self.asked + len(query_BD) > self._after:
                raise InterruptedError
            self.asked += len(query_BD)
        return super().nearest(query_BD, free_U, fresh=fresh)


# Few directions, so that many images are equal and many cosines tie.
directions = st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any)
sides = st.lists(directions, min_size=0, max_size=40)


@settings(deadline=None, max_examples=40)
@given(
    sides,
    sides,
    st.sampled_from([0.0, 0.5, 0.6, 0.99]),
    st.builds(Pieces, *(st.integers(1, most) for most in (50, 50, 50, 8))),
)
def test_ties_and_duplicates_are_paired_like_naively(
    us: list[list[int]], gs: list[list[int]], threshold: float, pieces: Pieces
) -> None:
    u_UD, g_GD = (normalized(np.asarray(x, dtype=np.float32).reshape(-1, 3)) for x in (us, gs))
    found = pairs(u_UD, g_GD, threshold=threshold, pieces=pieces)
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
