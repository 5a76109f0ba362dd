"""Grading what was recorded elsewhere: a run whose model is a responses file.

The benchmark's samples are read first, so that an id that is none of them, a row of another dataset
or an unknown draw stops the command before anything is written. From there it is a run like any
other: a sample without a row is `missing_output`, never zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from pairuni_eval import catalog
from pairuni_eval.benchmark import Benchmark
from pairuni_eval.data import Data
from pairuni_eval.models.recorded import RecordedModel
from pairuni_eval.progress import waiting
from pairuni_eval.responses.formats import match_responses
from pairuni_eval.responses.layouts import Format
from pairuni_eval.responses.sample_index import IndexedSample, SampleIndex
from pairuni_eval.runner.plan import check_installed
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings


class RecordedRun(NamedTuple):
    """A finished run of recorded outputs, and what is to be said about how they were read."""

    folder: Path
    notes: tuple[str, ...]


def grade_recorded(
    settings: RunSettings, path: Path, layout: Format | None, console: Console
) -> RecordedRun:
    """Grade the outputs of a responses file, or what is left of it.

    Args:
        settings: The run: one benchmark, its protocols, and where to write.
        path: The responses file.
        layout: Its format; None finds out.
        console: Where progress is shown.

    Raises:
        UserError: for an unknown name, a file that cannot be read, or rows that are not samples.
    """
    (card,) = settings.cards()
    check_installed(settings)
    with waiting(console, f"reading {path.name} and the samples of {card.name}"):
        index = index_samples(catalog.load_benchmark(card.name), settings.data)
        matched = match_responses(path, layout, index)
    folder = measure(settings, console, RecordedModel(path, matched.responses))
    return RecordedRun(folder, matched.notes)


def index_samples(benchmark: Benchmark, folder: Path | None) -> SampleIndex:
    """Every sample of a benchmark by its ids.

    Args:
        benchmark: The benchmark.
        folder: What the user gave as `--data`, or None.
    """
    data = benchmark.data(folder)
    entries = list(_entries(benchmark, data))
    return SampleIndex(
        benchmark.card.name, entries, rows=benchmark.rows(data), draws=benchmark.card.draws
    )


def _entries(benchmark: Benchmark, data: Data) -> Iterator[IndexedSample]:
    for item in benchmark.samples(data):
        sample = item.sample
        aliases = tuple(benchmark.aliases(sample))
        yield IndexedSample(sample.key, aliases, sample.text, benchmark.gold(sample))
