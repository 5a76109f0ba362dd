"""Watching a training: measuring its checkpoints, choosing the best one, stopping by a rule.

The same for PairGRPO and fine-tuning. A plan (`EvaluationPlan`) says what is measured when; where
another process measures, this one only sees to it that the checkpoints are there. Nothing that is
learned depends on it, but for where it ends: that is decided by the lines of the evaluations alone,
so a run that was killed at any moment decides again what it had decided.

What watching takes beside the evaluations themselves is timed and told at the end: checkpoints that
only they need, loading weights, choosing, and the lines, groups and tracker of every step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Self

from rich.console import Console

from pairuni_eval.toolkit import as_typed
from pairuni_eval.toolkit.following import (
    MEASURING,
    EvaluationPlan,
    EvaluationRow,
    Owed,
    TrainingEvaluations,
    keep_plan,
)
from pairuni_eval.toolkit.ranks import RankGroup, Ranks
from pairuni_train.grpo.trainer import KEEPING, StepResult
from pairuni_train.phase_timer import PhaseTimer

Save = Callable[[int, Collection[int]], None]


class Watched(NamedTuple):
    """What a user asks to be watched.

    Attributes:
        plan: What is measured when.
        data: As `pairuni-eval run --data`.
    """

    plan: EvaluationPlan
    data: Path | None = None


class Course(NamedTuple):
    """How long a run is and when it saves anyway.

    Attributes:
        last: Steps in all.
        checkpoint_every: Steps between two checkpoints.
    """

    last: int
    checkpoint_every: int

    def saves(self, done: int) -> bool:
        """Whether a checkpoint is due after so many steps."""
        return done % self.checkpoint_every == 0 or done == self.last


class Watch:
    """Watches one run. Every rank has one, and all of them call the same methods together.

    Use it as a context around the whole run.

    Args:
        out: The run folder.
        asked: What is watched; None watches nothing.
        course: How long the run is.
        accelerator: accelerate's `Accelerator`, which knows the ranks.
        console: Where the first rank shows what is measured.

    Attributes:
        aside: Makes room on the console for what is shown of an evaluation.
        tells: Hears of every evaluation that is made, on the first rank.
    """

    def __init__(
        self,
        out: Path,
        asked: Watched | None,
        course: Course,
        accelerator: Any,
        console: Console,
    ) -> None:
        self._out, self._asked, self._course = out, asked, course
        self._ranks = Ranks(
            int(accelerator.process_index),
            int(accelerator.num_processes),
            int(accelerator.local_process_index),
        )
        self._console = console if self._ranks.first else Console(quiet=True)
        self._evaluations: TrainingEvaluations | None = None
        self._held = ExitStack()
        self._timer = PhaseTimer()
        self._began = time.perf_counter()
        self.aside: Callable[[], AbstractContextManager[None]] = nullcontext
        self.tells: Callable[[EvaluationRow], None] = lambda _: None

    def __enter__(self) -> Self:
        if self._asked is not None:
            plan, data = self._asked
            group = self._held.enter_context(RankGroup(self._ranks, os.environ))
            made = TrainingEvaluations(self._out, plan, self._console, data=data, group=group)
            if made.measures:
                self._held.enter_context(made.held())
            elif self._ranks.first:
                keep_plan(self._out, plan)
            self._evaluations = made
        return self

    def __exit__(self, *failure: Any) -> None:
        self._held.__exit__(*failure)

    def steps(
        self, train: Callable[[int], Iterator[StepResult]], first: int, save: Save
    ) -> Iterator[StepResult]:
        """The steps of a run, until the last or until the rule stops it.

        Whoever takes a step writes its lines before taking the next one: the checkpoint that is
        due after it, and what is measured of that, follow then.

        Args:
            train: Makes the steps from a number of steps that are done.
            first: That number.
            save: Writes the checkpoint after so many steps; of the older ones those of the steps
                that it is given stay.
        """
        if not self._begin(first):
            return
        for result in train(first):
            yield result
            done = result.step + 1
            if self._course.saves(done) or self._due(done):
                spared = self._spared(done)
                with self._saving(done):
                    save(done, spared)
            if self._due(done) and not self._look(done):
                return

    def writing(self, result: StepResult) -> AbstractContextManager[None]:
        """Times the lines of a step; what it took to keep groups for them counts as well."""
        self._timer.seconds[KEEPING] = self._timer.seconds.get(KEEPING, 0.0) + result.seconds.get(
            KEEPING, 0.0
        )
        return self._timer.phase("lines")

    def end(self) -> None:
        """Measure what was chosen on held-out rows, and say what was found and what it took."""
        found = self._evaluations
        if found is None:
            return
        if found.plan.elsewhere:
            words = as_typed("pairuni-eval", "follow", self._out)
            self._say(f"Measured elsewhere: {words}")
            return
        self._make(found, found.owed_at_the_end())
        if self._ranks.first:
            for sentence in found.told():
                self._say(sentence)
            if found.seconds:
                self._say_what_it_took(found)

    def _begin(self, done: int) -> bool:
        """Measure what is owed at the start; returns whether training goes on."""
        self._began = time.perf_counter()
        if self._evaluations is not None and self._evaluations.measures:
            self._evaluations.forget_after(done)
            # What a tracker heard of this step and later ones is gone: those are told anew.
            self._tell([row for row in self._evaluations.rows if row.step == done])
        return self._look(done)

    def _spared(self, done: int) -> frozenset[int]:
        """Steps whose checkpoints are kept whatever `keep_last` says."""
        if self._evaluations is None:
            return frozenset()
        with self._timer.phase("choice"):
            return self._evaluations.spared(done, self._course.last)

    def _saving(self, done: int) -> AbstractContextManager[None]:
        """Times a checkpoint, if it is saved for an evaluation alone."""
        return nullcontext() if self._course.saves(done) else self._timer.phase("checkpoint")

    def _look(self, done: int) -> bool:
        """Measure what is owed after so many steps; returns whether training goes on."""
        found = self._evaluations
        if found is None or found.plan.elsewhere:
            return True
        if owed := found.owed(done, self._course.last):
            with self.aside():
                self._make(found, owed)
        return found.stopped is None

    def _make(self, found: TrainingEvaluations, owed: Sequence[Owed]) -> None:
        """Measure what is owed, and tell of it."""
        found.make(owed)
        if self._ranks.first and owed:
            made = {(one.step, one.suite) for one in owed}
            self._tell([row for row in found.rows if (row.step, row.suite) in made])

    def _tell(self, rows: Sequence[EvaluationRow]) -> None:
        with self._timer.phase("telling"):
            for row in rows:
                self.tells(row)

    def _due(self, done: int) -> bool:
        return self._asked is not None and self._asked.plan.due(done, self._course.last)

    def _say_what_it_took(self, found: TrainingEvaluations) -> None:
        """The seconds of this start, here and in the log."""
        around = dict(found.seconds)
        measuring = around.pop(MEASURING, 0.0)
        watching = sum(around.values()) + sum(self._timer.seconds.values())
        training = time.perf_counter() - self._began - measuring - watching
        share = watching / training if training > 0 else 0.0
        self._say(
            f"Watching: the evaluations took {measuring:.1f} s, everything else of it "
            f"{watching:.2f} s, {share:.1%} of the {training:.1f} s of training."
        )
        found.log({"training": training, "watching": watching, MEASURING: measuring})

    def _say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)
