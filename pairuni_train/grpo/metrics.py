"""A step in numbers, over all ranks.

Names follow trl where it has one (`loss`, `grad_norm`, `clip_ratio/...`, `entropy`, `kl`, `reward`,
`frac_reward_zero_std`), with the task after a slash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

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
    """

    totals: dict[Task, TaskTotals]
    norm: float
    lr: float
    gradients: list[GradientRow]


def step_metrics(
    engine: Engine, batches: Mapping[Task, TaskBatch], updates: Sequence[UpdateResult]
) -> Metrics:
    """The metrics of a step with one or more optimizer steps; the last one's loss is shown."""
    first, last = updates[0], updates[-1]
    found: Metrics = {"loss": 0.0, "grad_norm": last.norm}
    for task, batch in batches.items():
        found |= _term_metrics(engine, task, last.totals[task])
        found["loss"] += found[f"loss/{task}"] * batch.rollouts.spec.weight
        ratio_off = first.totals[task].terms.ratio_off
        found[f"first_ratio_off/{task}"] = float(engine.largest(ratio_off[None])[0])
        found[f"live_groups/{task}"] = live_share(engine, batch.rollouts)
        found[f"frac_reward_zero_std/{task}"] = 1.0 - found[f"live_groups/{task}"]
        found |= _reward_metrics(engine, batch.rollouts)
    found["lr"] = last.lr
    return found


def live_shares(engine: Engine, batches: Mapping[Task, TaskBatch]) -> dict[Task, float]:
    """`live_share` of every task."""
    return {task: live_share(engine, batch.rollouts) for task, batch in batches.items()}


def live_share(engine: Engine, rollouts: TaskRollouts) -> float:
    """Share of the task's groups that teach something, over all ranks; 0 without groups."""
    counts = torch.tensor([float(rollouts.live_P.sum()), float(len(rollouts.live_P))])
    live, groups = engine.total(counts).tolist()
    return live / groups if groups else 0.0


def _term_metrics(engine: Engine, task: Task, totals: TaskTotals) -> Metrics:
    """The objective's terms as means over the scored tokens of all ranks."""
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


def _reward_metrics(engine: Engine, rollouts: TaskRollouts) -> Metrics:
    """Mean of every reward over the rollouts it judged, and the share it declined."""
    task, found = rollouts.task, Metrics()
    for name, values_N in sorted(rollouts.rewards.items()):
        judged_N = values_N[~values_N.isnan()].double()
        sums = torch.tensor([float(judged_N.sum()), float(len(judged_N)), float(len(values_N))])
        total, judged, count = engine.total(sums.double()).tolist()
        key = f"reward/{task}" if name == "total" else f"rewards/{name}/{task}"
        if judged:
            found[key] = total / judged
        if count and name == "total":
            found[f"declined/{task}"] = 1.0 - judged / count
    return found
