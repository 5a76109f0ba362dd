"""The best step of a training by a named metric, and when training stops for lack of a better one.

Goes in: the evaluations of one suite. The rule: an evaluation improves if its value is larger than
that of every earlier one, by however little; the first one with a value does. One without a value
does not improve. The best step is the last that improved, so of equal ones the earliest. After
`patience` evaluations in a row that do not improve training stops.

A best step was chosen by chance too: on the rows that chose it, it looks better than it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pairuni_eval.records import Capability
from pairuni_eval.store.evaluations import (
    CHECKPOINT,
    MEAN,
    EvaluatedHeadline,
    EvaluationPlan,
    EvaluationRow,
)


class StepValue(NamedTuple):
    """What the metric of the choice is worth at a step; None where it has no value."""

    step: int
    value: float | None


def values_by_step(rows: Sequence[EvaluationRow], plan: EvaluationPlan) -> list[StepValue]:
    """The metric of the choice at every step of the suite that chooses."""
    mine = sorted((row for row in rows if row.suite == plan.suite), key=lambda row: row.step)
    return [StepValue(row.step, chosen_value(row.headlines, plan.best_by)) for row in mine]


def chosen_value(headlines: Sequence[EvaluatedHeadline], best_by: str) -> float | None:
    """What a choice goes by, more being better.

    Args:
        headlines: Of one evaluation.
        best_by: As `EvaluationPlan.best_by`.

    Returns:
        A headline's `good`, or the mean of several; None where one of them has no value, or of
        several one has no known range.
    """
    mine = deciding(headlines, best_by)
    if [one.benchmark for one in mine] == [best_by]:
        return mine[0].good
    goods = [one.good for one in mine if one.ranged]
    values = [good for good in goods if good is not None]
    if not mine or len(values) < len(mine):
        return None
    return sum(values) / len(values)


def deciding(headlines: Sequence[EvaluatedHeadline], best_by: str) -> list[EvaluatedHeadline]:
    """The headlines that a choice goes by: the one it names, else those of what it names."""
    named = [one for one in headlines if one.benchmark == best_by]
    return named or [one for one in headlines if best_by in (MEAN, one.capability)]


def best_step(values: Sequence[StepValue]) -> StepValue | None:
    """The last step that improved; None where none has a value."""
    best: StepValue | None = None
    for one in values:
        if _improves(one, best):
            best = one
    return best


def stop_step(values: Sequence[StepValue], patience: int) -> int | None:
    """The step at which the rule stops training; None if it goes on."""
    best: StepValue | None = None
    without = 0
    for one in values:
        improves = _improves(one, best)
        best, without = (one, 0) if improves else (best, without + 1)
        if patience and without >= patience:
            return one.step
    return None


def _improves(one: StepValue, best: StepValue | None) -> bool:
    if one.value is None:
        return False
    return best is None or best.value is None or one.value > best.value


def choices(headlines: Sequence[tuple[str, Capability]]) -> tuple[str, ...]:
    """The names that a choice may go by, of benchmarks with what they ask for."""
    kinds = dict.fromkeys(str(capability) for _, capability in headlines)
    return (MEAN, *kinds, *(name for name, _ in headlines))


def told(plan: EvaluationPlan, values: Sequence[StepValue]) -> Iterator[str]:
    """Why training ended before its last step, if it did, and which step was chosen how."""
    what = f"{plan.best_by} of {plan.suite}"
    stopped, best = stop_step(values, plan.patience), best_step(values)
    if stopped is not None:
        several = "s" * (plan.patience != 1)
        yield (
            f"Stopped after step {stopped}: {what} has not grown in {plan.patience} "
            f"evaluation{several}."
        )
    if best is None:
        yield f"No step has a value of {what}."
        return
    where = "where training began" if best.step == 0 else f"{CHECKPOINT}{best.step}"
    reported = f"reported on {plan.held_out}" if plan.held_out else "chosen on the same rows"
    yield f"Best by {what}: step {best.step} ({where}), {reported}."
