"""Hooks of a training step: the probe, which looks at the gradients, and PCGrad, which projects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from pairuni_eval.toolkit.models import Task
from pairuni_eval.toolkit.store import GradientRow
from pairuni_train.config import Arm
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.config import ProbeSpec
from pairuni_train.gradient_probe.gram import ALL, task_grams, total_grams
from pairuni_train.gradient_probe.rows import gradient_rows
from pairuni_train.grpo.batch import TaskBatch
from pairuni_train.grpo.hooks import GradientHook, TaskGradients
from pairuni_train.grpo.metrics import live_shares


class ProbeHook(NamedTuple):
    """Leaves a row a block every so many steps.

    Attributes:
        engine: Sums over ranks.
        parameters: Every parameter that trains, by name.
        optimizer: Whose running averages precondition.
        scenario: What the rows are called.
        rows: Rows of the pair set in a step.
        every: Steps between two looks.
        halves: Also take the two halves of each task's batch apart, for the noise ceiling.
    """

    engine: Engine
    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    scenario: str
    rows: int
    every: int
    halves: bool

    def due(self, step: int, inner: int) -> bool:
        """On the first inner step of every so many steps."""
        return inner == 0 and step % self.every == 0

    def __call__(
        self, held: TaskGradients, batches: Mapping[Task, TaskBatch], step: int
    ) -> Sequence[GradientRow]:
        """The rows of a step."""
        return gradient_rows(
            self.engine,
            held,
            self.parameters,
            self.optimizer,
            live_shares(self.engine, batches),
            scenario=self.scenario,
            step=step,
            rows=self.rows,
        )


class PCGrad(NamedTuple):
    """PCGrad for two tasks in closed form, in place of the plain sum.

    Where u.g < 0: u - (u.g / g.g) g  +  g - (u.g / u.u) u, i.e. u (1 - u.g/u.u) + g (1 - u.g/g.g).
    Otherwise the sum. The inner product is over all shared parameters, as in Yu et al. 2020.
    """

    engine: Engine
    halves: bool = False

    def due(self, step: int, inner: int) -> bool:  # noqa: ARG002
        """In every optimizer step."""
        return True

    def __call__(
        self,
        held: TaskGradients,
        batches: Mapping[Task, TaskBatch],  # noqa: ARG002
        step: int,  # noqa: ARG002
    ) -> Sequence[GradientRow]:
        """Scale the two gradients so that their sum is that of the projected ones."""
        tasks = total_grams(self.engine, task_grams(held).raw)[ALL].tasks
        if tasks.ab < 0 and tasks.aa > 0 and tasks.bb > 0:
            held.scale({"und": 1 - tasks.ab / tasks.aa, "gen": 1 - tasks.ab / tasks.bb})
        return ()


def gradient_hooks(
    arm: Arm,
    probe: ProbeSpec,
    engine: Engine,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    rows: int,
) -> list[GradientHook]:
    """The hooks that are asked for; the probe looks before PCGrad changes.

    Args:
        arm: Its surgery, and the name of the probe's rows.
        probe: When the probe looks.
        engine: Sums over ranks.
        parameters: Every parameter that trains, by name.
        optimizer: Of these parameters.
        rows: Rows of the pair set in a step.
    """
    hooks: list[GradientHook] = []
    if probe.every > 0:
        hooks.append(
            ProbeHook(engine, parameters, optimizer, arm.name, rows, probe.every, probe.halves)
        )
    if arm.surgery == "pcgrad":
        hooks.append(PCGrad(engine))
    return hooks
