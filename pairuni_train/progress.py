"""What a person sees of a run: reward and live share of each task, clipping, seconds per phase."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.progress import Progress
from pairuni_train.grpo.metrics import Metrics
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.trainer import StepResult
from pairuni_train.health import Alarm

_RECENT = 10  # steps that a shown reward is the mean of


class _TrainingBar(Progress):
    """A bar with words below it; in a log the first line of them stands after what is left."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn: the bar, then the words."""
        yield from super().get_renderables()
        yield Text(self.below, style="dim")

    def words(self) -> str:
        """What the next line says."""
        return ", ".join(part for part in (super().words(), self.below.partition("\n")[0]) if part)


class TrainingProgress:
    """A bar, and below it the last steps in words.

    Args:
        name: What is being done.
        total: Steps in all.
        first: Steps that are done already.
        console: Where it is drawn; one that is quiet draws nothing.
    """

    def __init__(self, name: str, *, total: int, first: int, console: Console) -> None:
        self._bar = _TrainingBar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(name, total=total, completed=first)
        self._recent: list[Metrics] = []

    def __enter__(self) -> Self:
        """Start to draw."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        self._bar.stop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Draw nothing meanwhile: something else is shown."""
        self._bar.stop()
        yield
        self._bar.start()

    def step(self, result: StepResult) -> None:
        """Show a finished step."""
        self._recent = [*self._recent[1 - _RECENT :], result.metrics]
        self._bar.below = f"{words_of(self._recent)}\n{seconds_of(result.seconds)}"
        self._bar.update(self._task, advance=1)


def words_of(recent: list[Metrics]) -> str:
    """Means over some steps, e.g. "und reward 0.62 (55% live, 0.0% clipped)", or losses."""
    parts = []
    for task in TASKS:
        rewards = [one[f"reward/{task}"] for one in recent if f"reward/{task}" in one]
        declined = [one[f"declined/{task}"] for one in recent if f"declined/{task}" in one]
        if declined and not rewards:
            parts.append(f"{task}: no rollout was judged")
        if not rewards:
            if not declined and f"loss/{task}" in recent[-1]:
                parts.append(f"{task} loss {_mean(recent, f'loss/{task}'):.3f}")
            continue
        live = _mean(recent, f"live_groups/{task}")
        mean = sum(rewards) / len(rewards)
        share = sum(declined) / len(declined) if declined else 0.0
        more = f", {share:.0%} declined" if share else ""
        parts.append(f"{task} reward {mean:.2f} ({live:.0%} live{_clipped(recent, task)}{more})")
    return "   ".join(parts)


def _clipped(recent: list[Metrics], task: str) -> str:
    """E.g. ", 0.1% clipped"; nothing where no token was scored."""
    scored = [one for one in recent if f"clip_ratio/low/{task}" in one]
    if not scored:
        return ""
    clipped = sum(_mean(scored, f"clip_ratio/{side}/{task}") for side in ("low", "high"))
    return f", {clipped:.1%} clipped"


def seconds_of(seconds: Metrics) -> str:
    """Phases and what they took, e.g. "update 0.21 s"."""
    return "  ".join(f"{name} {value:.2f} s" for name, value in seconds.items() if value >= 0.005)


def _mean(recent: list[Metrics], key: str) -> float:
    return sum(one[key] for one in recent) / len(recent)


def report_alarms(alarms: Iterable[Alarm], step: int, console: Console) -> None:
    """Show the alarms of a step.

    Raises:
        UserError: for one that stops the run.
    """
    for alarm in alarms:
        if alarm.stops:
            raise UserError(
                f"Stopped at step {step}: {alarm.text}.",
                hint="The checkpoints before this step are kept; metrics.jsonl has every step.",
            )
        console.print(f"[yellow]step {step}: {alarm.text}[/yellow]")
