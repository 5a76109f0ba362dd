"""The rule that chooses a step and stops a training, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairuni_eval.records import Capability
from pairuni_eval.stats.best_step import (
    StepValue,
    best_step,
    choices,
    chosen_value,
    stop_step,
    told,
    values_by_step,
)
from pairuni_eval.store.evaluations import EvaluatedHeadline, EvaluationPlan, EvaluationRow

UND, GEN = Capability.UNDERSTAND, Capability.GENERATE


def steps(*values: float | None) -> list[StepValue]:
    """Values at step 0, 50, 100, ..."""
    return [StepValue(50 * n, value) for n, value in enumerate(values)]


def headline(
    name: str, capability: Capability, good: float | None, *, ranged: bool = True
) -> EvaluatedHeadline:
    return EvaluatedHeadline(
        benchmark=name, title=name, capability=capability, protocol="exact", metric="accuracy",
        value=good, low=None, high=None, good=good, ranged=ranged, scale=100.0, scored=4,
        expected=8,
    )  # fmt: skip


def plan(**changes: object) -> EvaluationPlan:
    return EvaluationPlan(**{"base": "tiny", "suite": "tuning", "every": 50, **changes})


@pytest.mark.parametrize(
    ("values", "best", "stops_by_patience"),
    [
        ((), None, {1: None}),
        ((0.5,), 0, {1: None, 2: None}),
        ((0.5, 0.4), 0, {1: 50, 2: None}),
        ((0.5, 0.5), 0, {1: 50}),  # an equal one is no improvement
        ((0.5, 0.4, 0.6), 100, {1: 50, 2: None}),
        ((0.5, 0.4, 0.45, 0.6), 150, {1: 50, 2: 100, 3: None}),
        ((0.5, 0.6, 0.55, 0.6), 50, {1: 100, 2: 150, 3: None}),
        ((None, 0.1, None, 0.2), 150, {1: 0, 2: None}),  # one without a value does not improve
        ((None, None), None, {1: 0, 2: 50}),
    ],
)
def test_best_and_stop_by_hand(
    values: tuple[float | None, ...], best: int | None, stops_by_patience: dict[int, int | None]
) -> None:
    points = steps(*values)
    found = best_step(points)
    assert (found and found.step) == best
    assert stop_step(points, 0) is None
    assert {one: stop_step(points, one) for one in stops_by_patience} == stops_by_patience


@given(st.lists(st.one_of(st.none(), st.integers(0, 4).map(float)), max_size=12), st.integers(1, 4))
def test_the_rule_is_that_of_every_prefix(values: list[float | None], patience: int) -> None:
    """A training that looks after every evaluation stops where the whole list says it did."""
    points = steps(*values)
    stops = [n for n in range(1, len(points) + 1) if stop_step(points[:n], patience) is not None]
    expected = points[stops[0] - 1].step if stops else None
    assert stop_step(points, patience) == expected
    known = [one.value for one in points if one.value is not None]
    best = best_step(points)
    assert (best.value if best else None) == (max(known) if known else None)
    if best:
        assert best.step == next(one.step for one in points if one.value == best.value)


def test_what_a_choice_goes_by() -> None:
    found = [headline("a", UND, 0.2), headline("b", UND, 0.6), headline("c", GEN, 0.9)]
    assert chosen_value(found, "mean") == pytest.approx(1.7 / 3)
    assert chosen_value(found, "understand") == pytest.approx(0.4)
    assert chosen_value(found, "generate") == pytest.approx(0.9)
    assert chosen_value(found, "b") == 0.6
    assert chosen_value(found, "edit") is None
    assert choices([(one.benchmark, one.capability) for one in found]) == (
        *("mean", "understand", "generate"),
        *("a", "b", "c"),
    )


def test_missing_is_not_zero_and_no_range_has_no_mean() -> None:
    lacking = [headline("a", UND, None), headline("c", GEN, 0.9)]
    assert chosen_value(lacking, "mean") is None
    assert chosen_value(lacking, "generate") == 0.9
    unbounded = [headline("a", UND, 0.2), headline("h", GEN, 27.3, ranged=False)]
    assert chosen_value(unbounded, "mean") is None
    assert chosen_value(unbounded, "h") == 27.3


def test_rows_of_another_suite_choose_nothing() -> None:
    measured = ((50, "tuning", 0.4), (0, "tuning", 0.3), (50, "heldout", 0.99))
    rows = [
        EvaluationRow(step=step, suite=suite, weights="w", tiny=True, headlines=(shown,))
        for step, suite, value in measured
        for shown in (headline("a", UND, value),)
    ]
    assert values_by_step(rows, plan()) == [StepValue(0, 0.3), StepValue(50, 0.4)]


def test_what_is_told() -> None:
    stopped = steps(0.5, 0.4, 0.3)
    assert list(told(plan(patience=2), stopped)) == [
        "Stopped after step 100: mean of tuning has not grown in 2 evaluations.",
        "Best by mean of tuning: step 0 (where training began), chosen on the same rows.",
    ]
    assert list(told(plan(held_out="heldout"), steps(0.5, 0.6))) == [
        "Best by mean of tuning: step 50 (checkpoint-50), reported on heldout."
    ]
    assert list(told(plan(), steps(None))) == ["No step has a value of mean of tuning."]
