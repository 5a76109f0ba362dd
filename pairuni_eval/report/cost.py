"""What a run cost in time, from its journal.

Times differ between two runs of one command, so they stand in a file of their own beside the
report. Durations are those of the batches of outputs; loading, grading and waiting are not in them.
What the judges cost stands with the benchmarks that asked them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.store import layout


class CostRow(NamedTuple):
    """The outputs of one benchmark and the seconds they took."""

    benchmark: str
    outputs: int
    seconds: float

    @property
    def rate(self) -> float | None:
        """Outputs a second; None where the clock saw no time pass."""
        return self.outputs / self.seconds if self.seconds > 0 else None


class Cost(NamedTuple):
    """The time of a run.

    Attributes:
        rows: By benchmark in the order in which they were measured.
        starts: How often the command was started, i.e. one more than its interruptions.
        grading: Seconds from the last output to the end, grading for the most part; None if
            the run did not end.
    """

    rows: tuple[CostRow, ...]
    starts: int
    grading: float | None

    @property
    def total(self) -> CostRow:
        """All benchmarks together."""
        return CostRow(
            "in all", sum(row.outputs for row in self.rows), sum(row.seconds for row in self.rows)
        )


def cost(run: Path) -> Cost | None:
    """Read the journal of a run folder; None if it holds no batch."""
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
    return Cost(rows, starts, grading) if rows else None


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
