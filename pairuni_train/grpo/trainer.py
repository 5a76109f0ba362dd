"""The training loop: sample, reward, compare, update; every step the same four words.

Reads like this: `PairOrder` says which pairs, `sample_track` gives the rollouts of each task with
their advantages, `accumulate` adds each task's gradient, the optimizer steps. What a step needs is
a function of the seed and the step, so a run can stop anywhere.

Metric names follow trl where it has one (`loss`, `grad_norm`, `clip_ratio/...`, `entropy`, `kl`,
`reward`, `frac_reward_zero_std`), with the task after a slash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from pairuni_eval.models.base import Task
from pairuni_train.clock import Clock
from pairuni_train.config import Arm, Recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.capture import Look, live_share, look_at, take_apart
from pairuni_train.gradient_probe.gram import Probe
from pairuni_train.grpo.advantages import Weighting
from pairuni_train.grpo.rewards import WeightedSum
from pairuni_train.grpo.rollouts import TASKS, Sampling, Track, sample_track
from pairuni_train.grpo.sampler import PairOrder, slice_of
from pairuni_train.grpo.update import (
    Compared,
    TaskTotals,
    accumulate,
    evened,
    micro_batches,
    old_log_probs,
    project_conflicts,
    sequences_of,
)

Metrics = dict[str, float]


class Parts(NamedTuple):
    """What a trainer is made of."""

    engine: Engine
    policy: Any
    reference: nn.Module | None
    optimizer: torch.optim.Optimizer
    order: PairOrder
    rewards: Mapping[Task, WeightedSum]
    weighting: Weighting


class Stepped(NamedTuple):
    """A finished step.

    Attributes:
        metrics: Functions of the seed and the step, over all ranks.
        seconds: What the phases took on this rank.
        look: What the probe saw, if it looked.
    """

    step: int
    metrics: Metrics
    seconds: Metrics
    look: Look | None


class Trainer:
    """One run on one process.

    Args:
        arm: The arm.
        recipe: Everything else.
        parts: The loaded pieces.
        seed: Seed of every random draw.
    """

    def __init__(self, arm: Arm, recipe: Recipe, parts: Parts, seed: int) -> None:
        self.arm = arm
        self.recipe = recipe
        self.parts = parts
        self._seed = seed
        named = parts.policy.named_parameters()
        self._trained = {name: one for name, one in named if one.requires_grad}
        self._blocks = parts.policy.shared_parameters()

    def steps(self, first: int) -> Iterator[Stepped]:
        """Train from step `first` (the number of steps that are done) to the end."""
        for step in range(first, self.recipe.steps):
            yield self.step(step)

    def step(self, step: int) -> Stepped:
        """Sample, reward, compare, update."""
        clock = Clock()
        tracks = self._sampled(step, clock)
        sequences = sequences_of(tracks, self.recipe, self.parts.engine)
        with clock.phase("replay"):
            compared = self._compared(tracks)
        with clock.phase("update"):
            updates = [
                self._update(step, tracks, compared, sequences, looks=self._looks(step, inner))
                for inner in range(self.recipe.inner_steps)
            ]
        return Stepped(step, self._metrics(tracks, updates), clock.seconds, updates[0].look)

    def _sampled(self, step: int, clock: Clock) -> dict[Task, Track]:
        engine = self.parts.engine
        pairs = slice_of(self.parts.order.of_step(step), engine.rank, engine.ranks)
        with engine.whole(), engine.precision():
            return {
                task: sample_track(self.parts.policy, pairs, self._sampling(task), step, clock)
                for task in TASKS
            }

    def _sampling(self, task: Task) -> Sampling:
        return Sampling(
            task,
            self.recipe.task(task),
            self.parts.rewards[task],
            self.parts.weighting,
            self.recipe.rollout_batch,
            self._seed,
        )

    def _looks(self, step: int, inner: int) -> bool:
        every = self.recipe.probe.every
        return every > 0 and step % every == 0 and inner == 0

    def _compared(self, tracks: Mapping[Task, Track]) -> dict[Task, Compared]:
        parts, recipe = self.parts, self.recipe
        cut = {task: micro_batches(parts.policy, t, recipe) for task, t in tracks.items()}
        evened(cut, parts.engine)
        return {
            task: Compared(batches, old_log_probs(parts.engine, parts.reference, batches, recipe))
            for task, batches in cut.items()
        }

    def _update(
        self,
        step: int,
        tracks: Mapping[Task, Track],
        compared: Mapping[Task, Compared],
        sequences: Mapping[Task, float],
        *,
        looks: bool,
    ) -> _Update:
        """One optimizer step: both tasks' gradients, a look at them, clipping, AdamW."""
        engine, optimizer = self.parts.engine, self.parts.optimizer
        optimizer.zero_grad(set_to_none=True)
        if looks or self.arm.surgery == "pcgrad":
            totals, look = self._apart(step, tracks, compared, sequences, looks=looks)
        else:
            look = None
            totals = {
                task: accumulate(
                    engine, compared[task], self.recipe, task=task, sequences=sequences[task]
                )
                for task in TASKS
            }
            engine.sum_gradients()
        norm = engine.clip_gradients(self.recipe.max_grad_norm)
        set_rate(optimizer, self.recipe, step)
        optimizer.step()
        return _Update(totals, norm, look)

    def _apart(
        self,
        step: int,
        tracks: Mapping[Task, Track],
        compared: Mapping[Task, Compared],
        sequences: Mapping[Task, float],
        *,
        looks: bool,
    ) -> tuple[dict[Task, TaskTotals], Look | None]:
        """Both tasks' gradients one aside of the other, looked at and put together again."""
        engine = self.parts.engine
        probe = Probe(self._trained, self._blocks)
        halves = looks and self.recipe.probe.halves
        totals = take_apart(engine, probe, compared, self.recipe, sequences, halves=halves)
        look = None
        if looks:
            optimizer, rows = self.parts.optimizer, self.parts.order.rows_per_step
            look = look_at(engine, probe, self._trained, optimizer, tracks, step=step, rows=rows)
        if self.arm.surgery == "pcgrad":
            project_conflicts(probe, engine)
        else:
            probe.give_back()
        return totals, look

    def _metrics(self, tracks: Mapping[Task, Track], updates: Sequence[_Update]) -> Metrics:
        """The step in numbers, over all ranks."""
        engine = self.parts.engine
        found: Metrics = {"loss": 0.0, "grad_norm": updates[-1].norm}
        for task, track in tracks.items():
            totals = updates[-1].totals[task]
            found |= _term_metrics(engine, task, totals)
            found["loss"] += found[f"loss/{task}"] * self.recipe.task(task).weight
            first = updates[0].totals[task].terms.ratio_off
            found[f"first_ratio_off/{task}"] = float(engine.largest(first[None])[0])
            found[f"live_groups/{task}"] = live_share(engine, track)
            found[f"frac_reward_zero_std/{task}"] = 1.0 - found[f"live_groups/{task}"]
            found |= _reward_metrics(engine, track)
        found["lr"] = float(self.parts.optimizer.param_groups[0]["lr"])
        return found


class _Update(NamedTuple):
    """What an optimizer step leaves: the terms of each task, the gradient norm, a look."""

    totals: dict[Task, TaskTotals]
    norm: float
    look: Look | None


def set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Linear warm-up, then constant."""
    share = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr * share


def _term_metrics(engine: Engine, task: Task, totals: TaskTotals) -> Metrics:
    """The objective's terms as means over the tokens of all ranks."""
    terms = totals.terms
    parts = (terms.loss, terms.tokens, terms.clipped_low, terms.clipped_high, terms.kl)
    sums = torch.stack([part.double().cpu() for part in (*parts, totals.entropy)])
    loss, tokens, low, high, kl, entropy = engine.total(sums).tolist()
    tokens = max(tokens, 1.0)
    return {
        f"loss/{task}": loss,
        f"clip_ratio/low/{task}": low / tokens,
        f"clip_ratio/high/{task}": high / tokens,
        f"kl/{task}": kl / tokens,
        f"entropy/{task}": entropy / tokens,
    }


def _reward_metrics(engine: Engine, track: Track) -> Metrics:
    """Mean of every reward over the rollouts it judged, and the share it declined."""
    found: Metrics = {}
    for name, values_N in sorted(track.rewards.items()):
        judged_N = values_N[~values_N.isnan()].double()
        sums = torch.tensor([float(judged_N.sum()), float(len(judged_N)), float(len(values_N))])
        total, judged, rollouts = engine.total(sums.double()).tolist()
        key = f"reward/{track.task}" if name == "total" else f"rewards/{name}/{track.task}"
        if judged:
            found[key] = total / judged
        if rollouts and name == "total":
            found[f"declined/{track.task}"] = 1.0 - judged / rollouts
    return found
