"""The loop of supervised fine-tuning: lessons, packs, both losses, one step of the optimizer.

    loss = word_weight * sum(words) / N_words + picture_weight * sum(pictures) / N_pictures

with counts N over the whole step and all ranks, so that neither the packs nor the ranks that hold a
lesson change it. The two losses are the tasks of the gradient probe: where it looks, each goes
backward on its own, half of the pairs after the other.

What a step needs is a function of the seed and the step, so a run can stop anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from pairuni_eval.toolkit.models import Learner, PreparedLesson, Task
from pairuni_eval.toolkit.store import GradientRow
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.rows import gradient_rows
from pairuni_train.grpo.hooks import TaskGradients
from pairuni_train.grpo.optimizer import set_rate
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.sampler import PairSampler, slice_of
from pairuni_train.grpo.task_norms import held_norms
from pairuni_train.grpo.trainable_parameters import trainable_parameters
from pairuni_train.grpo.trainer import StepResult
from pairuni_train.phase_timer import PhaseTimer
from pairuni_train.sft.average import WeightAverage
from pairuni_train.sft.config import SftRecipe
from pairuni_train.sft.packs import Prepared, packs_of, units_of

Totals = dict[Task, float]


class SftParts(NamedTuple):
    """What a trainer is made of.

    Attributes:
        samplers: Which rows each task is taught in a step.
        average: Of the weights; None keeps none.
        scenario: What the probe's rows are called.
    """

    engine: Engine
    learner: Learner
    optimizer: torch.optim.Optimizer
    samplers: Mapping[Task, PairSampler]
    average: WeightAverage | None
    scenario: str
    seed: int


class _Probed(NamedTuple):
    """A probed step: the losses, the rows of the probe, the norm of each task's gradient."""

    sums: Totals
    rows: list[GradientRow]
    norms: dict[Task, float]


class SftTrainer:
    """One run on one process.

    Args:
        recipe: Settings.
        parts: The loaded pieces.
    """

    def __init__(self, recipe: SftRecipe, parts: SftParts) -> None:
        self.recipe, self.parts = recipe, parts
        self._parameters = trainable_parameters(parts.learner)
        self._blocks = parts.learner.shared_parameters()
        self._weights: dict[Task, float] = {
            "und": recipe.word_weight,
            "gen": recipe.picture_weight,
        }

    def steps(self, first: int) -> Iterator[StepResult]:
        """Train from step `first` (the number of steps that are done) to the end."""
        for step in range(first, self.recipe.steps):
            yield self.step(step)

    def step(self, step: int) -> StepResult:
        """Prepare, add up both losses' gradients, update."""
        engine, optimizer, timer = self.parts.engine, self.parts.optimizer, PhaseTimer()
        with timer.phase("prepare"):
            units = self._units(step)
        counts = self._counts(units)
        optimizer.zero_grad(set_to_none=True)
        rows: list[GradientRow] = []
        norms: dict[Task, float] = {}
        with timer.phase("update"):
            every = self.recipe.probe.every
            if every and step % every == 0:
                sums, rows, norms = self._probe(step, units, counts)
            else:
                sums = self._accumulate(self._packs(units), counts, TASKS)
                engine.sum_gradients()
            norm = engine.clip_gradients(self.recipe.max_grad_norm)
            rate = set_rate(optimizer, self.recipe.optimizer, step)
            optimizer.step()
            if self.parts.average is not None:
                self.parts.average.update()
        metrics = self._metrics(sums, counts) | {"grad_norm": norm, "lr": rate}
        metrics |= {f"grad_norm/{task}": one for task, one in norms.items()}
        return StepResult(step, metrics, timer.seconds, rows)

    def _units(self, step: int) -> list[Prepared]:
        """What this rank is taught in a step."""
        parts, engine = self.parts, self.parts.engine
        und, gen = (
            sampler.rows(slice_of(sampler.places(step, task), engine.rank, engine.ranks))
            for task, sampler in ((task, parts.samplers[task]) for task in TASKS)
        )
        units = units_of(und, gen, self.recipe, seed=parts.seed, step=step)
        prepared = iter(parts.learner.prepare([one for unit in units for one in unit]))
        return [[next(prepared) for _ in unit] for unit in units]

    def _packs(self, units: Sequence[Prepared]) -> Sequence[Prepared]:
        return packs_of(units, self.recipe.pack_tokens)

    def _counts(self, units: Sequence[Prepared]) -> Totals:
        """What each task's sum is divided by, over all ranks; 1 without a lesson of the task."""
        mine = [_count(units, task) for task in TASKS]
        total = self.parts.engine.total(torch.tensor(mine, dtype=torch.float64)).tolist()
        return {task: max(count, 1.0) for task, count in zip(TASKS, total, strict=True)}

    def _accumulate(
        self, packs: Sequence[Prepared], counts: Totals, tasks: Sequence[Task]
    ) -> Totals:
        """Add the gradients of some tasks; returns their summed losses on this rank."""
        engine, sums = self.parts.engine, dict.fromkeys(TASKS, 0.0)
        for pack in packs:
            with engine.precision():
                found = self.parts.learner(pack)
            parts = {task: found[task] for task in tasks if task in found}
            if parts:
                weighed = [one * (self._weights[t] / counts[t]) for t, one in parts.items()]
                engine.backward(torch.stack(weighed).sum())
            for task, one in parts.items():
                sums[task] += float(one.detach())
        return sums

    def _probe(self, step: int, units: Sequence[Prepared], counts: Totals) -> _Probed:
        """The same gradients, task by task and half by half, and what they say of each other."""
        engine, parts = self.parts.engine, self.parts
        held, sums = TaskGradients(self._parameters, self._blocks), dict.fromkeys(TASKS, 0.0)
        middle = (len(units) + 1) // 2
        halves = [units[:middle], units[middle:]] if self.recipe.probe.halves else [units]
        for task in TASKS:
            for number, half in enumerate(halves):
                sums[task] += self._accumulate(self._packs(half), counts, (task,))[task]
                engine.sum_gradients()
                held.capture(task, number)
        rows = gradient_rows(
            engine,
            held,
            self._parameters,
            parts.optimizer,
            self._taught(units),
            scenario=parts.scenario,
            step=step,
            rows=max(one.rows_per_step for one in parts.samplers.values()),
        )
        norms = held_norms(engine, held)
        held.restore()
        return _Probed(sums, rows, norms)

    def _taught(self, units: Sequence[Prepared]) -> dict[Task, float]:
        """1 for a task that has a lesson on some rank, else 0."""
        mine = torch.tensor([_count(units, task) for task in TASKS])
        return {
            task: float(count > 0)
            for task, count in zip(TASKS, self.parts.engine.total(mine).tolist(), strict=True)
        }

    def _metrics(self, sums: Totals, counts: Totals) -> dict[str, float]:
        mine = torch.tensor([sums[task] for task in TASKS], dtype=torch.float64)
        total = self.parts.engine.total(mine).tolist()
        found = {f"loss/{task}": one / counts[task] for task, one in zip(TASKS, total, strict=True)}
        loss = sum(self._weights[task] * found[f"loss/{task}"] for task in TASKS)
        return {"loss": loss, **found}


def _count(units: Sequence[Sequence[PreparedLesson]], task: Task) -> float:
    return float(sum(one.over for unit in units for one in unit if one.task == task))
