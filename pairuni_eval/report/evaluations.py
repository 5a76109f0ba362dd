"""What a training measured of its checkpoints: a line of its record, and curves for a report.

Goes in: a finished run of a checkpoint, or the lines of trainings. Comes out: the line of the run
(`store.evaluations`), and a chart for each benchmark. Nothing is tested here: words are the
timeline's, which reads the runs themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pairuni_eval.report.charts import LineChart, Series, line_chart
from pairuni_eval.report.sections import headline_number
from pairuni_eval.report.tiny_label import is_tiny
from pairuni_eval.stats.over_seeds import spread_of
from pairuni_eval.stats.range_share import share_of_range
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.evaluations import (
    EvaluatedHeadline,
    EvaluationRow,
    read_evaluations,
)
from pairuni_eval.store.read import StoredRun

_Lines = Sequence[tuple[int, EvaluatedHeadline]]  # a benchmark of one training, by step


def evaluation_row(run: StoredRun, suite: str, step: int) -> EvaluationRow:
    """The line of a finished run.

    Args:
        run: The run.
        suite: What it measures.
        step: The training step of its checkpoint.
    """
    tables, names = Tables(run), tuple(run.card.benchmarks)
    return EvaluationRow(
        step=step,
        suite=suite,
        weights=run.card.checkpoint.weights,
        tiny=any(is_tiny(run.cards[name], run.card) for name in names),
        headlines=tuple(_headline(tables, name) for name in names),
    )


def _headline(tables: Tables, name: str) -> EvaluatedHeadline:
    row, card = headline_number(tables, name), tables.card(name)
    value, interval = row.estimate.value, row.estimate.interval
    share = share_of_range(row.estimate, row.spec.direction)
    turned = -value if value is not None and row.spec.direction == "down" else value
    return EvaluatedHeadline(
        benchmark=name,
        title=card.title,
        capability=card.capability,
        protocol=row.protocol,
        metric=row.spec.name,
        value=value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        good=share if row.estimate.bounds else turned,
        ranged=row.estimate.bounds is not None,
        scale=row.spec.scale,
        scored=row.scored,
        expected=row.expected,
    )


def evaluation_charts(arms: Mapping[str, Sequence[Path]]) -> tuple[LineChart, ...]:
    """A chart for each benchmark that any arm measured while it trained, in the order of the lines.

    The band of an arm with one training is the 95 % interval of each number, of one with several
    the lowest and highest of them around their mean.

    Args:
        arms: Training folders by name, the run's own first.

    Raises:
        UserError: for a line that cannot be read.
    """
    read = {name: [read_evaluations(one) for one in folders] for name, folders in arms.items()}
    titles = {
        headline.benchmark: f"{headline.title}{', tiny' * row.tiny}: {headline.metric}"
        for trainings in read.values()
        for rows in trainings
        for row in rows
        for headline in row.headlines
    }
    made = []
    for benchmark, title in titles.items():
        lines = {name: list(_of(benchmark, trainings)) for name, trainings in read.items()}
        series = [_series(name, n, held) for n, (name, held) in enumerate(lines.items()) if held]
        chart = line_chart(title, series, smoothing=False, spots=True)
        if chart is not None:
            made.append(chart)
    return tuple(made)


def _of(benchmark: str, trainings: Sequence[Sequence[EvaluationRow]]) -> Iterator[_Lines]:
    """The numbers of a benchmark in every training that has any."""
    for rows in trainings:
        mine = [
            (row.step, headline)
            for row in rows
            for headline in row.headlines
            if headline.benchmark == benchmark
        ]
        if mine:
            yield mine


def _series(name: str, arm: int, trainings: Sequence[_Lines]) -> Series:
    if len(trainings) == 1:
        (lines,) = trainings
        numbers = [(step, *_scaled(one, one.value, one.low, one.high)) for step, one in lines]
        return Series(name, arm, *np.array(numbers, dtype=np.float64).T)
    steps = np.unique([step for lines in trainings for step, _ in lines]).astype(np.float64)
    values = np.full((len(trainings), len(steps)), np.nan)
    for place, lines in enumerate(trainings):
        for step, one in lines:
            values[place, np.searchsorted(steps, step)] = _scaled(one, one.value)[0]
    return Series(name, arm, steps, *spread_of(values))


def _scaled(one: EvaluatedHeadline, *numbers: float | None) -> list[float]:
    """Numbers as a page prints them; NaN where there is none."""
    return [float("nan") if number is None else number * one.scale for number in numbers]
