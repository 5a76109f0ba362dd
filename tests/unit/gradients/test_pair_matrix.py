"""The per-pair matrix by hand: classes, means, errors, re-pairings, the file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.gradients.matrix_file import read_matrix, write_matrix
from pairuni_eval.gradients.pair_matrix import (
    NOT_KNOWN,
    ClassMean,
    PairClass,
    PairTable,
    class_means,
    members,
)
from pairuni_eval.gradients.re_pairing import re_pair, re_pair_among
from pairuni_eval.gradients.rows import ALL

pytestmark = pytest.mark.light

# Norms 1, 2, 2 and 1, 1, 2: cosines (.5, -.5, 0), (.5, .5, .5), (0, .5, .5).
INNER = np.array([[0.5, -0.5, 0.0], [1.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
UND, GEN = np.array([1.0, 4.0, 4.0]), np.array([1.0, 1.0, 4.0])
COMMON = np.array([[1, 1, 0], [0, 1, 1], [-1, -1, -1]])


def table_of(
    inner: np.ndarray,
    *,
    common: np.ndarray | None = None,
    no: list[bool] | None = None,
    und: np.ndarray | None = None,
    gen: np.ndarray | None = None,
    scenario: str = "aligned",
) -> PairTable:
    count = len(inner)
    squares = np.ones(count)
    return PairTable(
        scenario,
        tuple(f"pair{n}" for n in range(count)),
        np.array(no or [False] * count),
        np.full((count, count), NOT_KNOWN) if common is None else common,
        {ALL: inner},
        {ALL: squares if und is None else und},
        {ALL: squares if gen is None else gen},
    )


def by_hand() -> PairTable:
    return table_of(INNER, common=COMMON, und=UND, gen=GEN)


def classes(table: PairTable) -> dict[PairClass, ClassMean]:
    return {one.pair_class: one for one in class_means(table)}


def test_cosines_and_classes() -> None:
    table = by_hand()
    assert table.cosines().tolist() == [[0.5, -0.5, 0.0], [0.5, 0.5, 0.5], [0.0, 0.5, 0.5]]
    assert members(table, PairClass.WITHIN).tolist() == np.eye(3, dtype=bool).tolist()
    assert np.argwhere(members(table, PairClass.SAME_CONCEPT)).tolist() == [[0, 1], [1, 2]]
    assert np.argwhere(members(table, PairClass.NOTHING)).tolist() == [[0, 2], [1, 0]]
    assert members(table, PairClass.RANDOM).sum() == 6


def test_means_and_jackknife_errors() -> None:
    found = classes(by_hand())
    assert [found[one].cosines for one in PairClass] == [3, 2, 6, 2]
    assert [found[one].mean for one in PairClass] == pytest.approx([0.5, 0.0, 1 / 6, 0.25])
    # Without pair 0, 1, 2 the other pairings have 1/2, 0, 0: (2/3) of (1/3)^2 + 2 (1/6)^2.
    assert found[PairClass.RANDOM].error == pytest.approx(1 / 3)
    assert found[PairClass.WITHIN].error == pytest.approx(0.0)
    # Without pair 1 nothing is left of the same concept.
    assert found[PairClass.SAME_CONCEPT].error is None


def test_the_error_of_partners_is_that_of_a_mean() -> None:
    cosines = np.random.default_rng(0).normal(size=(9, 9))
    error = classes(table_of(cosines))[PairClass.WITHIN].error
    assert error == pytest.approx(np.diagonal(cosines).std(ddof=1) / 3)


def test_the_pooled_cosine_is_one_quotient() -> None:
    within = classes(by_hand())[PairClass.WITHIN]
    assert within.pooled == pytest.approx(3.5 / math.sqrt(9 * 6))
    without = np.array([3 / math.sqrt(8 * 5), 2.5 / math.sqrt(5 * 5), 1.5 / math.sqrt(5 * 2)])
    spread = 2 / 3 * np.sum((without - without.mean()) ** 2)
    assert within.pooled_error == pytest.approx(math.sqrt(spread))
    other = classes(by_hand())[PairClass.SAME_CONCEPT]  # entries (0, 1) and (1, 2)
    assert other.pooled == pytest.approx(1.5 / math.sqrt((1 + 4) * (1 + 4)))


def test_a_dead_half_is_left_out_and_is_no_zero() -> None:
    inner, und = INNER.copy(), UND.copy()
    inner[1], und[1] = np.nan, np.nan
    found = classes(table_of(inner, common=COMMON, und=und, gen=GEN))
    assert [found[one].cosines for one in PairClass] == [2, 1, 4, 1]
    assert found[PairClass.RANDOM].mean == pytest.approx((-0.5 + 0 + 0 + 0.5) / 4)
    nothing = table_of(np.full((2, 2), np.nan), und=np.full(2, np.nan))
    assert {one.mean for one in class_means(nothing)} == {None}


def test_concepts_that_are_not_known_make_no_class() -> None:
    found = classes(table_of(INNER, und=UND, gen=GEN))
    assert [found[one].cosines for one in PairClass] == [3, 0, 6, 0]


def test_the_order_of_pairs_changes_nothing() -> None:
    generator = np.random.default_rng(3)
    common = generator.integers(-1, 2, (7, 7))
    table = table_of(generator.normal(size=(7, 7)), common=common)
    order = generator.permutation(7)
    square = np.ix_(order, order)
    other = table_of(table.inner[ALL][square], common=common[square])
    for one, two in zip(class_means(table), class_means(other), strict=True):
        assert two.cosines == one.cosines
        for name in ("mean", "error", "pooled", "pooled_error"):
            assert getattr(two, name) == pytest.approx(getattr(one, name)), name
    first, second = (re_pair(one.cosines(), seed=0) for one in (table, other))
    assert (first.exact, first.draws, second.p) == (True, 5040, first.p)


# Re-pairings


def test_every_re_pairing_of_three_pairs() -> None:
    # Their sums: 1.5, 1.5, .5, 0, 1, .5, in the mean 5/6; three are 2/3 away or more.
    found = re_pair(by_hand().cosines(), seed=0)
    assert (found.exact, found.draws, found.p) == (True, 6, 0.5)
    assert (found.seen, found.mean) == (pytest.approx(0.5), pytest.approx(5 / 18))
    # Away from 5/6 by 4, 4, 2, 5, 1 and 2 sixths.
    assert found.spread == pytest.approx((66 / 6) ** 0.5 / 6 / 3)


def test_a_planted_effect_has_the_smallest_p_there_is() -> None:
    generator = np.random.default_rng(0)
    cosines = generator.normal(size=(30, 30)) + 5 * np.eye(30)
    found = re_pair(cosines, seed=0)
    assert (found.exact, found.p) == (False, 1 / 10_001)
    assert found == re_pair(cosines, seed=0), "its draws have an address"
    assert re_pair(-cosines, seed=0).p == 1 / 10_001, "less is found as well"


def shares(p: list[float]) -> list[float]:
    return [float(np.mean(np.array(p) <= level)) for level in (0.1, 0.5)]


def test_p_is_uniform_where_pairing_does_not_matter() -> None:
    generator = np.random.default_rng(1)
    listed, drawn = [], []
    for seed in range(400):
        # Rows and columns of their own level: loud halves are loud with everybody.
        levels = generator.normal(size=(6, 1)) + generator.normal(size=(1, 6))
        cosines = levels + generator.normal(size=(6, 6))
        listed.append(re_pair(cosines, seed=seed).p)
        drawn.append(re_pair(cosines, seed=seed, draws=199).p)
    for found in (shares(listed), shares(drawn)):
        assert found == pytest.approx([0.1, 0.5], abs=0.08)
        assert found[0] <= 0.15


def concept_worlds(count: int, effect: float) -> list[tuple[float, float]]:
    """(p of pairing, p beyond the concept) in worlds where a concept in common is all there is."""
    generator = np.random.default_rng(2)
    found = []
    for seed in range(count):
        concept = generator.integers(0, 3, 9)
        shared = concept[:, None] == concept[None, :]
        cosines = effect * shared + generator.normal(size=(9, 9))
        among = re_pair_among(cosines, shared, seed=seed, walks=99, steps_per_pair=4)
        if among is not None:
            found.append((re_pair(cosines, seed=seed, draws=99).p, among.p))
    return found


def test_what_the_concept_does_is_not_put_down_to_the_pair() -> None:
    pairing, picture = zip(*concept_worlds(200, 3.0), strict=True)
    assert shares(list(pairing))[0] > 0.7, "the concept is seen"
    found = shares(list(picture))
    assert found == pytest.approx([0.1, 0.5], abs=0.11)
    assert found[0] <= 0.17


def test_what_the_pair_does_beyond_the_concept_is_found() -> None:
    shared = np.ones((8, 8), dtype=bool)
    shared[:4, 4:] = shared[4:, :4] = False
    cosines = np.random.default_rng(0).normal(size=(8, 8)) + 6 * np.eye(8)
    found = re_pair_among(cosines, shared, seed=0)
    assert found is not None
    assert found.p < 0.02
    assert re_pair_among(cosines, np.zeros((8, 8), dtype=bool), seed=0) is None


def test_where_everything_is_allowed_both_questions_are_one() -> None:
    everything = np.ones((5, 5), dtype=bool)
    for seed in range(3):
        cosines = np.random.default_rng(seed).normal(size=(5, 5))
        among = re_pair_among(cosines, everything, seed=seed)
        assert among is not None
        listed = re_pair(cosines, seed=seed)
        assert among.p == pytest.approx(listed.p, abs=0.06)
        assert among.mean == pytest.approx(listed.mean, abs=0.05)


# The file


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    inner = INNER.copy()
    inner[1] = np.nan
    parts = {ALL: inner, "norm": INNER / 2}
    table = table_of(inner, common=COMMON, no=[True, False, False])._replace(
        inner=parts,
        und={ALL: np.array([1.0, np.nan, 4.0]), "norm": UND},
        gen={ALL: GEN, "norm": GEN / 2},
    )
    other = table_of(np.full((2, 2), np.nan), scenario="random", und=np.full(2, np.nan))
    write_matrix(tmp_path / "matrix.parquet", [table, other])
    first, second = read_matrix(tmp_path)
    assert (first.scenario, first.pairs, first.blocks) == ("aligned", table.pairs, (ALL, "norm"))
    assert first.no_N.tolist() == [True, False, False]
    assert first.common_NN.tolist() == COMMON.tolist()
    for name in ("inner", "und", "gen"):
        for block in (ALL, "norm"):
            np.testing.assert_array_equal(getattr(first, name)[block], getattr(table, name)[block])
    assert class_means(first) == class_means(table)
    assert second.scenario == "random"
    assert np.isnan(second.inner[ALL]).all()


def test_an_outsider_needs_the_columns_alone(tmp_path: Path) -> None:
    write_matrix(tmp_path / "matrix.parquet", [by_hand()])
    rows = pd.read_parquet(tmp_path / "matrix.parquet")
    rows["cosine"] = rows["inner"] / (rows["und_square"] * rows["gen_square"]) ** 0.5
    within = rows[rows["und_place"] == rows["gen_place"]]
    same = rows[(rows["und_place"] != rows["gen_place"]) & (rows["in_common"] == True)]  # noqa: E712
    assert (within["cosine"].mean(), same["cosine"].mean()) == pytest.approx((0.5, 0.0))
    assert rows["in_common"].isna().sum() == 3


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no gradient matrix"):
        read_matrix(tmp_path)
    path = tmp_path / "matrix.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is no gradient matrix"):
        read_matrix(tmp_path)
    write_matrix(path, [by_hand()])
    rows = pd.read_parquet(path)
    rows.drop(columns=["inner"]).to_parquet(path)
    with pytest.raises(UserError, match="it has no column inner"):
        read_matrix(path)
    rows.iloc[1:].to_parquet(path)
    with pytest.raises(UserError, match="not those of a square table"):
        read_matrix(path)
