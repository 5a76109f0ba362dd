"""One command, two runs: what is drawn and graded first, then what is asked about these pictures.

Benchmarks that read a run's pictures (`Benchmark.reads`) are measured in a run of their own, beside
the one that draws. With `--painter RUN` there is only that; without it the same command measures
the benchmarks that they read, and whatever else was asked for, before. Either run is continued,
kept and reported like any other.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pairuni_eval import catalog
from pairuni_eval.runner.settings import RunSettings, in_order

SUFFIX = "-self"


class TwoPasses(NamedTuple):
    """The settings of the run that draws and of the one that reads it."""

    drawing: RunSettings
    reading: RunSettings

    def into(self, folder: Path) -> TwoPasses:
        """The same runs in this folder and beside it."""
        reading = replace(self.reading, out=beside(folder), painter=folder)
        return TwoPasses(replace(self.drawing, out=folder), reading)


def beside(folder: Path) -> Path:
    """Where the second run, or its report, stands."""
    return folder.with_name(f"{folder.name}{SUFFIX}")


def two_passes(settings: RunSettings) -> TwoPasses | None:
    """The two runs that a command asks for; None where one will do.

    What `--set` changes and `--limit` cuts is the drawing: every fact of the pictures is asked
    about, greedily.

    Raises:
        UserError: for an unknown benchmark.
    """
    if settings.painter is not None:
        return None
    names = [card.name for card in settings.cards()]
    reads = {name: catalog.load_benchmark(name).reads for name in names if ":" in name}
    reading = tuple(name for name, sources in reads.items() if sources)
    if not reading:
        return None
    sources = [source for name in reading for source in reads[name]]
    drawing = in_order([*(name for name in names if name not in reading), *sources])
    first = replace(settings, benchmarks=drawing, suite=None, control=None)
    second = replace(settings, benchmarks=in_order(reading), suite=None, limit=None, changes=())
    return TwoPasses(first, second).into(settings.out)
