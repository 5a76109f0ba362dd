"""The training loop: sample, reward, compare, update; every step the same four words.

Reads like this: `PairOrder` says which pairs, `sample_track` gives the rollouts of each task with
their advantages, `accumulate` adds each task's gradient, the optimizer steps, a line of metrics is
written. What a step needs is a function of the seed and the step, so a run can stop anywhere.

Metric names follow trl where it has one (`loss`, `grad_norm`, `clip_ratio/...`, `entropy`, `kl`,
`reward`, `frac_reward_zero_std`), with the task after a slash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairuni_eval.models.base import Task
from pairuni_train.advantages import Weighting
from pairuni_train.alarms import Alarm, Watch
from pairuni_train.clock import Clock
from pairuni_train.engine import Engine
from pairuni_train.gradients import BlockGrams, Probe, adam_scale
from pairuni_train.order import PairOrder, slice_of
from pairuni_train.recipe import Backbone, Recipe
from pairuni_train.rewards import WeightedSum
from pairuni_train.rollouts import TASKS, Sampling, Track, sample_track
from pairuni_train.update import (
    MicroBatch,
    OldLogProbs,
    TaskTotals,
    accumulate,
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


class Look(NamedTuple):
    """What the probe saw in a step: the grams by block, raw and preconditioned."""

    step: int
    raw: dict[str, BlockGrams]
    preconditioned: dict[str, BlockGrams] | None
    live: dict[Task, float]
    pairs: int


class Trainer:
    """One run on one process.

    Args:
        recipe: The arm.
        backbone: Everything else.
        parts: The loaded pieces.
        seed: Seed of every random draw.
    """

    def __init__(self, recipe: Recipe, backbone: Backbone, parts: Parts, seed: int) -> None:
        self.recipe = recipe
        self.backbone = backbone
        self.parts = parts
        self._seed = seed
        self._watch = Watch()
        blocks = parts.policy.shared_parameters()
        named = dict(parts.policy.named_parameters())
        self._shared = {name: named[name] for name in blocks if named[name].requires_grad}
        self._blocks = blocks

    def run(
        self,
        first: int,
        *,
        metrics: Path | None,
        done: Callable[[int, Metrics, Sequence[Alarm]], None],
        looked: Callable[[Look], None],
    ) -> None:
        """Train from step `first` to the end.

        Args:
            first: Steps that are done already.
            metrics: The JSON-lines file that every step adds a line to; None writes none.
            done: Hears of each step with its metrics and alarms; may save and may raise.
            looked: Hears of each look at the gradients.
        """
        for step in range(first, self.backbone.steps):
            found, look = self.step(step)
            if look is not None:
                looked(look)
            if metrics is not None:
                with metrics.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps({"step": step, **found}) + "\n")
            done(step, found, self._watch.look(found))

    def step(self, step: int) -> tuple[Metrics, Look | None]:
        """One step: returns its metrics, and what the probe saw if it looked."""
        clock = Clock()
        engine = self.parts.engine
        pairs = slice_of(self.parts.order.of_step(step), engine.rank, engine.ranks)
        with engine.whole():
            tracks = {
                task: sample_track(self.parts.policy, pairs, self._sampling(task), step, clock)
                for task in TASKS
            }
        with clock.phase("update"):
            batches, old = self._prepared(tracks)
            sequences = sequences_of(tracks, engine)
            updates = [
                self._update(step, tracks, batches, old, sequences, looks=self._looks(step, inner))
                for inner in range(self.backbone.inner_steps)
            ]
        return self._metrics(tracks, updates, clock), updates[0].look

    def _sampling(self, task: Task) -> Sampling:
        return Sampling(
            task,
            self.backbone.task(task),
            self.parts.rewards[task],
            self.parts.weighting,
            self.backbone.rollout_batch,
            self._seed,
        )

    def _looks(self, step: int, inner: int) -> bool:
        every = self.backbone.probe.every
        return every > 0 and step % every == 0 and inner == 0

    def _prepared(
        self, tracks: Mapping[Task, Track]
    ) -> tuple[dict[Task, list[MicroBatch]], dict[Task, list[OldLogProbs]]]:
        parts, size = self.parts, self.backbone.micro_batch
        batches = {t: micro_batches(parts.policy, track, size) for t, track in tracks.items()}
        old = {
            task: old_log_probs(parts.engine.model, parts.reference, cut, self.backbone)
            for task, cut in batches.items()
        }
        return batches, old

    def _update(
        self,
        step: int,
        tracks: Mapping[Task, Track],
        batches: Mapping[Task, Sequence[MicroBatch]],
        old: Mapping[Task, Sequence[OldLogProbs]],
        sequences: Mapping[Task, float],
        *,
        looks: bool,
    ) -> _Update:
        """One optimizer step: both tasks' gradients, a look at them, clipping, AdamW."""
        engine, optimizer = self.parts.engine, self.parts.optimizer
        optimizer.zero_grad(set_to_none=True)
        apart = looks or self.recipe.surgery == "pcgrad"
        probe = Probe(self._shared, self._blocks) if apart else None
        totals = {
            task: accumulate(
                engine,
                engine.model,
                batches[task],
                old[task],
                self.backbone,
                task=task,
                sequences=sequences[task],
                probe=probe,
                halves=looks and self.backbone.probe.halves,
            )
            for task in TASKS
        }
        look = None
        if probe is None:
            engine.sum_gradients()
        else:
            look = self._look(step, probe, tracks) if looks else None
            if self.recipe.surgery == "pcgrad":
                project_conflicts(probe)
            else:
                probe.give_back()
        norm = engine.clip_gradients(self.backbone.max_grad_norm)
        set_rate(optimizer, self.backbone, step)
        optimizer.step()
        return _Update(totals, norm, look)

    def _look(self, step: int, probe: Probe, tracks: Mapping[Task, Track]) -> Look:
        scale = adam_scale(self._shared, self.parts.optimizer)
        return Look(
            step,
            self.parts.engine.total_grams(probe.grams()),
            None if scale is None else self.parts.engine.total_grams(probe.grams(scale)),
            {task: _live_share(self.parts.engine, track) for task, track in tracks.items()},
            self.parts.order.rows_per_step,
        )

    def _metrics(
        self,
        tracks: Mapping[Task, Track],
        updates: Sequence[_Update],
        clock: Clock,
    ) -> Metrics:
        """The step in numbers, over all ranks."""
        engine = self.parts.engine
        found: Metrics = {"loss": 0.0, "grad_norm": updates[-1].norm}
        for task, track in tracks.items():
            sums = _sums_of(updates[-1].totals[task])
            numbers = engine.total(sums).tolist()
            loss, tokens, low, high, kl, entropy = numbers
            tokens = max(tokens, 1.0)
            found["loss"] += loss * self.backbone.task(task).weight
            found[f"loss/{task}"] = loss
            found[f"clip_ratio/low/{task}"] = low / tokens
            found[f"clip_ratio/high/{task}"] = high / tokens
            found[f"kl/{task}"] = kl / tokens
            found[f"entropy/{task}"] = entropy / tokens
            found[f"first_ratio_off/{task}"] = float(updates[0].totals[task].terms.ratio_off)
            found[f"live_groups/{task}"] = _live_share(engine, track)
            found[f"frac_reward_zero_std/{task}"] = 1.0 - found[f"live_groups/{task}"]
            found |= _reward_metrics(engine, track)
        found["lr"] = float(self.parts.optimizer.param_groups[0]["lr"])
        return found | {f"seconds/{name}": seconds for name, seconds in clock.seconds.items()}


class _Update(NamedTuple):
    """What an optimizer step leaves: the terms of each task, the gradient norm, a look."""

    totals: dict[Task, TaskTotals]
    norm: float
    look: Look | None


def set_rate(optimizer: torch.optim.Optimizer, backbone: Backbone, step: int) -> None:
    """Linear warm-up, then constant."""
    share = min(1.0, (step + 1) / backbone.warmup) if backbone.warmup else 1.0
    for group in optimizer.param_groups:
        group["lr"] = backbone.lr * share


def _sums_of(totals: TaskTotals) -> Tensor:
    terms = totals.terms
    parts = (terms.loss, terms.tokens, terms.clipped_low, terms.clipped_high, terms.kl)
    return torch.stack([part.double().cpu() for part in (*parts, totals.entropy)])


def _live_share(engine: Engine, track: Track) -> float:
    """Share of the task's groups that teach something, over all ranks; 0 without groups."""
    counts = torch.tensor([float(track.live_P.sum()), float(len(track.live_P))])
    live, groups = engine.total(counts).tolist()
    return live / groups if groups else 0.0


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
