"""What holds for every aggregate, whatever the rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate
from pairuni_eval.stats.intervals import bootstrap_weights, cluster_sums, estimate

NAMES = ("mean", "macro_mean", "weighted_mean", "f1", "macro_f1", "recall", "mme_total")
GROUPS = ("a", "b", "c")
row = st.tuples(
    st.sampled_from([0.0, 1.0, float("nan")]),
    st.integers(0, 5),
    st.lists(st.sampled_from(GROUPS), min_size=1, max_size=3, unique=True).map(",".join),
    st.sampled_from(["yes", "no"]),
)
many = st.lists(row, min_size=1, max_size=30)


def as_rows(drawn: list[tuple[float, int, str, str]]) -> GradedRows:
    value, unit, group, label = zip(*drawn, strict=True)
    tags = {"group": np.array(group, dtype=object), "label": np.array(label, dtype=object)}
    return GradedRows(
        np.array(value), np.array(unit, np.int64), np.zeros(len(unit), np.int64), tags
    )


def spec(name: str) -> MetricSpec:
    return MetricSpec(name="m", aggregate=name, by="group", weights={"a": 1, "b": 2, "c": 0.5})


@given(many, st.sampled_from(NAMES))
def test_the_number_lies_within_its_bounds(drawn: list, name: str) -> None:
    rows = as_rows(drawn)
    aggregate = make_aggregate(spec(name), rows)
    value = aggregate.finish(aggregate.features(rows).sum(axis=0))
    bounds = aggregate.bounds(rows)
    assert bounds is not None
    assert np.isnan(value) or bounds.low - 1e-9 <= value <= bounds.high + 1e-9


@given(many, st.sampled_from(NAMES), st.randoms())
def test_the_order_of_rows_does_not_matter(drawn: list, name: str, random: object) -> None:
    shuffled = sorted(drawn, key=lambda _: random.random())  # type: ignore[attr-defined]
    one, two = (
        aggregate.finish(aggregate.features(rows).sum(axis=0))
        for rows in (as_rows(drawn), as_rows(shuffled))
        for aggregate in [make_aggregate(spec(name), rows)]
    )
    np.testing.assert_allclose(one, two)


@given(many, st.sampled_from(NAMES))
def test_a_weight_of_two_is_two_copies(drawn: list, name: str) -> None:
    rows = as_rows(drawn)
    aggregate = make_aggregate(spec(name), rows)
    sums = cluster_sums(aggregate.features(rows), rows)
    np.testing.assert_allclose(
        aggregate.finish(2 * sums.sum(axis=0)), aggregate.finish(sums.sum(axis=0))
    )


@given(many, st.sampled_from(NAMES))
def test_draws_at_once_equal_draws_one_by_one(drawn: list, name: str) -> None:
    rows = as_rows(drawn)
    aggregate = make_aggregate(spec(name), rows)
    sums = cluster_sums(aggregate.features(rows), rows)
    if len(sums) == 0:
        return
    (weights,) = bootstrap_weights(len(sums), seed=1, draws=5)
    single = [float(aggregate.finish(line @ sums)) for line in weights]
    np.testing.assert_allclose(aggregate.finish(weights @ sums), single)


@settings(max_examples=40, deadline=None)
@given(many, st.sampled_from(NAMES))
def test_an_interval_is_never_a_point(drawn: list, name: str) -> None:
    rows = as_rows(drawn)
    found = estimate(make_aggregate(spec(name), rows), rows)
    if found.interval is not None:
        assert found.clusters >= 2
        assert found.interval.low < found.interval.high
