"""A step in numbers, over all ranks.

Names follow trl where it has one (`loss`, `grad_norm`, `clip_ratio/...`, `entropy`, `kl`, `reward`,
`frac_reward_zero_std`), with the task after a slash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.toolkit.models import Task
from pairuni_eval.toolkit.store import GradientRow
from pairuni_train.distributed.engine import Engine
from pairuni_train.grpo.batch import TaskBatch
from pairuni_train.grpo.rollouts import TaskRollouts
from pairuni_train.grpo.update import TaskTotals

Metrics = dict[str, float]


class UpdateResult(NamedTuple):
    """What an optimizer step leaves.

    Attributes:
        totals: The terms of each task's objective.
        norm: Gradient norm before clipping.
        lr: Learning rate.
        gradients: Rows of the hooks.
        norms: Norm of each task's gradient alone, before hooks and clipping, where it could be told
            (`pairuni_train.grpo.task_norms`).
    """

    totals: dict[Task, TaskTotals]
    norm: float
    lr: float
    gradients: list[GradientRow]
    norms: Mapping[Task, float] = MappingProxyType({})


def step_metrics(
    engine: Engine, batches: Mapping[Task, TaskBatch], updates: Sequence[UpdateResult]
) -> Metrics:
    """The metrics of a step with one or more optimizer steps; the last one's loss is shown."""
    first, last = updates[0], updates[-1]
    found: Metrics = {"loss": 0.0, "grad_norm": last.norm}
    for task, batch in batches.items():
        groups = groups_of(engine, batch.rollouts)
        if task in last.norms:
            found[f"grad_norm/{task}"] = last.norms[task]
        found |= _term_metrics(engine, task, last.totals[task], without_rollouts=not groups.all)
        found["loss"] += found[f"loss/{task}"] * batch.rollouts.spec.weight
        ratio_off = first.totals[task].terms.ratio_off
        found[f"first_ratio_off/{task}"] = float(engine.largest(ratio_off[None])[0])
        found[f"live_groups/{task}"] = groups.live_share
        found[f"frac_reward_zero_std/{task}"] = 1.0 - found[f"live_groups/{task}"]
        found |= _reward_metrics(engine, batch.rollouts)
        found |= _spread_metrics(engine, batch.rollouts)
        found |= _length_metrics(engine, batch.rollouts)
    found["lr"] = last.lr
    return found


def live_shares(engine: Engine, batches: Mapping[Task, TaskBatch]) -> dict[Task, float]:
    """Share of every task's groups that teach something."""
    return {task: groups_of(engine, one.rollouts).live_share for task, one in batches.items()}


class Groups(NamedTuple):
    """How many groups a task has over all ranks, and how many of them teach something."""

    live: float
    all: float

    @property
    def live_share(self) -> float:
        """Share of those that teach something; 0 without groups."""
        return self.live / self.all if self.all else 0.0


def groups_of(engine: Engine, rollouts: TaskRollouts) -> Groups:
    """The groups of a task."""
    counts = torch.tensor([float(rollouts.live_P.sum()), float(len(rollouts.live_P))])
    return Groups(*engine.total(counts).tolist())


def mean_reward(engine: Engine, reward_N: Tensor) -> tuple[float | None, float | None]:
    """Mean over the rollouts that a reward judged, and the share that it declined.

    Each is None where there is nothing to take it over.
    """
    judged_N = reward_N[~reward_N.isnan()].double()
    sums = torch.tensor([float(judged_N.sum()), float(len(judged_N)), float(len(reward_N))])
    total, judged, count = engine.total(sums.double()).tolist()
    return total / judged if judged else None, 1.0 - judged / count if count else None


def _term_metrics(
    engine: Engine, task: Task, totals: TaskTotals, *, without_rollouts: bool
) -> Metrics:
    """The objective's terms as means over the scored tokens of all ranks.

    A step whose groups were all left out has scored none: its means are missing.
    """
    terms = totals.terms
    parts = (terms.loss, terms.tokens, terms.clipped_low, terms.clipped_high, terms.kl)
    sums = torch.stack([part.double().cpu() for part in (*parts, totals.entropy)])
    loss, tokens, low, high, kl, entropy = engine.total(sums).tolist()
    found = {f"loss/{task}": loss}
    if not tokens and not without_rollouts:
        return found
    tokens = max(tokens, 1.0)
    return {
        **found,
        f"clip_ratio/low/{task}": low / tokens,
        f"clip_ratio/high/{task}": high / tokens,
        f"kl/{task}": kl / tokens,
        f"entropy/{task}": entropy / tokens,
    }


def _reward_metrics(engine: Engine, rollouts: TaskRollouts) -> Metrics:
    """Mean of every reward over the rollouts it judged, and the share it declined."""
    task, found = rollouts.task, Metrics()
    for name, values_N in sorted(rollouts.rewards.items()):
        mean, declined = mean_reward(engine, values_N)
        if mean is not None:
            found[f"reward/{task}" if name == "total" else f"rewards/{name}/{task}"] = mean
        if declined is not None and name == "total":
            found[f"declined/{task}"] = declined
    return found


def _spread_metrics(engine: Engine, rollouts: TaskRollouts) -> Metrics:
    """The mean over groups of the standard deviation of their rewards, as trl's `reward_std`.

    Groups with fewer than two judged rollouts have none.
    """
    reward_N, group_N = rollouts.rewards["total"], rollouts.group_N
    spreads = []
    for group in range(len(rollouts.prompts)):
        judged = reward_N[(group_N == group) & ~reward_N.isnan()].double()
        if len(judged) > 1:
            spreads.append(float(judged.std()))
    sums = torch.tensor([sum(spreads), float(len(spreads))], dtype=torch.float64)
    total, groups = engine.total(sums).tolist()
    return {f"reward_std/{rollouts.task}": total / groups} if groups else {}


def _length_metrics(engine: Engine, rollouts: TaskRollouts) -> Metrics:
    """How long answers are in tokens, and the share that took as many as they may.

    Pictures all have one length.
    """
    if rollouts.task == "gen":
        return {}
    taken = [float(reply.tokens) for reply in rollouts.replies]
    most = rollouts.spec.decoding.max_tokens
    full = sum(tokens >= most for tokens in taken)
    sums = torch.tensor([sum(taken), float(full), float(len(taken))], dtype=torch.float64)
    tokens, full_of_all, count = engine.total(sums).tolist()
    if not count:
        return {}
    return {
        "completions/mean_length/und": tokens / count,
        "completions/clipped_ratio/und": full_of_all / count,
    }
