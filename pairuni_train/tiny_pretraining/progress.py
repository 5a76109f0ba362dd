"""A bar over the steps of a pretraining, with the loss of every lesson, and a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from pairuni_eval.toolkit.progress import Progress
from pairuni_train.tiny_pretraining.curriculum import WEIGHTS

_PRINTED_EVERY = 50  # steps
_MEMORY = 0.95


class LessonProgress:
    """Shows one stage after the other; losses are smoothed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar: TaskID | None = None
        self._smooth = torch.zeros(len(WEIGHTS))
        self._start, self._began = 0, time.monotonic()

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """A stage of so many steps."""
        self._bar = self._progress.add_task(title, total=total, completed=done, losses="")
        self._start, self._began = done, time.monotonic()

    def note(self, step: int, words: str) -> None:
        """A step of the stage is done."""
        assert self._bar is not None
        self._progress.update(self._bar, completed=step, losses=words)

    def step(self, step: int, losses: Tensor) -> None:
        """A step with the loss of each lesson, in the order of `WEIGHTS`, is done."""
        seen = step - self._start
        memory = min(_MEMORY, (seen - 1) / seen)
        self._smooth = memory * self._smooth + (1 - memory) * losses
        words = loss_line(self._smooth)
        self.note(step, words)
        if step % _PRINTED_EVERY == 0:
            seconds = time.monotonic() - self._began
            self._progress.console.print(f"step {step} after {seconds:.0f} s: {words}")


@contextmanager
def lesson_progress() -> Iterator[LessonProgress]:
    """The bar, on stderr."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield LessonProgress(progress)


def loss_line(losses: Tensor) -> str:
    """The loss of every lesson, its share divided out."""
    parts = zip(WEIGHTS.items(), losses.tolist(), strict=True)
    return " ".join(f"{name} {loss / weight:.3f}" for (name, weight), loss in parts)
