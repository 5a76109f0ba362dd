"""Hooks of a step: what looks at the two tasks' gradients, or changes them, before the optimizer.

Where a hook takes part in an optimizer step, the tasks' gradients are held apart; every hook sees
them in turn, and their sum goes back into the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from pairuni_eval.toolkit.models import Task
from pairuni_eval.toolkit.store import GradientRow
from pairuni_train.grpo.batch import TaskBatch


class TaskGradients:
    """The gradients of an optimizer step, part by part: a task's, or those of its halves.

    Memory: one gradient for each part that is held, i.e. one more than training holds anyway for
    each part after the first. Nothing is copied: the tensors change hands.

    Args:
        parameters: Every parameter that trains, by name.
        blocks: The block of each parameter that both tasks share.

    Attributes:
        blocks: The shared parameters among those that train, each with its block.
        parts: Gradients by parameter name, of each task and half.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], blocks: Mapping[str, str]) -> None:
        self._parameters = parameters
        self.blocks = {name: block for name, block in blocks.items() if name in parameters}
        self.parts: dict[tuple[Task, int], dict[str, Tensor]] = {}

    def capture(self, task: Task, half: int) -> None:
        """Move the gradients that the last backward passes left into part (task, half)."""
        part: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                part[name] = parameter.grad
                parameter.grad = None
        self.parts[task, half] = part

    def scale(self, factors: Mapping[Task, float]) -> None:
        """Multiply the gradient of a task in the shared parameters by a number."""
        for (task, _), part in self.parts.items():
            for name in self.blocks.keys() & part.keys():
                part[name].mul_(factors[task])

    def restore(self) -> None:
        """Put the sum of all parts into the parameters, as if nobody had looked."""
        for name, parameter in self._parameters.items():
            held = [part[name] for part in self.parts.values() if name in part]
            if held:
                total = held[0]
                for gradient in held[1:]:
                    total.add_(gradient)
                parameter.grad = total
        self.parts.clear()


class GradientHook(Protocol):
    """Takes part in some optimizer steps."""

    @property
    def halves(self) -> bool:
        """Whether the two halves of each task's prompts are to be held apart."""
        ...

    def due(self, step: int, inner: int) -> bool:
        """Whether it takes part: inner step `inner` of step `step`, both from 0."""
        ...

    def __call__(
        self, held: TaskGradients, batches: Mapping[Task, TaskBatch], step: int
    ) -> Sequence[GradientRow]:
        """Look at the gradients or change them; returns the rows that the run shall keep."""
        ...
