"""Tests of a paired difference against hand-worked numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import GradedRows
from pairuni_eval.stats.multiple import holm
from pairuni_eval.stats.paired import (
    Counts,
    PairedSums,
    compare_pair,
    detectable,
    difference_p,
    discordant,
    mcnemar_p,
    pair_rows,
    swap_p,
)
from pairuni_eval.stats.swaps import random_swaps
from pairuni_eval.stats.ties import equivalence_p

MEAN = MetricSpec(name="accuracy")


def rows(value: Sequence[float], unit: Sequence[int], **tags: Sequence[str]) -> GradedRows:
    columns = {name: np.array(cells, dtype=object) for name, cells in tags.items()}
    draws = np.zeros(len(value), np.int64)
    return GradedRows(np.array(value, dtype=np.float64), np.array(unit, np.int64), draws, columns)


def pair(
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: Sequence[int] | None = None,
    spec: MetricSpec = MEAN,
    **tags: Sequence[str],
) -> PairedSums:
    units = list(range(len(ours))) if unit is None else unit
    names = np.array([f"u{n}" for n in range(max(units) + 1)], dtype=object)
    one, two = (rows(values, units, **tags) for values in (ours, theirs))
    return pair_rows([one], [two], spec, names)


def test_mcnemar_by_hand() -> None:
    assert mcnemar_p(5, 1) == pytest.approx(2 * (1 + 6) / 64)
    assert mcnemar_p(0, 10) == pytest.approx(2 / 1024)
    assert mcnemar_p(3, 3) == 1.0 and mcnemar_p(0, 0) == 1.0


def test_mcnemar_is_the_exact_permutation_of_single_outputs() -> None:
    both = pair([1, 1, 1, 1, 1, 0, 1, 0, 1], [0, 0, 0, 0, 0, 1, 1, 0, 1])
    assert discordant(both) == (5, 1)
    assert swap_p(both, seed=0) == (pytest.approx(mcnemar_p(5, 1)), "permutation, exact")
    assert compare_pair(both, margin=0.01, seed=0).test == "McNemar, exact"


def test_mcnemar_is_not_for_units_of_several_outputs_or_for_ratings() -> None:
    assert discordant(pair([1, 0, 1], [0, 0, 1], [0, 0, 1])) is None
    assert discordant(pair([0.5, 1], [1, 1])) is None


def test_exact_permutation_by_hand() -> None:
    # unit sums differ by 2, 1 and -1: of the 8 signed sums, 6 are at least as large as |2|
    both = pair([1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 1, 2])
    assert swap_p(both, seed=0)[0] == pytest.approx(6 / 8)


def test_units_that_agree_do_not_change_an_exact_p() -> None:
    agreeing = [1.0, 0.0] * 20
    both = pair([1, 1, 1, 0, *agreeing], [0, 0, 0, 1, *agreeing], [0, 0, 1, 2, *range(3, 43)])
    assert swap_p(both, seed=0) == (pytest.approx(6 / 8), "permutation, exact")


def test_many_differing_units_are_swapped_at_random_until_enough_is_known() -> None:
    both = pair([1.0] * 30, [0.5] * 30)
    p, test = swap_p(both, seed=0)
    assert p == pytest.approx(1 / 100_001) and test == "permutation, 100,000 draws"
    level = pair([1.0, 0.5] * 15, [0.5, 1.0] * 15)
    assert swap_p(level, seed=0) == (1.0, "permutation, 200 draws")


def test_a_clear_difference_is_found_among_101_headlines() -> None:
    p, _ = swap_p(pair([1.0] * 30, [0.5] * 30), seed=0)
    assert p is not None and holm([p] + [0.5] * 100)[0] == pytest.approx(101 / 100_001)


def test_drawn_swaps_agree_with_the_exact_tail() -> None:
    # 20 units, 16 for us and 4 against: 2 x the binomial tail from 16 of 20
    both = pair([1.0] * 16 + [0.5] * 4, [0.5] * 16 + [1.0] * 4)
    p, _ = swap_p(both, seed=1)
    assert p == pytest.approx(0.011818, rel=0.25)  # 200 draws as large: one in 14 off


def test_whole_numbers_are_counted_exactly() -> None:
    # 12 units that differ by 1 and one by 2, all for us: 2 of 2^13 signs are as far
    ours, theirs = [1.0] * 14, [0.0] * 14
    both = pair(ours, theirs, [*range(12), 12, 12])
    assert swap_p(both, seed=0) == (pytest.approx(2 / 2**13), "permutation, exact")
    # with the 2 against us the sum is 10: reached with the 2 by 12, 11 or 10 of 12 (1 + 12 + 66
    # ways), without it by all 12
    mixed = pair([1.0] * 12 + [0.0] * 2, [0.0] * 12 + [1.0] * 2, [*range(12), 12, 12])
    assert swap_p(mixed, seed=0)[0] == pytest.approx(2 * (79 + 1) / 2**13)


def test_units_of_many_kinds_are_drawn_like_units_of_one() -> None:
    # the change of unit n is 1 + n / 10,000; the four against us are the largest, so that every
    # other way to have 16 for us is as large as the one seen, and the tail is that of equal changes
    change = 1 + np.arange(20) / 10_000
    signs = np.array([1.0] * 16 + [-1.0] * 4)
    both = pair((change * signs).tolist(), [0.0] * 20)
    p, _ = swap_p(both, seed=1)
    assert p == pytest.approx(0.011818, rel=0.25)


def test_what_is_drawn_for_one_number_serves_the_next() -> None:
    change = np.arange(1.0, 41.0)[:, None] * [1.0, 2.0]
    first = random_swaps(change, 1)
    begun = [next(first), next(first)]
    whole = list(random_swaps(change.copy(), 1))
    assert whole[0] is begun[0] and whole[1] is begun[1] and next(first) is whole[2]
    assert sum(map(len, whole)) == 100_000
    assert not np.array_equal(next(random_swaps(change, 2)), whole[0])
    # every sum is one of half of the lines, and the second column is twice the first
    assert whole[0][:, 0].min() >= 0 and whole[0][:, 0].max() <= 820
    assert np.array_equal(whole[0][:, 1], 2 * whole[0][:, 0])


def test_wide_sums_are_drawn_alike_and_not_kept() -> None:
    change = np.arange(1.0, 13.0)[:, None] * np.ones(60)
    one, other = next(random_swaps(change, 1)), next(random_swaps(change, 1))
    assert one is not other and np.array_equal(one, other)


def test_equivalence_by_hand() -> None:
    # t with 30 degrees of freedom has 2.5 % above 2.042272
    assert equivalence_p(-0.002, 0.004, 30, 0.002 + 2.042272 * 0.004) == pytest.approx(0.025)
    assert equivalence_p(0.02, 0.004, 30, 0.01) > 0.95  # outside the margin


def test_difference_p_by_hand() -> None:
    assert difference_p(-2.042272, 1.0, 30) == pytest.approx(0.05)
    assert difference_p(1.0, 0.0, 30) is None


def test_detectable_by_hand() -> None:
    # with many units 1.959964 + 0.841621 standard errors
    assert detectable(0.1, 1e9) == pytest.approx(0.2801585, abs=1e-6)


def test_gains_of_a_mean_add_up_to_the_difference() -> None:
    both = pair([1, 1, 0, 1], [0, 1, 1, 0])
    assert both.gains().tolist() == pytest.approx([0.25, 0, -0.25, 0.25])
    assert both.seen() == (0.75, 0.5)


def test_gains_of_f1_by_hand() -> None:
    # ours: two true positives, F1 1; theirs: one of them missed, F1 2/3
    spec = MetricSpec(name="f1", aggregate="f1", of="said_yes")
    both = pair([1, 1], [0, 1], spec=spec, label=["yes", "yes"])
    assert both.gains().tolist() == pytest.approx([1 / 3, 0])
    assert both.counts() is None  # F1 is not a share of outputs


def test_counts_of_right_outputs() -> None:
    assert pair([1, 1, 0], [0, 1, 0]).counts() == Counts(2, 1, 3)
    assert pair([0.5, 1, 0], [0, 1, 0]).counts() is None


def test_a_side_of_several_runs_is_their_mean() -> None:
    names = np.array(["a", "b"], dtype=object)
    ours = [rows([1, 1], [0, 1]), rows([1, 0], [0, 1])]
    both = pair_rows(ours, [rows([0, 1], [0, 1])], MEAN, names)
    assert both.seen() == (0.75, 0.5) and not both.single
    assert compare_pair(both, margin=0.01, seed=0).test == "t over units"


def test_evidence_of_a_mean_by_hand() -> None:
    # differences 1, 1, 0, 0: variance 1/3 of a unit; two more that differ by a quarter of two coins
    # at the mean share .5, .25 x 2 x .5 x .5: (3/3 + 2/8) / 5 = .25, the error sqrt(.25 / 4)
    found = compare_pair(pair([1, 1, 1, 0], [0, 0, 1, 0]), margin=0.01, seed=0)
    assert found.error == pytest.approx(0.25) and found.freedom == 5
    assert found.p == pytest.approx(0.5)  # two tosses, both for us
    assert found.margin == pytest.approx(0.01)
    assert found.detectable == pytest.approx((2.570582 + 0.919544) * found.error, abs=1e-5)


def test_an_interval_reaches_farther_away_from_zero() -> None:
    # as above; toward 0 t x error; away from it the variance grows by half of what clusters that
    # differ add: their mean square over their mean size is 1, over 4 clusters .125
    found = compare_pair(pair([1, 1, 1, 0], [0, 0, 1, 0]), margin=0.01, seed=0).interval
    assert found is not None and found.low == pytest.approx(0.5 - 2.570582 * 0.25, abs=1e-5)
    t2 = 2.570582**2
    reach = (t2 * 0.125 + ((t2 * 0.125) ** 2 + 4 * t2 * 0.0625) ** 0.5) / 2
    assert found.high == pytest.approx(min(1.0, 0.5 + reach))
    more = compare_pair(pair([1] * 6 + [0] * 4, [0] * 3 + [1] * 3 + [0] * 4), margin=0.01, seed=0)
    assert more.interval is not None
    assert more.interval.high - 0.3 > 1.1 * (0.3 - more.interval.low) and more.interval.high < 1


def test_groups_of_a_difference_are_strata() -> None:
    # group a: differences 1, 0; group b never differs. A pool of all four would have b's units
    # about the mean of both groups
    spec = MetricSpec(name="overall", aggregate="macro_mean", by="task")
    tags = ["a", "a", "b", "b"]
    found = compare_pair(
        pair([1, 1, 1, 1], [0, 1, 1, 1], spec=spec, task=tags), margin=0.01, seed=0
    )
    # levels .75 and 1, mean .875: with one more unit at it .791667 and .958333; coins' variances
    coins = [2 * share * (1 - share) for share in ((1.5 + 0.875) / 3, (2 + 0.875) / 3)]
    # a unit of a differs by .5 on 1 of freedom; b has what a shows, a what b (0) shows
    like_a = (0.5 + 0.5 * 0.25) / (coins[0] + 0.5)
    like_b = (0 + 0.5 * 0.25) / (coins[1] + 0.5)
    parts = [(0.5 + 2 * like_b * coins[0]) / 3 / 2, (0 + 2 * like_a * coins[1]) / 3 / 2]
    assert found.error == pytest.approx((sum(parts) / 4) ** 0.5)


@pytest.mark.parametrize(("units", "tied"), [(17, False), (298, False), (299, True)])
def test_equal_runs_are_equivalent_where_enough_units_are_equal(units: int, tied: bool) -> None:
    """Of 298 equal units up to 1.0003 % may differ with a chance of .05, of 299 up to 0.997 %."""
    found = compare_pair(
        pair([1, 0, *[1] * (units - 2)], [1, 0, *[1] * (units - 2)]), margin=0.01, seed=0
    )
    chance = 0.99**units
    assert found.tie_p == pytest.approx(chance if chance < 0.5 else 1.0, rel=1e-6)
    assert (found.tie_p < 0.05) is tied and found.p == 1
    most = 1 - 0.025 ** (1 / units)
    assert found.interval == pytest.approx((-most, most))


def test_without_a_range_there_is_no_margin() -> None:
    found = compare_pair(pair([3, 4, 9], [2, 5, 7]), margin=0.01, seed=0)
    assert found.margin is None and found.tie_p is None and found.interval is not None


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
