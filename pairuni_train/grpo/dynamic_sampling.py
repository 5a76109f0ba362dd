"""The rollouts of a step; rows whose groups have no spread may be replaced by others.

DAPO (arXiv 2503.14476) draws prompts until each of the batch teaches something. Here a row, a pair
that is, is kept or replaced whole, so that both halves of a pair stay in one step: rows whose
groups all have spread come first, then those with some, in the order in which they were drawn.
Rounds end when the batch is full of the former or after `dynamic_rounds` further ones; what is
lacking then is filled with rows that teach less.

Departures: a further round draws as many rows as a step has, from all pairs that are not in the
step, by an address of its own; what a step draws is a function of the seed and the step, and an
epoch does not count rows that were drawn so. A batch that is not full trains all the same.

What was drawn in all has metrics of its own (`drawn/...`): the rewards of the batch are those of
the rows that were kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.toolkit.models import Policy, Task
from pairuni_train.distributed.engine import Engine
from pairuni_train.grpo.metrics import Metrics, groups_of, mean_reward
from pairuni_train.grpo.rollouts import TASKS, Sampling, TaskRollouts, joined, sample_task
from pairuni_train.grpo.sampler import PairSampler, slice_of
from pairuni_train.pair_data.record import Pair
from pairuni_train.phase_timer import PhaseTimer


class Drawn(NamedTuple):
    """What a step has sampled on this rank.

    Attributes:
        rollouts: What it trains on.
        spare: Some rollouts of this rank, whatever was kept of them.
        metrics: What was drawn in all; empty where rows are taken as they come.
    """

    rollouts: dict[Task, TaskRollouts]
    spare: dict[Task, TaskRollouts]
    metrics: Metrics


class _Round(NamedTuple):
    """A round of rollouts.

    Attributes:
        first: The first of this rank's rows among those of all ranks.
        rows: Rows of all ranks.
        halves: For each task, whether each of this rank's rows has its half.
        rollouts: Of this rank's rows.
    """

    first: int
    rows: int
    halves: dict[Task, list[bool]]
    rollouts: dict[Task, TaskRollouts]


class StepSampler(NamedTuple):
    """Samples steps.

    Attributes:
        sampler: Which rows.
        sampling: How each task is sampled and rewarded.
        further: Further rounds at most.
        trained: Tasks whose groups must teach something.
    """

    engine: Engine
    policy: Policy
    sampler: PairSampler
    sampling: Mapping[Task, Sampling]
    further: int
    trained: Sequence[Task]

    def draw(self, step: int, timer: PhaseTimer) -> Drawn:
        """The rollouts of a step. Every rank takes part."""
        rounds = [
            self._round({task: self.sampler.places(step, task) for task in TASKS}, step, timer)
        ]
        if not self.further:
            return Drawn(rounds[0].rollouts, rounds[0].rollouts, {})
        wanted = rounds[0].rows
        marks = [self._marks(rounds[0])]
        for number in range(1, self.further + 1):
            if int((torch.cat(marks) == _WHOLE).sum()) >= wanted:
                break
            places = {task: self.sampler.further(step, number, task) for task in TASKS}
            if not all(places.values()):
                break  # the whole set is in the step
            rounds.append(self._round(places, step, timer))
            marks.append(self._marks(rounds[-1]))
        kept = _keep(torch.cat(marks), wanted)
        parts = [
            _some(one, kept_of.tolist())
            for one, kept_of in zip(rounds, torch.split(kept, [len(m) for m in marks]), strict=True)
        ]
        rollouts = {task: joined([part[task] for part in parts]) for task in TASKS}
        return Drawn(rollouts, rounds[0].rollouts, self._metrics(rounds, torch.cat(marks)))

    def _round(self, places: Mapping[Task, Sequence[int]], step: int, timer: PhaseTimer) -> _Round:
        rank, ranks = self.engine.rank, self.engine.ranks
        rows = min(len(found) for found in places.values())
        with self.engine.together():
            mine = {
                task: self.sampler.rows(slice_of(found[:rows], rank, ranks))
                for task, found in places.items()
            }
            rollouts = {
                task: sample_task(self.policy, mine[task], self.sampling[task], step, timer)
                for task in TASKS
            }
        halves = {task: [_has(pair, task) for pair in mine[task]] for task in TASKS}
        return _Round(rank * rows // ranks, rows, halves, rollouts)

    def _marks(self, one: _Round) -> Tensor:
        """For each row of all ranks the share of its groups that teach something, 0 to 1."""
        counts = torch.zeros(2, one.rows, dtype=torch.float64)
        for task in self.trained:
            here = [one.first + row for row, has in enumerate(one.halves[task]) if has]
            counts[0, here] += one.rollouts[task].live_P.double()
            counts[1, here] += 1.0
        live, there = self.engine.total(counts)
        return torch.where(there > 0, live / there.clamp(min=1.0), 0.0)

    def _metrics(self, rounds: Sequence[_Round], marks: Tensor) -> Metrics:
        found: Metrics = {
            "drawn/rounds": float(len(rounds)),
            "drawn/rows": float(len(marks)),
            "drawn/rows_live": float((marks == _WHOLE).double().mean()),
        }
        for task in TASKS:
            every = joined([one.rollouts[task] for one in rounds])
            groups = groups_of(self.engine, every)
            if groups.all:
                found[f"drawn/live_groups/{task}"] = groups.live_share
            mean, _ = mean_reward(self.engine, every.rewards["total"])
            if mean is not None:
                found[f"drawn/reward/{task}"] = mean
        return found


_WHOLE = 1.0


def _has(pair: Pair, task: Task) -> bool:
    return (pair.understanding if task == "und" else pair.generation) is not None


def _keep(mark_R: Tensor, wanted: int) -> Tensor:
    """Which rows are kept (R,): those with the best marks, the ones drawn first among equals."""
    kept_R = torch.zeros(len(mark_R), dtype=torch.bool)
    kept_R[mark_R.argsort(descending=True, stable=True)[:wanted]] = True
    return kept_R


def _some(one: _Round, kept: Sequence[bool]) -> dict[Task, TaskRollouts]:
    """The rollouts of this rank's rows that are kept."""
    found = {}
    for task, halves in one.halves.items():
        mine = kept[one.first : one.first + len(halves)]
        prompts = [keep for keep, has in zip(mine, halves, strict=True) if has]
        found[task] = one.rollouts[task].of_prompts([i for i, keep in enumerate(prompts) if keep])
    return found
