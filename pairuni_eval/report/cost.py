"""The time that a run and its training took, from the journal and from what the trainer timed.

Times differ between two runs of one command, so they stand in files of their own beside the report:
`cost.md`, and the picture `cost.svg` that the page shows, whose size depends on the benchmarks
alone. Durations of a run are those of its batches of outputs; loading, grading and waiting are not
in them. What the journal does not tell, or tells by a clock that was set back, is not known. What
the judges cost stands with the benchmarks that asked them.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from pairuni_eval.store import layout
from pairuni_eval.store.training import read_seconds

_UNKNOWN = "not known"


class CostRow(NamedTuple):
    """The outputs of one benchmark and the seconds they took; None where no batch is known."""

    benchmark: str
    outputs: int
    seconds: float | None

    @property
    def rate(self) -> float | None:
        """Outputs a second; None where the clock saw no time pass."""
        return self.outputs / self.seconds if self.seconds else None


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
        rows: By benchmark in the order in which they were measured; every one has its row.
        training: By arm, one entry a seed.
        starts: How often the command was started, i.e. one more than its interruptions.
        grading: Seconds from the last output to the end, grading for the most part; None where
            it is not known, e.g. because the run did not end.
        unread: Lines of the journal that cannot be read.
    """

    rows: tuple[CostRow, ...]
    starts: int
    grading: float | None
    training: tuple[TrainingCost, ...]
    unread: int = 0

    @property
    def bars(self) -> tuple[Bar, ...]:
        """The picture's lines: every benchmark, then grading."""
        longest = max([row.seconds or 0.0 for row in self.rows] + [self.grading or 0.0]) or 1.0
        grading = CostRow("grading", 0, self.grading)
        return tuple(
            Bar(row.benchmark, (row.seconds or 0.0) / longest, _words(row))
            for row in (*self.rows, grading)
        )

    @property
    def total(self) -> CostRow:
        """All benchmarks together."""
        known = [row.seconds for row in self.rows if row.seconds is not None]
        return CostRow("in all", sum(row.outputs for row in self.rows), sum(known))


def _words(row: CostRow) -> str:
    rate = f", {row.rate:.3g} outputs a second" if row.outputs and row.rate is not None else ""
    return f"{duration(row.seconds)}{rate}"


_Amount = Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]  # finite, not negative


class _Event(msgspec.Struct, frozen=True):
    """A line of the journal; what an event does not have is None."""

    event: str
    time: _Amount
    benchmark: str | None = None
    rows: Annotated[int, msgspec.Meta(ge=0)] | None = None
    seconds: _Amount | None = None


def cost(run: Path, benchmarks: Iterable[str], arms: Mapping[str, Sequence[Path]]) -> Cost | None:
    """Read the journal of a run folder; None if it has none.

    Args:
        run: The run folder.
        benchmarks: The benchmarks of the run, in its order.
        arms: Training folders by name.

    Raises:
        UserError: for a line of a training's times that cannot be read.
    """
    path = run / layout.JOURNAL
    if not path.is_file():
        return None
    events, unread = _events(path)
    took = {name: [e for e in events if e.benchmark == name] for name in benchmarks}
    rows = tuple(_row(name, batches) for name, batches in took.items())
    training = tuple(
        timed for arm, folders in arms.items() for one in folders if (timed := _training(arm, one))
    )
    starts = sum(event.event == "start" for event in events)
    return Cost(rows, starts, _grading(events), training, unread)


def _row(name: str, events: Sequence[_Event]) -> CostRow:
    """What the batches of a benchmark took; one by a clock that was set back counts for nothing."""
    batches = [(e.rows or 0, e.seconds) for e in events if e.event == "batch"]
    timed = [(rows, took) for rows, took in batches if took is not None and took >= 0]
    seconds = sum(took for _, took in timed) if timed else None
    return CostRow(name, sum(rows for rows, _ in timed), seconds)


def _grading(events: Iterable[_Event]) -> float | None:
    """Seconds from the last output to the first end; None without either, or if time ran back."""
    latest = None
    for event in events:
        if event.event in ("start", "batch"):
            latest = event.time
        elif event.event == "complete" and latest is not None:
            return event.time - latest if event.time >= latest else None
    return None


def _training(arm: str, folder: Path) -> TrainingCost | None:
    """What one training took; None where it was not timed."""
    phases: dict[str, float] = defaultdict(float)
    steps = set()
    for row in read_seconds(folder):
        steps.add(row.pop("step"))
        for name, seconds in row.items():
            phases[name] += max(0.0, seconds)
    if not phases:
        return None
    longest_first = sorted(phases.items(), key=lambda phase: -phase[1])
    return TrainingCost(arm, len(steps), sum(phases.values()), tuple(longest_first))


def _events(path: Path) -> tuple[list[_Event], int]:
    """The events of a journal, and how many of its lines hold none, e.g. what a kill tore."""
    decoder = msgspec.json.Decoder(_Event)
    events, unread = [], 0
    for line in path.read_bytes().split(b"\n"):
        try:
            events += [decoder.decode(line)] if line else []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            unread += 1
    return events, unread


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 8.4 s, 3 min 20 s, 2 h 05 min; not known without any."""
    if seconds is None or seconds < 0:
        return _UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
