"""The two tasks' gradients as rows that the measuring side reads without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from pairuni_eval.toolkit.models import Task
from pairuni_eval.toolkit.store import GradientRow
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.gram import (
    BlockGrams,
    Gram,
    adam_scale,
    task_grams,
    total_grams,
)
from pairuni_train.grpo.hooks import TaskGradients


def gradient_rows(
    engine: Engine,
    held: TaskGradients,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    live: Mapping[Task, float],
    *,
    scenario: str,
    step: int,
    rows: int,
) -> list[GradientRow]:
    """One row per block, raw first, then preconditioned where the optimizer has a state.

    Args:
        engine: Sums over ranks.
        held: The gradients.
        parameters: Every parameter that trains, by name.
        optimizer: Whose running root mean square preconditions.
        live: Share of what a task's gradient came from that teaches something, over all ranks.
        scenario: What the rows are called.
        step: Training step, or number of the batch in an offline probe.
        rows: Rows of the pair set in the batch.
    """
    found = task_grams(held, adam_scale(parameters, optimizer))
    raw = total_grams(engine, found.raw)
    scaled = found.preconditioned and total_grams(engine, found.preconditioned)

    def made(grams: Mapping[str, BlockGrams], *, preconditioned: bool) -> Iterator[GradientRow]:
        for block, one in grams.items():
            yield GradientRow(
                scenario=scenario,
                step=step,
                block=block,
                preconditioned=preconditioned,
                tasks=_numbers(one.tasks),
                und_halves=_halves(one, "und"),
                gen_halves=_halves(one, "gen"),
                und_live=live["und"],
                gen_live=live["gen"],
                rows=rows,
            )

    return [*made(raw, preconditioned=False), *made(scaled or {}, preconditioned=True)]


def _halves(found: BlockGrams, task: Task) -> tuple[float, float, float] | None:
    """The Gram of a task's halves; None where they were not taken apart."""
    gram = found.halves[task]
    return _numbers(gram) if gram.bb else None


def _numbers(gram: Gram) -> tuple[float, float, float]:
    return (gram.aa, gram.ab, gram.bb)
