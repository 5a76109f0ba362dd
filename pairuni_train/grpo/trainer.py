"""The training loop: sample, reward, compare, update; every step the same four words.

Reads like this: `PairSampler` says which pairs, `StepSampler` gives the rollouts of each task with
their advantages, `task_batches` what the step trains on, `accumulate` adds each task's gradient,
the optimizer steps. What a step needs is a function of the seed and the step, so a run can stop
anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from pairuni_eval.toolkit.models import Policy, Task
from pairuni_eval.toolkit.store import GradientRow
from pairuni_train.config import Recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.grpo.batch import TaskBatch, task_batches
from pairuni_train.grpo.dynamic_sampling import Drawn, StepSampler
from pairuni_train.grpo.hooks import GradientHook, TaskGradients
from pairuni_train.grpo.kept_rollouts import KeptGroup, keep_groups
from pairuni_train.grpo.metrics import Metrics, UpdateResult, step_metrics
from pairuni_train.grpo.optimizer import set_rate
from pairuni_train.grpo.reference import Reference
from pairuni_train.grpo.rollouts import TASKS, Sampling
from pairuni_train.grpo.sampler import PairSampler
from pairuni_train.grpo.task_norms import tells_every_step
from pairuni_train.grpo.trainable_parameters import trainable_parameters
from pairuni_train.grpo.update import accumulate_tasks, capture_task_gradients
from pairuni_train.phase_timer import PhaseTimer

KEEPING = "keep"  # the phase in which groups are put aside for people to look at


class TrainerParts(NamedTuple):
    """What a trainer is made of.

    Attributes:
        sampler: Which pairs a step trains on.
        sampling: How each task is sampled and rewarded.
        hooks: What looks at the tasks' gradients or changes them, in this order.
    """

    engine: Engine
    policy: Policy
    reference: Reference | None
    optimizer: torch.optim.Optimizer
    sampler: PairSampler
    sampling: Mapping[Task, Sampling]
    hooks: Sequence[GradientHook] = ()


class StepResult(NamedTuple):
    """A finished step.

    Attributes:
        metrics: Functions of the seed and the step, over all ranks.
        seconds: What the phases took on this rank.
        gradients: Rows of the hooks, e.g. what the probe saw.
        kept: A group of each task of this rank, in the steps that keep some.
    """

    step: int
    metrics: Metrics
    seconds: Metrics
    gradients: Sequence[GradientRow] = ()
    kept: Sequence[KeptGroup] = ()


class Trainer:
    """One run on one process.

    Args:
        recipe: Settings.
        parts: The loaded pieces.
    """

    def __init__(self, recipe: Recipe, parts: TrainerParts) -> None:
        self.recipe = recipe
        self.parts = parts
        self._parameters = trainable_parameters(parts.policy)
        self._blocks = parts.policy.shared_parameters()
        self._apart = tells_every_step(parts.engine, probes=bool(parts.hooks))
        self._drawing = StepSampler(
            parts.engine,
            parts.policy,
            parts.sampler,
            parts.sampling,
            recipe.batch.dynamic_rounds,
            [task for task in TASKS if recipe.task(task).weight > 0.0],
        )

    def steps(self, first: int) -> Iterator[StepResult]:
        """Train from step `first` (the number of steps that are done) to the end."""
        for step in range(first, self.recipe.steps):
            yield self.step(step)

    def step(self, step: int) -> StepResult:
        """Sample, reward, compare, update."""
        parts, objective, timer = self.parts, self.recipe.objective, PhaseTimer()
        with parts.engine.unsharded(), parts.engine.precision():
            drawn = self._drawing.draw(step, timer)
        with timer.phase("replay"):
            batches = task_batches(
                parts.engine,
                parts.policy,
                parts.reference,
                drawn.rollouts,
                objective,
                size=self.recipe.batch.micro_batch,
                spare=drawn.spare,
            )
        with timer.phase("update"):
            updates = [self._update(step, inner, batches) for inner in range(objective.inner_steps)]
        metrics = step_metrics(parts.engine, batches, updates) | drawn.metrics
        rows = [row for update in updates for row in update.gradients]
        with timer.phase(KEEPING):
            kept = self._kept(drawn, step)
        return StepResult(step, metrics, timer.seconds, rows, kept)

    def _kept(self, drawn: Drawn, step: int) -> Sequence[KeptGroup]:
        """A group of each task, where that is due and this rank writes."""
        every = self.recipe.rollouts_every
        if not every or step % every or self.parts.engine.rank:
            return ()
        return keep_groups(drawn.rollouts, step, self.parts.sampling["und"].seed)

    def _update(self, step: int, inner: int, batches: Mapping[Task, TaskBatch]) -> UpdateResult:
        """One optimizer step: both tasks' gradients, the hooks, clipping, AdamW."""
        engine, policy, optimizer = self.parts.engine, self.parts.policy, self.parts.optimizer
        objective = self.recipe.objective
        optimizer.zero_grad(set_to_none=True)
        rows: list[GradientRow] = []
        hooks = [hook for hook in self.parts.hooks if hook.due(step, inner)]
        if hooks or self._apart:
            held = TaskGradients(self._parameters, self._blocks)
            halves = any(hook.halves for hook in hooks)
            joint = capture_task_gradients(engine, policy, held, batches, objective, halves=halves)
            for hook in hooks:
                rows += hook(held, batches, step)
            held.restore()
        else:
            joint = accumulate_tasks(engine, policy, batches, objective)
        norm = engine.clip_gradients(self.recipe.optimizer.max_grad_norm)
        rate = set_rate(optimizer, self.recipe.optimizer, step)
        optimizer.step()
        return UpdateResult(joint.totals, norm, rate, rows, joint.norms)
