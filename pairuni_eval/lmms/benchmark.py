"""`lmms:TASK`: a task of lmms-eval as a benchmark on our runner and store.

A sample is what a simple model of lmms-eval is shown: the document's images, then its text. An
output is graded by the task's own code; what that gives for the row is kept whole, as JSON, in the
verdict of `row_score`, and every metric whose value for the row is a number is a score of its own.
Where that code draws a random number for an answer that it cannot read, the row says so
(`guessed`), and so does every figure: there lmms-eval's own number rests on a seed of the whole
process and on the order of its threads. The task's figures are computed from those verdicts by its
own aggregation, so they cover the rows that were graded and say how many. Rows that follow each
other and share their first image are one unit: MME's pairs stay together under --limit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Card,
    Data,
    ExternalMetric,
    Item,
    Judge,
    JudgeError,
    MetricValue,
    Picture,
    Score,
    Status,
    seed_for,
)
from pairuni_eval.lmms.config import ROW_SCORE, TaskConfig, make_card, read_config
from pairuni_eval.lmms.data import TaskData
from pairuni_eval.lmms.names import find_task, toolkit
from pairuni_eval.lmms.task import LoadedTask, TaskQuestion

_GUESSED = "guessed"  # score metric of the rows whose answer the task's own code guessed


class LmmsTasks:
    """The family `lmms`: a benchmark for every task of the installed lmms-eval."""

    extra = "lmms"

    @classmethod
    def load(cls, name: str) -> Benchmark:
        """The benchmark of a task; see `catalog.Family`.

        Raises:
            UserError: if lmms-eval is not installed, or has no such task of the kind run here.
        """
        config = read_config(find_task(name))
        return LmmsBenchmark(make_card(config), config)


class LmmsBenchmark(Benchmark):
    """One task; see the module docstring."""

    def __init__(self, card: Card, config: TaskConfig) -> None:
        super().__init__(card, config.file.path.parent)
        self._config = config
        self._opened: LoadedTask | None = None

    def data(self, user_folder: Path | None) -> Data:
        """See `Benchmark.data`."""
        subset = self._config.settings.get("dataset_name")
        return TaskData(self.card, self.folder, user_folder, subset)

    def count(self, data: Data) -> int:
        """The task's documents."""
        return len(self._open(data))

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample a document, with its number as key."""
        for asked in self._open(data).asked():
            yield self.item(
                key=str(asked.number),
                parts=(*_pictures(asked), asked.text),
                reference={"document": asked.number},
            )

    def equip(self, data: Data, *, device: str) -> None:  # noqa: ARG002 - the base class has it
        """Load the documents."""
        self._open(data)

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:  # noqa: ARG002
        """The row's score and its numbers; JUDGE_FAILED if the task's code fails on it."""
        try:
            number = answer.sample.reference["document"]
            seed = seed_for(0, answer.output.id, answer.output.draw, "guess")
            results = self._task.results(number, answer.text, seed)
            value = self._row_value(results.values)
        except JudgeError as failure:
            return [MetricValue(ROW_SCORE, None, Status.JUDGE_FAILED, str(failure))]
        known = _numbers(results.values)
        kept = json.dumps(results.values, ensure_ascii=False)
        marks = [MetricValue(ROW_SCORE, value, verdict=kept)]
        marks += [MetricValue(key, number) for key, number in known.items()]
        return [*marks, MetricValue(_GUESSED, 1.0)] if results.guessed else marks

    def _row_value(self, values: Mapping[str, Any]) -> float | None:
        """What a row counts: by the rule of a known task, of any other its first number.

        Raises:
            JudgeError: if the task's own code, which a known rule may ask, fails.
        """
        known = self._config.known
        if known is None:
            return next(iter(_numbers(values).values()), None)
        names = {key.partition(",")[0]: key for key in values}
        found = values.get(names.get(known.row_metric, ""))
        if known.row_alone is not None and found is not None:
            figure = _number(self._task.aggregate(known.row_metric, [found]))
            return None if figure is None else figure / known.row_alone
        if known.row_field is not None and isinstance(found, Mapping):
            return _number(found.get(known.row_field))
        return _number(found)

    def external_metrics(self, scores: Sequence[Score], *, protocol: str) -> list[ExternalMetric]:
        """The task's own figures over the graded rows; a metric without rows has none."""
        guesses = sum(score.metric == _GUESSED for score in scores)
        told = f"{guesses} answers it could not read were guessed" if guesses else None
        rows: dict[str, list[Any]] = {}
        for score in scores:
            if score.metric == ROW_SCORE and score.status is Status.SCORED:
                for key, value in json.loads(score.verdict or "{}").items():
                    rows.setdefault(key, []).append(value)
        address = f"{self.card.name}@{protocol}"
        order = [str(metric.get("metric")) for metric in self._config.metrics]
        return [
            figure
            for key in sorted(rows, key=lambda key: _place(order, key))
            for figure in self._figures(key, rows[key], address=address, told=told)
        ]

    def _figures(
        self, key: str, values: list[Any], *, address: str, told: str | None
    ) -> Iterator[ExternalMetric]:
        """The figures of one metric: one, or those of the table that its aggregation gives."""

        def figure(name: str, value: float | None, note: str | None) -> ExternalMetric:
            return ExternalMetric(
                protocol=address,
                metric=name,
                value=value,
                rows=len(values),
                source=toolkit(),
                note=note,
            )

        try:
            found = self._task.aggregate(key, values)
        except JudgeError as failure:
            yield figure(key, None, str(failure))
            return
        table = isinstance(found, Mapping)
        parts = {f"{key}.{name}": part for name, part in found.items()} if table else {key: found}
        for name, part in parts.items():
            number = _number(part)
            yield figure(name, number, told if number is not None else "it is not a number")

    @property
    def _task(self) -> LoadedTask:
        if self._opened is None:
            raise RuntimeError(f"{self.card.name} was asked to grade before it was equipped")
        return self._opened

    def _open(self, data: Data) -> LoadedTask:
        if self._opened is None:
            files = data.files()
            folder = data.folder_of(files[0]) if files else None
            further = data.files_of if isinstance(data, TaskData) else None
            self._opened = LoadedTask(self._config, files, folder, further)
        return self._opened


def _pictures(asked: TaskQuestion) -> tuple[Picture, ...]:
    if asked.images is None:
        return (Picture.broken(asked.flaw or "the image is missing from the dataset row"),)
    return tuple(Picture.from_image(image) for image in asked.images)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of a row's results that are numbers."""
    found = {key: _number(value) for key, value in values.items()}
    return {key: number for key, number in found.items() if number is not None}


def _number(value: Any) -> float | None:
    """A number, or the number under "score"; None for anything else and for what is not finite."""
    if isinstance(value, Mapping):
        value = value.get("score")
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    return None


def _place(order: Sequence[str], key: str) -> int:
    return order.index(name) if (name := key.partition(",")[0]) in order else len(order)
