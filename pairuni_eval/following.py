"""Measures the checkpoints of a training: in the trainer's own process, or in one that follows it.

Each evaluation is a run as `pairuni-eval run --checkpoint TRAINING/checkpoint-N --suite SUITE`
makes it, with the same seed for every step and every training, so that all of them are paired. The
weights are read from the checkpoint, not from the trainer's memory: whoever measures, the run is
the same, byte for byte. A run that was interrupted goes on, and one that has its line in
`evaluations.jsonl` is not looked at again.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from pairuni_eval import catalog
from pairuni_eval.errors import UserError, unknown_name
from pairuni_eval.ranks import RankGroup
from pairuni_eval.report.evaluations import evaluation_row
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.runner.start import load
from pairuni_eval.runner.together import take_part
from pairuni_eval.stats.best_step import (
    StepValue,
    best_step,
    choices,
    stop_step,
    told,
    values_by_step,
)
from pairuni_eval.store.evaluations import (
    EVALUATIONS,
    WATCHING,
    EvaluationPlan,
    EvaluationRow,
    cut_evaluations,
    keep_evaluation,
    keep_plan,
    read_evaluations,
    run_of,
    weights_after,
)
from pairuni_eval.store.json_lines import append, encode_lines
from pairuni_eval.store.locks import exclusive
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.write import clear_temporaries

MEASURING = "evaluation"  # of the seconds around an evaluation, those that it takes itself
_TIMED = ("load", MEASURING, "choice")


class Owed(NamedTuple):
    """An evaluation that is to be made."""

    step: int
    suite: str
    settings: RunSettings


def check_plan(plan: EvaluationPlan) -> None:
    """Check the names of a plan, before anything is loaded.

    Raises:
        UserError: for a suite or a metric of the choice that there is none of, and for a held-out
            suite that shares a benchmark with the other.
    """
    asked = catalog.find_suite(plan.suite).benchmarks
    known = choices([(name, catalog.find_card(name).capability) for name in asked])
    if plan.best_by not in known:
        raise unknown_name(
            "metric to choose by",
            plan.best_by,
            known,
            of=f"the suite '{plan.suite}'",
            list_command="pairuni-eval list suites",
        )
    if plan.held_out is None:
        return
    both = sorted(set(asked) & set(catalog.find_suite(plan.held_out).benchmarks))
    if both:
        twice = f"The suite '{plan.suite}' is named twice; it holds"
        apart = f"The suites '{plan.suite}' and '{plan.held_out}' both hold"
        raise UserError(
            f"{twice if plan.suite == plan.held_out else apart} {', '.join(both)}: what is chosen "
            "by them would be reported on the same rows.",
            hint="Name a suite of other rows: pairuni-eval list suites",
        )


class TrainingEvaluations:
    """The evaluations of one training.

    Args:
        training: Its folder.
        plan: What is measured.
        console: Where progress is shown.
        data: As `pairuni-eval run --data`.
        group: The ranks that measure together; None for a process alone.

    Attributes:
        seconds: What was taken so far: to load weights, to measure them, to write and choose.
    """

    def __init__(
        self,
        training: Path,
        plan: EvaluationPlan,
        console: Console,
        *,
        data: Path | None = None,
        group: RankGroup | None = None,
    ) -> None:
        self.plan = plan
        self._training = training
        self._console = console
        self._data = data
        self._group = group or RankGroup()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Measure alone, with the plan written down.

        Raises:
            UserError: if another process measures this training, or by another plan.
        """
        with exclusive(self._training / EVALUATIONS):
            clear_temporaries(self._training / EVALUATIONS)
            keep_plan(self._training, self.plan)
            yield

    def forget_after(self, done: int) -> None:
        """Drop the lines of steps that are not done: their runs are looked at again."""
        cut_evaluations(self._training, done)

    @property
    def measures(self) -> bool:
        """Whether this rank is the one that writes, and no other process does."""
        return self._group.ranks.first and not self.plan.elsewhere

    @property
    def rows(self) -> list[EvaluationRow]:
        """The finished evaluations."""
        return read_evaluations(self._training)

    @property
    def values(self) -> list[StepValue]:
        """The metric of the choice at every step that was measured."""
        return values_by_step(self.rows, self.plan)

    @property
    def best(self) -> StepValue | None:
        """The best step so far; None before there is any."""
        return best_step(self.values)

    @property
    def stopped(self) -> int | None:
        """The step at which the rule stops training; None if it goes on."""
        return stop_step(self.values, self.plan.patience)

    def owed(self, done: int, last: int) -> list[Owed]:
        """The evaluations that are due and not made, of weights that are there.

        Args:
            done: Steps that are done.
            last: Steps of the whole training.
        """
        steps = [step for step in range(done + 1) if self.plan.due(step, last)]
        return self._lacking(steps, self.plan.suite)

    def owed_at_the_end(self) -> list[Owed]:
        """The evaluations on held-out rows, of where training began and of the best step."""
        best = self.best
        if self.plan.held_out is None or best is None:
            return []
        return self._lacking(sorted({0, best.step}), self.plan.held_out)

    def spared(self, done: int, last: int) -> frozenset[int]:
        """Steps whose checkpoints must stay: the best one, and those that are still to be measured.

        Args:
            done: Steps that are done.
            last: Steps of the whole training.
        """
        best = self.best
        owed = {one.step for one in self.owed(done, last)}
        return frozenset(owed | ({best.step} if best else set()))

    def make(self, owed: Sequence[Owed]) -> None:
        """Measure what is owed, one after the other. Every rank takes part.

        Raises:
            UserError: for whatever the user can mend; what was measured so far is kept.
        """
        for one in owed:
            if self._group.ranks.first:
                self._make(one)
            else:
                take_part(one.settings, self._group)
            self._group.wait()

    def _lacking(self, steps: Sequence[int], suite: str) -> list[Owed]:
        self._group.wait()  # nobody writes while any rank reads
        there = {(row.step, row.suite) for row in self.rows}
        self._group.wait()
        return [
            Owed(step, suite, self._settings(step, suite, weights))
            for step in steps
            if (step, suite) not in there
            and (weights := weights_after(self._training, self.plan, step)) is not None
        ]

    def _settings(self, step: int, suite: str, weights: str) -> RunSettings:
        return RunSettings(
            checkpoint=weights,
            out=run_of(self._training, suite, step),
            suite=suite,
            data=self._data,
            limit=self.plan.limit,
            judge=self.plan.judge,
        )

    def _make(self, one: Owed) -> None:
        clock = [time.perf_counter()]
        model = load(one.settings, self._console, self._group.ranks)
        clock.append(time.perf_counter())
        run = measure(one.settings, self._console, model, self._group)
        clock.append(time.perf_counter())
        del model
        _give_memory_back()
        keep_evaluation(self._training, evaluation_row(StoredRun(run), one.suite, one.step))
        clock.append(time.perf_counter())
        took = {
            name: end - start for name, (start, end) in zip(_TIMED, pairwise(clock), strict=True)
        }
        for name, seconds in took.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.log({"step": one.step, "suite": one.suite, **took})

    def log(self, line: Mapping[str, Any]) -> None:
        """Add a line of seconds to `watching.jsonl`."""
        append(self._training / WATCHING, encode_lines([line]))

    def told(self) -> list[str]:
        """What was chosen and why training ended, in sentences."""
        return list(told(self.plan, self.values))


def _give_memory_back() -> None:
    """Let training have what the measured copy of the weights took on a GPU."""
    import torch

    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
