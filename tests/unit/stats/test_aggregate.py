"""Aggregates against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import UserError
from pairuni_eval.stats.aggregate import Aggregate, Array, Bounds, GradedRows, make_aggregate

NAN = math.nan


def rows(value: list[float], unit: list[int] | None = None, **tags: list[str]) -> GradedRows:
    count = len(value)
    return GradedRows(
        np.array(value, dtype=float),
        np.array(unit if unit is not None else range(count), dtype=np.int64),
        np.zeros(count, dtype=np.int64),
        {name: np.array(cells, dtype=object) for name, cells in tags.items()},
    )


def number(given: GradedRows, aggregate: str, **more: object) -> float:
    made = make_aggregate(MetricSpec(name="m", aggregate=aggregate, **more), given)  # type: ignore[arg-type]
    return float(made.finish(made.features(given).sum(axis=0)))


def test_mean_leaves_out_rows_without_a_value() -> None:
    assert number(rows([1, 0, NAN, 1]), "mean") == pytest.approx(2 / 3)


def test_mean_of_nothing_is_no_number() -> None:
    assert math.isnan(number(rows([NAN, NAN]), "mean"))


def test_mme_total_of_six_rows() -> None:
    # existence: 3 of 4 right and 1 of 2 images whole: 75 + 50; count: 1 of 2 and 0 of 1: 50 + 0
    given = rows([1, 1, 1, 0, 0, 1], [0, 0, 1, 1, 2, 2], task=["existence"] * 4 + ["count"] * 2)
    assert number(given, "mme_total", by="task") == pytest.approx(175)


def test_mme_pair_with_a_lost_row_is_not_judged() -> None:
    # 2 of 3 rows right; only the second image is known whole, and it is right: 66.7 + 100
    given = rows([0, NAN, 1, 1], [0, 0, 1, 1], task=["t"] * 4)
    assert number(given, "mme_total", by="task") == pytest.approx(200 / 3 + 100)


def test_mme_image_in_two_tasks_makes_a_pair_in_each() -> None:
    given = rows([1, 1, 0, 1], [0, 0, 0, 0], task=["a", "a", "b", "b"])
    assert number(given, "mme_total", by="task") == pytest.approx(200 + 50)


def pope() -> GradedRows:
    return rows(
        [1, 1, 0, 0],
        label=["yes", "no", "yes", "no"],
        split=["random,popular", "adversarial", "random", "popular"],
    )


def test_f1_counts_a_row_once_for_each_of_its_splits() -> None:
    # pooled: tp 1, fp 1, fn 1; exploded: tp 2, fp 1, fn 1
    assert number(pope(), "f1", of="said_yes") == pytest.approx(2 / 4)
    assert number(pope(), "f1", of="said_yes", by="split") == pytest.approx(4 / 6)


def test_precision_recall_and_yes_ratio_over_splits() -> None:
    assert number(pope(), "precision", by="split") == pytest.approx(2 / 3)
    assert number(pope(), "recall", by="split") == pytest.approx(2 / 3)
    assert number(pope(), "yes_ratio", by="split") == pytest.approx(3 / 5)


def test_label_ratio_is_the_share_of_gold_answers() -> None:
    # pooled 2 of 4; exploded: yes in random, popular, random of five rows
    assert number(pope(), "label_ratio", of="correct") == pytest.approx(2 / 4)
    assert number(pope(), "label_ratio", of="correct", by="split") == pytest.approx(3 / 5)
    lost = rows([NAN, 0], label=["yes", "no"])
    assert number(lost, "label_ratio") == 0.0
    with pytest.raises(UserError, match="label"):
        number(rows([1, 0]), "label_ratio")


def test_macro_precision_and_recall_are_means_of_the_splits() -> None:
    # random tp 1, fn 1; popular tp 1; adversarial fp 1, and without a yes it has no recall
    assert number(pope(), "macro_precision", by="split") == pytest.approx((1 + 1 + 0) / 3)
    assert number(pope(), "macro_recall", by="split") == pytest.approx((1 / 2 + 1) / 2)
    with pytest.raises(UserError, match="needs `by`"):
        number(pope(), "macro_recall")


def test_macro_f1_is_the_mean_of_the_splits() -> None:
    # random 2/(2+0+1), popular 2/2, adversarial 0/1
    assert number(pope(), "macro_f1", by="split") == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_precision_without_a_yes_is_no_number() -> None:
    assert math.isnan(number(rows([0, 0], label=["yes", "no"]), "precision"))


def test_f1_needs_labels() -> None:
    with pytest.raises(UserError, match="'label'"):
        number(rows([1.0]), "f1")


def test_macro_mean_leaves_out_a_group_without_a_value() -> None:
    given = rows([1, 0, 1, NAN], task=["a", "a", "b", "c"])
    assert number(given, "macro_mean", by="task") == pytest.approx((0.5 + 1) / 2)


def test_macro_mean_leaves_out_a_group_that_a_draw_misses() -> None:
    given = rows([1, 0, 1], task=["a", "a", "b"])
    made = make_aggregate(MetricSpec(name="m", aggregate="macro_mean", by="task"), given)
    weights = np.array([[1.0, 1, 1], [1, 1, 0], [0, 0, 3]])
    assert made.finish(weights @ made.features(given)) == pytest.approx([0.75, 0.5, 1.0])


def test_a_total_keeps_its_scale_in_a_draw_that_misses_a_group() -> None:
    given = rows([1, 1, 0, 0], [0, 0, 1, 1], task=["a", "a", "b", "b"])
    made = make_aggregate(MetricSpec(name="m", aggregate="mme_total", by="task"), given)
    assert made.finish(np.array([[1.0, 1, 0, 0]]) @ made.features(given)) == pytest.approx([400])


def test_weighted_mean_normalizes_over_the_groups_that_are_there() -> None:
    given = rows([1, 0, 1], task=["a", "a", "b"])
    weights = {"a": 0.6, "b": 0.2, "absent": 0.2}
    assert number(given, "weighted_mean", by="task", weights=weights) == pytest.approx(0.5 / 0.8)


def test_weighted_mean_refuses_a_group_without_a_weight() -> None:
    with pytest.raises(UserError, match="no weight for b"):
        number(rows([1, 1], task=["a", "b"]), "weighted_mean", by="task", weights={"a": 1.0})


def test_unknown_names_are_explained() -> None:
    with pytest.raises(UserError, match="Did you mean 'macro_mean'"):
        number(rows([1.0]), "macromean")
    with pytest.raises(UserError, match="cannot be loaded"):
        number(rows([1.0]), "no_such_package:thing")
    with pytest.raises(UserError, match="needs `by`"):
        number(rows([1.0]), "macro_mean")


class Largest(Aggregate):
    """A plugin's aggregate: share of rows above one half, squared."""

    def features(self, rows: GradedRows) -> Array:
        return np.column_stack([np.nan_to_num(rows.value) > 0.5, np.isfinite(rows.value)]).astype(
            float
        )

    def finish(self, sums: Array) -> Array:
        return np.square(sums[..., 0] / sums[..., 1])


def test_a_plugin_is_loaded_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("acme_aggregate")
    module.largest = Largest  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "acme_aggregate", module)
    assert number(rows([1, 0, NAN]), "acme_aggregate:largest") == pytest.approx(0.25)


def test_bounds_follow_the_values() -> None:
    assert make_aggregate(MetricSpec(name="m"), rows([0, 1])).bounds(rows([0, 1])) == Bounds(0, 1)
    assert make_aggregate(MetricSpec(name="m"), rows([3.0])).bounds(rows([3.0])) is None
    total = MetricSpec(name="m", aggregate="mme_total", by="task")
    given = rows([1, 1], task=["a", "b"])
    assert make_aggregate(total, given).bounds(given) == Bounds(0, 400)


@pytest.mark.parametrize(
    "name", ["mean", "macro_mean", "pairuni_eval.stats.official_means:RoundedMacroMean"]
)
def test_a_range_in_the_card_holds_unless_a_value_lies_outside(name: str) -> None:
    rated = MetricSpec(name="m", aggregate=name, by="kind", range=(1.0, 5.0))
    inside, above, below = [1.0, 5.0, NAN], [2.0, 9.0, 3.0], [0.5, 2.0, 2.0]
    for values, found in ((inside, Bounds(1, 5)), (above, None), (below, None)):
        given = rows(values, kind=["a", "b", "b"])
        assert make_aggregate(rated, given).bounds(given) == found
