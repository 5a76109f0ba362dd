"""What a run and its training cost in time, from the journal and from what the trainer timed.

Times differ between two runs of one command, so they stand in files of their own beside the report:
`cost.md`, and the picture `cost.svg` that the page shows. Durations of a run are those of its
batches of outputs; loading, grading and waiting are not in them. What the judges cost stands with
the benchmarks that asked them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.store import layout
from pairuni_eval.store.training import read_seconds


class CostRow(NamedTuple):
    """The outputs of one benchmark and the seconds they took."""

    benchmark: str
    outputs: int
    seconds: float

    @property
    def rate(self) -> float | None:
        """Outputs a second; None where the clock saw no time pass."""
        return self.outputs / self.seconds if self.seconds > 0 else None


class TrainingCost(NamedTuple):
    """The steps of one training run and the seconds they took.

    Attributes:
        phases: Seconds of each phase, the longest first.
    """

    arm: str
    steps: int
    seconds: float
    phases: tuple[tuple[str, float], ...]

    @property
    def a_step(self) -> float:
        """Seconds of a step."""
        return self.seconds / self.steps


class Bar(NamedTuple):
    """A line of the picture: what took so long, and its share of the longest, from 0 to 1."""

    name: str
    length: float
    words: str


class Cost(NamedTuple):
    """The time of a run and of the trainings beside it.

    Attributes:
        rows: By benchmark in the order in which they were measured.
        training: By arm, one entry a seed.
        starts: How often the command was started, i.e. one more than its interruptions.
        grading: Seconds from the last output to the end, grading for the most part; None if
            the run did not end.
    """

    rows: tuple[CostRow, ...]
    starts: int
    grading: float | None
    training: tuple[TrainingCost, ...]

    @property
    def bars(self) -> tuple[Bar, ...]:
        """The picture's lines: every benchmark, then grading."""
        longest = max([row.seconds for row in self.rows] + [self.grading or 0.0]) or 1.0
        bars = [Bar(row.benchmark, row.seconds / longest, _words(row)) for row in self.rows]
        if self.grading is not None:
            bars.append(Bar("grading", self.grading / longest, duration(self.grading)))
        return tuple(bars)

    @property
    def total(self) -> CostRow:
        """All benchmarks together."""
        return CostRow(
            "in all", sum(row.outputs for row in self.rows), sum(row.seconds for row in self.rows)
        )


def _words(row: CostRow) -> str:
    rate = "" if row.rate is None else f", {row.rate:.3g} outputs a second"
    return f"{duration(row.seconds)}{rate}"


def cost(run: Path, arms: Mapping[str, Sequence[Path]]) -> Cost | None:
    """Read the journal of a run folder; None if it holds no batch.

    Args:
        run: The run folder.
        arms: Training folders by name.

    Raises:
        UserError: for a line of a training's times that cannot be read.
    """
    outputs: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    starts, latest, grading = 0, None, None
    for event in _events(run / layout.JOURNAL):
        match event["event"]:
            case "start":
                starts, latest = starts + 1, event["time"]
            case "batch":
                outputs[event["benchmark"]] += event["rows"]
                seconds[event["benchmark"]] += event["seconds"]
                latest = event["time"]
            case "complete" if latest is not None and grading is None:
                grading = event["time"] - latest
    rows = tuple(CostRow(name, outputs[name], seconds[name]) for name in outputs)
    training = tuple(
        timed for arm, folders in arms.items() for one in folders if (timed := _training(arm, one))
    )
    return Cost(rows, starts, grading, training) if rows else None


def _training(arm: str, folder: Path) -> TrainingCost | None:
    """What one training took; None where it was not timed."""
    phases: dict[str, float] = defaultdict(float)
    steps = set()
    for row in read_seconds(folder):
        steps.add(row.pop("step"))
        for name, seconds in row.items():
            phases[name] += seconds
    if not phases:
        return None
    longest_first = sorted(phases.items(), key=lambda phase: -phase[1])
    return TrainingCost(arm, len(steps), sum(phases.values()), tuple(longest_first))


def _events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a journal; what a kill tore is left out."""
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and {"event", "time"} <= event.keys():
            yield event


def duration(seconds: float) -> str:
    """Seconds as people say them: 8.4 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
