"""The best step of a training, on a timeline: how it was chosen, and what held-out rows say of it.

Goes in: training folders with a plan of evaluations. Comes out: a part of the page for each of
them, and the comparison that its words rest on: the chosen step against where training began, on
the suite that chose nothing. Where there is no such suite the part says that the step was chosen
on the same rows, and no word is printed of it. Where training was stopped by its rule its last step
was chosen as well, by the same rows, and is treated alike (`stops`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.places import is_file
from pairuni_eval.report import text
from pairuni_eval.report.baseline_comparison import describe_comparison
from pairuni_eval.report.study import Grid, GridCell, GridRow, StudyPart
from pairuni_eval.report.timeline_numbers import RuleStop, Sides
from pairuni_eval.stats.best_step import (
    StepValue,
    best_step,
    deciding,
    stop_step,
    told,
    values_by_step,
)
from pairuni_eval.stats.difference import Comparison
from pairuni_eval.stats.scope import NamedSide
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store import layout
from pairuni_eval.store.evaluations import (
    EvaluationPlan,
    EvaluationRow,
    read_evaluations,
    read_plan,
    run_of,
)
from pairuni_eval.store.read import StoredRun

SAME_ROWS = (
    "The step was chosen on the same rows that measure it and looks better there than it is: no "
    "word is printed of it. With --held-out it is reported on a suite that chose nothing."
)
_STOPPED = (
    "Where training ended was decided by these rows as well, so its last step is not one that was "
    "fixed before: no word is printed of it on the benchmarks that decided."
)


class ChosenStep(NamedTuple):
    """The choice of a training.

    Attributes:
        values: The metric of the choice at every step that was measured.
        ends: The chosen step and the start on held-out rows; None where they are not both there.
        reported: The benchmarks of the held-out suite, of which other steps have no run.
        stop: Where its rule stopped the training; None where it did not.
    """

    training: Path
    plan: EvaluationPlan
    values: tuple[StepValue, ...]
    ends: Sides | None
    reported: frozenset[str] = frozenset()
    stop: RuleStop | None = None

    @property
    def name(self) -> str:
        """What the page calls the training."""
        return self.training.resolve().name

    @property
    def best(self) -> StepValue | None:
        """The chosen step."""
        return best_step(self.values)


def choice_of(training: Path) -> ChosenStep | None:
    """What a training chose; None if it has no plan, or nothing is measured yet.

    Raises:
        UserError: for a record that cannot be read.
    """
    plan = read_plan(training)
    if plan is None:
        return None
    rows = read_evaluations(training)
    values = tuple(values_by_step(rows, plan))
    best = best_step(values)
    if best is None:
        return None
    reported = {
        headline.benchmark
        for row in rows
        if row.suite == plan.held_out
        for headline in row.headlines
    }
    ends = _ends(training, plan, best.step)
    return ChosenStep(training, plan, values, ends, frozenset(reported), _stop(plan, rows, values))


def _stop(
    plan: EvaluationPlan, rows: Sequence[EvaluationRow], values: Sequence[StepValue]
) -> RuleStop | None:
    step = stop_step(values, plan.patience)
    for row in rows:
        if row.suite == plan.suite and row.step == step:
            decided = frozenset(one.benchmark for one in deciding(row.headlines, plan.best_by))
            return RuleStop(row.step, row.weights, decided)
    return None


def _ends(training: Path, plan: EvaluationPlan, step: int) -> Sides | None:
    if plan.held_out is None or step == 0:
        return None
    ours, theirs = (run_of(training, plan.held_out, one) for one in (step, 0))
    if not all(is_file(one / layout.COMPLETE) for one in (ours, theirs)):
        return None
    return Sides(
        NamedSide(f"step {step}", (Tables(StoredRun(ours)),)),
        NamedSide("step 0", (Tables(StoredRun(theirs)),)),
    )


def choice_sentences(choice: ChosenStep, held_out: Comparison | None) -> Iterator[str]:
    """How it was chosen and what can be said of it, the first in short.

    Args:
        choice: The choice.
        held_out: The comparison of `ChosenStep.ends`, corrected with the page.
    """
    for sentence in told(choice.plan, choice.values):
        yield f"{choice.name}: {sentence}"
    if choice.plan.held_out is None:
        yield SAME_ROWS
    elif choice.best is not None and choice.best.step == 0:
        yield f"No checkpoint was better than where it began: {choice.plan.held_out} says nothing."
    elif held_out is None:
        yield f"On {choice.plan.held_out} it is not measured yet."
    else:
        said = describe_comparison("step 0", held_out)
        yield f"On {choice.plan.held_out}, which chose nothing: {said}"
    if choice.stop is not None:
        yield _STOPPED


def choice_part(choice: ChosenStep, held_out: Comparison | None, number: int) -> StudyPart:
    """The part of the page.

    Args:
        choice: The choice.
        held_out: As in `choice_sentences`.
        number: Of the training on the page, for its address.
    """
    plan = choice.plan
    grids = [_steps(choice)]
    if held_out is not None and held_out.headlines:
        grids.append(_held_out(held_out, plan))
    partial = f" Of each benchmark the first {plan.limit} samples (PARTIAL)." if plan.limit else ""
    return StudyPart(
        f"best-{number}",
        f"Best step of {choice.name}",
        facts=(
            f"By {plan.best_by} of {plan.suite}: an evaluation improves if it is larger than all "
            f"before it; the best step is the last that improved.{partial}"
        ),
        grids=tuple(grids),
        points=tuple(choice_sentences(choice, held_out)),
    )


def _steps(choice: ChosenStep) -> Grid:
    best = choice.best
    rows = tuple(
        GridRow(
            f"step {one.step}",
            (
                GridCell("none" if one.value is None else text.typeset(f"{one.value:.3f}")),
                GridCell("chosen" if best is not None and one.step == best.step else ""),
            ),
        )
        for one in choice.values
    )
    caption = f"{choice.plan.best_by} of {choice.plan.suite}, each benchmark from 0 to 1"
    return Grid(caption, ("step", "value", "choice"), rows)


def _held_out(found: Comparison, plan: EvaluationPlan) -> Grid:
    rows = tuple(
        GridRow(
            row.benchmark,
            (
                GridCell(text.number(row.theirs, row.spec)),
                GridCell(text.number(row.ours, row.spec)),
                GridCell(text.signed(row.value, row.spec), text.interval(row.interval, row.spec)),
                GridCell("", verdicts=(("", row),)),
            ),
        )
        for row in found.headlines
    )
    heads = ("benchmark", "step 0", "chosen step", "difference", "word")
    return Grid(f"{plan.held_out}, which chose nothing", heads, rows)


def choices_of(trainings: Sequence[Path]) -> tuple[list[ChosenStep], list[str]]:
    """The choices of several trainings, and why some could not be read."""
    found: list[ChosenStep] = []
    left_out: list[str] = []
    for training in trainings:
        try:
            choice = choice_of(training)
        except UserError as failure:
            left_out.append(f"{training}: {failure.message}")
            continue
        if choice is not None:
            found.append(choice)
    return found, left_out
