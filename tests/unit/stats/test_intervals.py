"""Intervals against hand-worked numbers, and their coverage on made-up clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats import intervals
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate
from pairuni_eval.stats.intervals import Estimate, estimate
from pairuni_eval.stats.strata import Moves, clusters_in, moves_of, whole


def rows(value: object, unit: object, **tags: list[str]) -> GradedRows:
    values = np.asarray(value, dtype=float)
    columns = {name: np.array(cells, dtype=object) for name, cells in tags.items()}
    return GradedRows(
        values, np.asarray(unit, dtype=np.int64), np.zeros(len(values), np.int64), columns
    )


def of(given: GradedRows, aggregate: str = "mean", **more: object) -> Estimate:
    spec = MetricSpec(name="m", aggregate=aggregate, **more)  # type: ignore[arg-type]
    return estimate(make_aggregate(spec, given), given)


def mean_moves(*sums: tuple[float, float]) -> Moves:
    """The moves of clusters (sum, count) of a plain mean."""
    aggregate = make_aggregate(MetricSpec(name="m"), rows([1], [0]))
    return moves_of(np.array(sums), whole(aggregate.parts, len(sums)))


def test_clusters_are_numbered_in_the_order_of_their_codes() -> None:
    codes, places = clusters_in(np.array([7, 2, 2, 9, 7]))
    assert codes.tolist() == [2, 7, 9] and places.tolist() == [1, 0, 0, 2, 1]
    assert [len(one) for one in clusters_in(np.array([], dtype=np.int64))] == [0, 0]


def test_the_variance_of_a_mean_is_cluster_robust_by_hand() -> None:
    # clusters of one size: residual sums 1, 0, -1; 3/2 * 2 / 6^2
    found = mean_moves((2.0, 2), (1, 2), (0, 2))
    assert found.variances == pytest.approx([1 / 12])
    # what a cluster moves: half of what the mean without it differs, times sqrt(2/3)
    assert found.moves[:, 0] == pytest.approx(np.array([0.25, 0, -0.25]) * math.sqrt(2 / 3))


def test_the_variance_with_unequal_clusters_by_hand() -> None:
    # without the first cluster 1/3, without the second 2/2: squares of 1/3 each, times 1/2
    assert mean_moves((2.0, 2), (1, 3)).variances == pytest.approx([0.5 * 2 * (1 / 3) ** 2])


def test_mean_interval_is_t_on_clusters_minus_one_where_the_range_is_not_known() -> None:
    given = rows([3, 3, 1, 2, 1, 1], [0, 0, 1, 1, 2, 2])
    # mean 11/6; residual sums 7/3, -2/3, -5/3; t with 2 degrees of freedom is 4.302653
    half = 4.302653 * math.sqrt(1.5 * (49 + 4 + 25) / 9) / 6
    found = of(given)
    assert found.clusters == 3
    assert found.interval == pytest.approx((11 / 6 - half, 11 / 6 + half), abs=1e-6)


def test_units_of_two_values_have_wilsons_interval_with_little_doubt_about_the_error() -> None:
    # 10 clusters of one row, 8 right: error^2 = 0.16 / 9, so the size is 9; t(81) is 1.989686
    found = of(rows([1] * 8 + [0] * 2, range(10))).interval
    assert found == pytest.approx(intervals.wilson(0.8, 9.0, 1.989686), abs=1e-6)


def test_two_units_that_scatter_half_as_much_are_added() -> None:
    # clusters 1, 0.5, 0.5, 0: share .5, variance .125 of a unit, .5 of the most; with two that
    # scatter by .5 as well it stays .5, so the size is 8 and t has 3 + 2 degrees of freedom
    found = of(rows([1, 1, 1, 0, 1, 0, 0, 0], np.repeat(range(4), 2)))
    scatter = (3 * (1 / 6) / 0.25 + 2 * 0.5) / 5
    assert found.interval == pytest.approx(intervals.wilson(0.5, 4 / scatter, 2.570582), abs=1e-6)


def test_groups_move_as_their_variances_allow_by_hand() -> None:
    # two groups of 10, right 5 and 9 times. Both are two-valued: scatter 10/9, freedom 81. One
    # cluster at the mean .7 is added: shares 5.7/11 and 9.7/11
    given = rows([1] * 5 + [0] * 5 + [1] * 9 + [0], range(20), task=["a"] * 10 + ["b"] * 10)
    near = np.array([5.7, 9.7]) / 11
    spare = near * (1 - near)
    parts = 0.25 * spare / 9
    variance = parts.sum()
    path = parts / variance / 0.5
    slope = (parts * path * (1 - 2 * near) / spare).sum()
    bend = (parts * path**2 / spare).sum()
    t2 = float(stdtrit(variance**2 / (parts**2 / 81).sum(), 0.975)) ** 2
    # x^2 (1 + t^2 bend) - t^2 slope x - t^2 variance = 0
    ends = sorted(np.roots([1 + t2 * bend, -t2 * slope, -t2 * variance]))
    found = of(given, "macro_mean", by="task").interval
    assert found == pytest.approx((0.7 + ends[0], 0.7 + ends[1]), abs=1e-9)


def test_a_saturated_group_has_a_floor() -> None:
    weak = [1, 0, 1, 0]
    given = rows(weak + [1] * 12, range(16), task=["a"] * 4 + ["b"] * 12)
    both, alone = of(given, "macro_mean", by="task").interval, of(rows(weak, range(4))).interval
    assert both is not None and alone is not None
    assert both.high - both.low > 0.9 * (alone.high - alone.low) / 2  # half of the weak group's
    assert both.high > 0.75 + (alone.high - 0.5) / 2 - 0.05 and both.low > (alone.low + 1) / 2 - 0.2


def test_groups_that_share_their_units_do_not_count_them_twice() -> None:
    value = [1, 0, 1, 1, 0, 1, 1, 1, 0, 1]
    once = of(rows(value, range(10), task=["a"] * 10), "macro_mean", by="task")
    twice = rows(value * 2, [*range(10)] * 2, task=["a"] * 10 + ["b"] * 10)
    assert of(twice, "macro_mean", by="task").interval == pytest.approx(once.interval, abs=0.02)


def test_a_group_of_one_unit_on_an_unknown_scale_has_no_interval() -> None:
    given = rows([3, 5, 4, 7], range(4), task=["a", "a", "a", "b"])
    assert of(given, "macro_mean", by="task").interval is None


def test_two_equal_rows_in_a_cluster_are_one_witness() -> None:
    once = rows([1, 0, 1, 1, 0, 1], range(6))
    twice = rows(np.repeat(once.value, 2), np.repeat(once.unit, 2))
    assert of(twice).interval == pytest.approx(of(once).interval)


@pytest.mark.parametrize("aggregate", ["mean", "f1", "macro_mean"])
def test_one_cluster_has_no_interval(aggregate: str) -> None:
    given = rows([1, 1, 0], [4, 4, 4], label=["yes"] * 3, task=["a"] * 3)
    found = of(given, aggregate, by="task")
    assert found.value is not None and found.interval is None and found.clusters == 1


def test_no_value_has_no_interval() -> None:
    assert of(rows([math.nan] * 3, range(3))) == Estimate(None, None, 0, (0.0, 1.0))


def test_all_wrong_and_all_right_have_a_width() -> None:
    # Wilson at 0 of 10: z^2 / (10 + z^2)
    assert of(rows([0] * 10, range(10))).interval == pytest.approx((0, 0.277535), abs=1e-5)
    assert of(rows([1] * 10, range(10))).interval == pytest.approx((0.722465, 1), abs=1e-5)
    # of two the exact bound of 5 % is lower than Wilson's .342: sqrt(.05)
    assert of(rows([1] * 2, range(2))).interval == pytest.approx((0.223607, 1), abs=1e-5)


def test_agreeing_clusters_count_once_whatever_their_size() -> None:
    many = of(rows([1] * 100, np.repeat(range(10), 10))).interval
    assert many == pytest.approx(of(rows([1] * 10, range(10))).interval)


def test_agreeing_groups_use_the_harmonic_size() -> None:
    # 2 and 8 clusters in a macro mean: (1 + 1)^2 / (1/2 + 1/8) = 6.4 effective clusters
    given = rows([1] * 10, range(10), task=["a"] * 2 + ["b"] * 8)
    found = of(given, "macro_mean", by="task").interval
    assert found is not None
    assert found.low == pytest.approx(intervals.wilson(1.0, 6.4).low)


def test_agreeing_groups_of_the_same_units_have_their_size() -> None:
    given = rows([1] * 20, [*range(10)] * 2, task=["a"] * 10 + ["b"] * 10)
    assert of(given, "macro_mean", by="task").interval == pytest.approx((0.722465, 1), abs=1e-5)


def test_full_mme_total_has_a_width_on_its_own_scale() -> None:
    found = of(rows([1] * 8, np.repeat(range(4), 2), task=["a"] * 8), "mme_total", by="task")
    assert found.value == 200 and found.interval is not None
    assert found.interval.low == pytest.approx(200 * 0.05**0.25)


def test_agreement_on_an_unknown_scale_has_no_interval() -> None:
    assert of(rows([3.0] * 5, range(5))).interval is None


def test_interval_stays_on_the_scale() -> None:
    found = of(rows([1] * 19 + [0], range(20))).interval
    assert found is not None and 0.95 < found.high < 1.0 and 0.5 < found.low < 0.95


def test_one_group_of_a_mean_over_groups_is_a_plain_mean() -> None:
    given = rows([1, 0, 1, 1, 0, 1], range(6), task=["a"] * 6)
    assert of(given, "macro_mean", by="task") == of(given)


def test_agreeing_difference_by_hand() -> None:
    # u = 1 - .025^(1/20) = 0.168433 on a span of 1
    found = intervals.agreeing_difference(0.25, 20, 1.0)
    assert found == pytest.approx((0.25 - 0.168433 * 1.25, 0.25 + 0.168433 * 0.75), abs=1e-6)
    assert intervals.agreeing_difference(0.25, 20, None) is None


def test_bootstrap_weights_draw_as_many_clusters_as_there_are() -> None:
    blocks = list(intervals.bootstrap_weights(7, seed=1, draws=50))
    assert sum(len(block) for block in blocks) == 50
    assert all((block.sum(axis=1) == 7).all() for block in blocks)


def test_bootstrap_blocks_do_not_change_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_CHUNK_CELLS", 30)
    blocks = list(intervals.bootstrap_weights(7, seed=1, draws=50))
    assert [len(block) for block in blocks] == [4] * 12 + [2]
