"""Several columns rearranged together, against permutations that are counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pairuni_eval.stats.permutation import allotment_test, flip_test
from pairuni_eval.stats.swaps import MOST_DRAWS


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_flips_of_one_column_by_hand() -> None:
    # differences 0.2, 0.1, -0.1: of the 8 signed sums, 6 are at least as large as |0.2|
    found = flip_test(column(0.2, 0.1, -0.1), seed=0)
    assert found.p == pytest.approx(6 / 8) and found.exact and found.draws == 8
    assert found.value_K[0] == pytest.approx(0.2 / 3)


def test_allotments_by_hand() -> None:
    # 3 + 3 batches: of the 20 allotments two are as extreme as {3, 4, 5} against {0, 1, 2}
    found = allotment_test(column(3.0, 4.0, 5.0), column(0.0, 1.0, 2.0), seed=1)
    assert found.p == pytest.approx(2 / 20, abs=0.03) and found.value_K[0] == pytest.approx(3.0)
    level = allotment_test(column(1.0, 2.0), column(1.0, 2.0), seed=1)
    assert level.p == 1


def test_columns_are_corrected_for_each_other() -> None:
    """The second column is the first: whatever moves one moves the other, so nothing is lost."""
    one = np.random.default_rng(0).normal(0.6, 1.0, (10, 1))
    alone = flip_test(one, seed=0)
    twice = flip_test(np.hstack([one, one]), seed=0)
    assert twice.p == alone.p and twice.p_K.tolist() == [alone.p, alone.p]
    noise = np.random.default_rng(1).normal(0.0, 1.0, (10, 8))
    among = flip_test(np.hstack([one, noise]), seed=0)
    assert among.p_K[0] > alone.p_K[0], "more columns, more chance that one is as far"
    assert among.p == pytest.approx(np.nanmin(among.p_K))


def test_what_every_batch_says_is_found_in_the_column_that_says_it() -> None:
    draw = np.random.default_rng(2)
    change = draw.normal(0.0, 1.0, (20, 6))
    change[:, 3] += 3.0
    found = flip_test(change, seed=0)
    assert found.p is not None and found.p < 0.001 and np.argmin(found.p_K) == 3
    assert all(p > 0.05 for place, p in enumerate(found.p_K) if place != 3)
    held = found.interval(3, 0.05)
    assert held is not None and 1.5 < held.low < float(found.value_K[3]) < held.high < 4.5


def test_few_that_are_as_large_are_drawn_for() -> None:
    """30 batches on one side: 2 of 2^30 flips reach it, and no draw of 100,000 does."""
    found = flip_test(np.full((30, 1), 0.5) + np.arange(30)[:, None] * 0.01, seed=0)
    assert found.draws == MOST_DRAWS and found.p == pytest.approx(1 / (MOST_DRAWS + 1))
    near = flip_test(np.random.default_rng(3).normal(0.1, 1.0, (30, 1)), seed=0)
    assert near.draws == 2_000, "enough are as large at once"


@pytest.mark.parametrize("kind", ["flips", "allotments"])
def test_an_interval_leaves_out_zero_exactly_where_p_is_below_the_level(kind: str) -> None:
    for number in range(5):
        draw = np.random.default_rng(number)
        ours = draw.normal(0.5, 1.0, (int(draw.integers(6, 16)), 3))
        theirs = draw.normal(0.0, 1.0, (9, 3))
        found = (
            flip_test(ours, seed=number)
            if kind == "flips"
            else allotment_test(ours, theirs, seed=number)
        )
        for k in range(3):
            for level in (0.05, 0.2):
                held = found.interval(k, level)
                if held is None:
                    assert found.p_K[k] >= level
                    continue
                assert (held.low <= 0 <= held.high) == (found.p_K[k] >= level)
                assert held.low <= found.value_K[k] <= held.high


def test_too_few_batches_have_no_interval() -> None:
    found = flip_test(column(0.1, 0.2, 0.3, 0.4, 0.5), seed=0)
    assert found.p == pytest.approx(2 / 32) and found.interval(0, 0.05) is None
    assert found.interval(0, 0.1) is not None


def test_batches_without_a_column_count_in_the_others() -> None:
    whole = np.array([[0.1, 1.0], [0.3, np.nan], [0.2, 1.5], [0.4, np.nan], [0.2, 1.2], [0.1, 1.3]])
    found = flip_test(whole, seed=0)
    assert found.value_K.tolist() == pytest.approx([1.3 / 6, 5.0 / 4])
    alone = flip_test(np.column_stack([whole[:, 0], np.full(6, np.nan)]), seed=0)
    assert np.isnan(alone.p_K[1]) and alone.p == pytest.approx(2 / 64)
    nothing = flip_test(np.full((4, 2), np.nan), seed=0)
    assert nothing.p is None and nothing.interval(0, 0.05) is None


@pytest.mark.slow
def test_intervals_cover_and_tests_keep_their_level() -> None:
    """400 data sets of 12 batches and 4 correlated columns, with a difference and without."""
    covered = rejected = 0
    for number in range(400):
        draw = np.random.default_rng(number)
        common = draw.normal(0.0, 1.0, (12, 1))
        noise = draw.normal(0.0, 1.0, (12, 4)) + common
        rejected += (flip_test(noise, seed=number).p or 0.0) < 0.05
        held = flip_test(noise[:, :1] + 1.5, seed=number).interval(0, 0.05)
        covered += held is not None and held.low <= 1.5 <= held.high
    assert rejected <= 32, "5 % of 400, and what chance adds in 1 of 200 such tests"
    assert covered >= 366, "95 % of 400, less what chance takes"
