"""Intervals against hand-worked numbers, and their coverage on made-up clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pairuni_eval.analysis import intervals
from pairuni_eval.analysis.aggregate import Rows, make_aggregate
from pairuni_eval.analysis.intervals import Estimate, estimate
from pairuni_eval.cards import MetricSpec


def rows(value: object, unit: object, **tags: list[str]) -> Rows:
    values = np.asarray(value, dtype=float)
    columns = {name: np.array(cells, dtype=object) for name, cells in tags.items()}
    return Rows(values, np.asarray(unit, dtype=np.int64), np.zeros(len(values), np.int64), columns)


def of(given: Rows, aggregate: str = "mean", seed: int = 0, **more: object) -> Estimate:
    spec = MetricSpec(name="m", aggregate=aggregate, **more)  # type: ignore[arg-type]
    return estimate(make_aggregate(spec, given), given, seed=seed)


def test_jackknife_error_is_cluster_robust_by_hand() -> None:
    # clusters of one size: residual sums 1, 0, -1; sqrt(3/2 * 2) / 6
    aggregate = make_aggregate(MetricSpec(name="m"), rows([1], [0]))
    sums = np.array([[2.0, 2], [1, 2], [0, 2]])
    error = intervals.jackknife_error(sums, aggregate.finish)
    assert error == pytest.approx(math.sqrt(3) / 6)


def test_jackknife_error_with_unequal_clusters_by_hand() -> None:
    # without the first cluster 1/3, without the second 2/2: squares of 1/3 each, times 1/2
    aggregate = make_aggregate(MetricSpec(name="m"), rows([1], [0]))
    sums = np.array([[2.0, 2], [1, 3]])
    error = intervals.jackknife_error(sums, aggregate.finish)
    assert error == pytest.approx(math.sqrt(0.5 * 2 * (1 / 3) ** 2))


def test_mean_interval_is_t_on_clusters_minus_one_where_the_range_is_not_known() -> None:
    given = rows([3, 3, 1, 2, 1, 1], [0, 0, 1, 1, 2, 2])
    # mean 11/6; residual sums 7/3, -2/3, -5/3; t with 2 degrees of freedom is 4.302653
    half = 4.302653 * math.sqrt(1.5 * (49 + 4 + 25) / 9) / 6
    found = of(given)
    assert found.clusters == 3
    assert found.interval == pytest.approx((11 / 6 - half, 11 / 6 + half), abs=1e-6)


def test_mean_interval_on_a_known_range_is_wilson_at_the_size_the_error_implies() -> None:
    # 10 clusters of one row, 8 right: error^2 = 0.16 / 9, so the size is 9; t(9) is 2.262157
    found = of(rows([1] * 8 + [0] * 2, range(10))).interval
    t, size = 2.262157, 9.0
    centre = (0.8 + t**2 / (2 * size)) / (1 + t**2 / size)
    half = t / (1 + t**2 / size) * math.sqrt(0.16 / size + t**2 / (4 * size**2))
    assert found == pytest.approx((centre - half, centre + half), abs=1e-6)


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


def test_agreeing_clusters_count_once_whatever_their_size() -> None:
    many = of(rows([1] * 100, np.repeat(range(10), 10))).interval
    assert many == pytest.approx(of(rows([1] * 10, range(10))).interval)


def test_agreeing_groups_use_the_harmonic_size() -> None:
    # 2 and 8 clusters in a macro mean: (1 + 1)^2 / (1/2 + 1/8) = 6.4 effective clusters
    given = rows([1] * 10, range(10), task=["a"] * 2 + ["b"] * 8)
    found = of(given, "macro_mean", by="task").interval
    assert found is not None
    assert found.low == pytest.approx(intervals.wilson(1.0, 6.4).low)


def test_full_mme_total_has_a_width_on_its_own_scale() -> None:
    found = of(rows([1] * 8, np.repeat(range(4), 2), task=["a"] * 8), "mme_total", by="task")
    assert found.value == 200 and found.interval is not None
    assert found.interval.low == pytest.approx(200 * intervals.wilson(1.0, 4).low)


def test_agreement_on_an_unknown_scale_has_no_interval() -> None:
    assert of(rows([3.0] * 5, range(5))).interval is None


def test_interval_stays_on_the_scale() -> None:
    found = of(rows([1] * 19 + [0], range(20))).interval
    assert found is not None and 0.95 < found.high < 1.0 and 0.5 < found.low < 0.95


def test_one_group_of_a_mean_over_groups_is_a_plain_mean() -> None:
    given = rows([1, 0, 1, 1, 0, 1], range(6), task=["a"] * 6)
    assert of(given, "macro_mean", by="task") == of(given)


def test_bca_interval_by_hand() -> None:
    # 1 to 999 with the number in the middle: no bias; symmetric jackknife: no acceleration;
    # 4 clusters widen 1.96 to sqrt(4/3) * 3.182446 = 3.674773, a tail of 0.000119
    numbers = np.arange(1.0, 1000.0)
    found = intervals.bca_interval(numbers, 500.0, np.array([-1.0, 1.0, -2.0, 2.0]))
    assert found == pytest.approx((1 + 998 * 0.000119, 999 - 998 * 0.000119), abs=1e-3)


def test_bca_interval_leans_with_the_bias() -> None:
    numbers = np.arange(1.0, 1000.0)
    jackknifed = np.tile([-1.0, 1.0], 50)
    low = intervals.bca_interval(numbers, 400.0, jackknifed)
    assert low is not None
    assert low.low < 25 and low.high < 974  # plain percentiles are 25.95 and 974.05


def test_agreeing_difference_by_hand() -> None:
    # u = 3.841459 / (20 + 3.841459) = 0.161125 on a span of 1
    found = intervals.agreeing_difference(0.25, 20, 1.0)
    assert found == pytest.approx((0.25 - 0.161125 * 1.25, 0.25 + 0.161125 * 0.75), abs=1e-6)
    assert intervals.agreeing_difference(0.25, 20, None) is None


def test_bootstrap_depends_on_its_seed_alone() -> None:
    draw = np.random.default_rng(3)
    given = rows(draw.random(60).round(), np.repeat(range(20), 3), label=["yes", "no", "yes"] * 20)
    assert of(given, "f1", seed=5) == of(given, "f1", seed=5)
    others = {of(given, "f1", seed=seed).interval for seed in range(6, 12)}
    assert len(others) > 1


def test_bootstrap_weights_draw_as_many_clusters_as_there_are() -> None:
    blocks = list(intervals.bootstrap_weights(7, seed=1, draws=50))
    assert sum(len(block) for block in blocks) == 50
    assert all((block.sum(axis=1) == 7).all() for block in blocks)


def test_bootstrap_blocks_do_not_change_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_CHUNK_CELLS", 30)
    blocks = list(intervals.bootstrap_weights(7, seed=1, draws=50))
    assert [len(block) for block in blocks] == [4] * 12 + [2]
