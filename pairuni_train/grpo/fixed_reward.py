"""Measures the reward on fixed prompts while a run trains (`pairuni_train.grpo.fixed_prompts`).

Rewards, decoding and instruction are those of training. A run that goes on, or one that was trained
without fixed prompts, is measured at the weights that are still there: those it began from, its
checkpoints, and where it stands. All ranks take part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import torch

from pairuni_eval.toolkit.models import Policy, Task
from pairuni_eval.toolkit.store import FIXED, FixedRow, encode_lines, read_fixed, write_whole
from pairuni_train.config import Recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.grpo.advantages import no_weight
from pairuni_train.grpo.fixed_prompts import FixedPrompts, fixed_rows, set_name
from pairuni_train.grpo.rewards import WeightedSum
from pairuni_train.grpo.rollouts import TASKS, Sampling, TaskRollouts, sample_task
from pairuni_train.grpo.sampler import slice_of
from pairuni_train.pair_data.dataset import read_pairs
from pairuni_train.pair_data.record import Pair
from pairuni_train.phase_timer import PhaseTimer
from pairuni_train.setup import Job, load_trainable

_SEED, _STEP = 0, 0  # of every address: no run and no step has rollouts of its own


class FixedReward:
    """What is measured, and with which rewards.

    Args:
        asked: The prompts and when they are answered.
        recipe: Decoding and instructions.
        rewards: The rewards of training.

    Attributes:
        set: The name of these prompts and draws.

    Raises:
        UserError: if the file is not a sound pair set.
    """

    def __init__(
        self, asked: FixedPrompts, recipe: Recipe, rewards: Mapping[Task, WeightedSum]
    ) -> None:
        pairs = read_pairs(asked.file)
        self.asked = asked
        self.set = set_name(pairs, asked.draws)
        self._recipe = recipe
        self._rewards = rewards
        self._rows: dict[Task, list[Pair]] = {task: fixed_rows(pairs, task) for task in TASKS}

    def due(self, step: int) -> bool:
        """Whether there is a measurement after so many steps."""
        return self.asked.due(step, self._recipe.steps)

    def measure(
        self, engine: Engine, policy: Policy, step: int, timer: PhaseTimer
    ) -> list[FixedRow]:
        """A row for each task that has prompts, over all ranks."""
        with timer.phase("fixed"), engine.unsharded(), engine.precision():
            return [
                self._measured(engine, policy, task, rows, step)
                for task, rows in self._rows.items()
                if rows
            ]

    def _measured(
        self, engine: Engine, policy: Policy, task: Task, rows: Sequence[Pair], step: int
    ) -> FixedRow:
        mine = slice_of(rows, engine.rank, engine.ranks)
        sampling, timer = self._sampling(task), PhaseTimer()
        with engine.together():
            rollouts = sample_task(policy, mine, sampling, _STEP, timer, done=step)
        first = engine.rank * len(rows) // engine.ranks
        total_P, judged_P = engine.total(_sums(rollouts, first, len(rows))).tolist()
        judged = sum(judged_P)
        return FixedRow(
            step=step,
            set=self.set,
            task=task,
            draws=self.asked.draws,
            reward=sum(total_P) / judged if judged else None,
            declined=1.0 - judged / (self.asked.draws * len(rows)),
            values=tuple(
                total / count if count else None
                for total, count in zip(total_P, judged_P, strict=True)
            ),
        )

    def _sampling(self, task: Task) -> Sampling:
        spec = msgspec.structs.replace(self._recipe.task(task), rollouts=self.asked.draws)
        size = self._recipe.batch.rollout_batch
        return Sampling(task, spec, self._rewards[task], no_weight, size, _SEED)


def _sums(rollouts: TaskRollouts, first: int, prompts: int) -> torch.Tensor:
    """(2, P) over the prompts of all ranks: sum and number of the rewards that were given."""
    reward_N = rollouts.rewards["total"].double()
    judged_N = ~reward_N.isnan()
    found = torch.zeros(2, prompts, dtype=torch.float64)
    found[0].index_add_(0, rollouts.group_N + first, torch.where(judged_N, reward_N, 0.0))
    found[1].index_add_(0, rollouts.group_N + first, judged_N.double())
    return found


def catch_up(
    job: Job, fixed_reward: FixedReward, engine: Engine, policy: Policy, first: int
) -> list[FixedRow]:
    """The rows up to step `first`: those that are there, and what is due and can still be measured.

    Args:
        job: The run.
        fixed_reward: What is measured; rows of other prompts are dropped.
        engine: The engine of the run.
        policy: The weights after `first` steps.
        first: Steps done.
    """
    kept = [] if first == 0 else _rows_of(job.out, fixed_reward, first)
    engine.wait()
    there = {row.step for row in kept}
    for step in filter(fixed_reward.due, range(first + 1)):
        if step in there:
            continue
        if step == first:
            kept += fixed_reward.measure(engine, policy, step, PhaseTimer())
        elif (weights := _weights_after(step, job)) is not None:
            former = load_trainable(weights, engine.device).policy
            plain = Engine(engine.accelerator, former, bfloat16=job.recipe.parallelism.bfloat16)
            kept += fixed_reward.measure(plain, former, step, PhaseTimer())
    return sorted(kept, key=lambda row: (row.step, TASKS.index(row.task)))


def _rows_of(out: Path, fixed_reward: FixedReward, first: int) -> list[FixedRow]:
    return [row for row in read_fixed(out) if row.set == fixed_reward.set and row.step <= first]


def _weights_after(step: int, job: Job) -> str | None:
    """The weights after so many steps, if they are still there."""
    if step == 0:
        return job.recipe.checkpoint
    folder = job.out / f"checkpoint-{step}"
    return str(folder) if folder.is_dir() else None


def write_rows(out: Path, rows: Iterable[FixedRow]) -> None:
    """Write the whole file anew."""
    write_whole(out / FIXED, encode_lines(rows))
