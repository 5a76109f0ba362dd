"""Shares of points pooled over pictures, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import UserError
from pairuni_eval.stats.aggregate import Aggregate, Array, GradedRows, make_aggregate

POINT_SHARE = "pairuni_eval.stats.pooled_points:PointShare"
PRIMARY = ["Action, Action, Style", "Style", "Action", "Style, Grammar"]


def rows(value: list[float], primary: list[str] = PRIMARY) -> GradedRows:
    count = len(value)
    once = [", ".join(dict.fromkeys(cell.split(", "))) for cell in primary]
    tags = {
        "primary": np.array(once, dtype=object),
        "primary_listed": np.array(primary, dtype=object),
    }
    return GradedRows(np.array(value), np.arange(count), np.zeros(count, dtype=np.int64), tags)


def made(given: GradedRows, **more: object) -> Aggregate:
    spec = MetricSpec(name="m", aggregate=POINT_SHARE, of="verdicts", **more)  # type: ignore[arg-type]
    return make_aggregate(spec, given)


def total(given: GradedRows, aggregate: Aggregate) -> Array:
    sums: Array = aggregate.features(given).sum(axis=0)
    return sums


def test_a_dimension_pools_points_not_pictures() -> None:
    # Right, wrong, right; right; wrong; wrong, right.
    given = rows([101, 1, 0, 1])
    action = made(given, where={"primary": "Action"})
    assert float(action.finish(total(given, action))) == pytest.approx(1 / 3)
    style = made(given, where={"primary": "Style"})
    assert float(style.finish(total(given, style))) == pytest.approx(2 / 3)


def test_the_overall_is_the_mean_of_the_dimensions() -> None:
    given = rows([101, 1, 0, 1])
    overall = made(given, by="primary")
    sums = total(given, overall)
    assert overall.groups == ("Action", "Style", "Grammar")
    assert overall.parts(sums).tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert float(overall.finish(sums)) == pytest.approx((1 / 3 + 2 / 3 + 1) / 3)
    assert float(overall.part_weights().sum()) == pytest.approx(1)
    assert overall.part_members(given).tolist() == [
        [True, True, False],
        [False, True, False],
        [True, False, False],
        [False, True, True],
    ]


def test_a_picture_without_a_verdict_is_in_no_sum() -> None:
    given = rows([math.nan, 1, 1, 10])
    overall = made(given, by="primary")
    assert overall.features(given)[0].tolist() == [0] * 6
    assert float(overall.finish(total(given, overall))) == pytest.approx((1 + 1 + 0) / 3)
    nothing = rows([math.nan] * 4)
    empty = made(nothing, by="primary")
    assert math.isnan(float(empty.finish(total(nothing, empty))))


def test_the_ends_are_no_point_and_all_points() -> None:
    given = rows([101, 1, 0, 1])
    overall = made(given, by="primary")
    ends = overall.extremes(given)
    assert ends is not None
    for values, number in zip(ends, (0, 1), strict=True):
        filled = given._replace(value=values)
        assert float(overall.finish(total(filled, overall))) == number


def test_a_metric_must_name_its_points() -> None:
    with pytest.raises(UserError, match="must name `by`, or one dimension"):
        made(rows([1, 1, 1, 1]))


def test_rows_of_one_group_count_its_points_alone() -> None:
    given = rows([101, 1, 0, 1])
    style = given.take(np.array([True, True, False, True])).in_one_group("primary", "Style")
    alone = made(style, by="primary")
    assert alone.groups == ("Style",)
    assert float(alone.finish(total(style, alone))) == pytest.approx(2 / 3)
