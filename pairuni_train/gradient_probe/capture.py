"""A look at the two tasks' gradients: from rollouts to Gram entries, in training and offline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from pairuni_eval.models.base import Task
from pairuni_train.config import Recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.gram import BlockGrams, Probe, adam_scale
from pairuni_train.grpo.rollouts import TASKS, Track
from pairuni_train.grpo.update import Compared, TaskTotals, accumulate, nothing, plus


class Look(NamedTuple):
    """What the probe saw.

    Attributes:
        step: Training step, or number of the batch in an offline probe.
        raw: Grams by block.
        preconditioned: The same of gradients divided by Adam's root mean square; None before its
            first step.
        live: Share of each task's groups that had spread.
        rows: Rows of the pair set in the batch.
    """

    step: int
    raw: dict[str, BlockGrams]
    preconditioned: dict[str, BlockGrams] | None
    live: dict[Task, float]
    rows: int


def take_apart(
    engine: Engine,
    probe: Probe,
    compared: Mapping[Task, Compared],
    recipe: Recipe,
    sequences: Mapping[Task, float],
    *,
    halves: bool,
) -> dict[Task, TaskTotals]:
    """Both tasks' gradients into the probe, summed over ranks; the parameters hold none.

    With `halves` the two halves of each task's prompts are taken apart.
    """
    found = {}
    for task in TASKS:
        totals = nothing(engine.device)
        whole = compared[task]
        for half, part in enumerate(map(whole.of_half, (0, 1)) if halves else (whole,)):
            some = accumulate(engine, part, recipe, task=task, sequences=sequences[task])
            engine.sum_gradients()
            probe.take(task, half)
            totals = plus(totals, some)
        found[task] = totals
    return found


def look_at(
    engine: Engine,
    probe: Probe,
    trained: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    tracks: Mapping[Task, Track],
    *,
    step: int,
    rows: int,
) -> Look:
    """The Grams of what the probe holds, over all ranks."""
    raw, preconditioned = probe.grams(adam_scale(trained, optimizer))
    return Look(
        step,
        engine.total_grams(raw),
        None if preconditioned is None else engine.total_grams(preconditioned),
        {task: live_share(engine, track) for task, track in tracks.items()},
        rows,
    )


def live_share(engine: Engine, track: Track) -> float:
    """Share of the task's groups that teach something, over all ranks; 0 without groups."""
    counts = torch.tensor([float(track.live_P.sum()), float(len(track.live_P))])
    live, groups = engine.total(counts).tolist()
    return live / groups if groups else 0.0
