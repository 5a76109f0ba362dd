"""Outputs to scores: every protocol of every benchmark reads the same stored outputs.

Failed and skipped outputs are marked here and never reach a scorer. Grading goes in fixed chunks
that are stored as they are finished; a judge that fails is a status on its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from pairuni_eval.benchmark import Answer, Benchmark, Mark
from pairuni_eval.data import Data
from pairuni_eval.judges.judge import Judge
from pairuni_eval.records import Capability, Output, Score, Status
from pairuni_eval.run.execute import load_image
from pairuni_eval.run.plan import Contents, Parts
from pairuni_eval.run.settings import RunSettings
from pairuni_eval.store import layout
from pairuni_eval.store.write import RowLog

_CHUNK = 64


class Chunk(NamedTuple):
    """Outputs of one benchmark that are graded together under one protocol."""

    benchmark: Benchmark
    judge: Judge | None
    protocol: str
    outputs: Sequence[Output]

    @property
    def address(self) -> str:
        """The protocol's full name, e.g. "pope@official"."""
        return f"{self.benchmark.card.name}@{self.protocol}"


class Grader:
    """Grades the outputs of one run and appends their scores.

    Args:
        settings: What was asked: the run folder, the data and the device.
        contents: The run's plan.
        parts: Benchmarks and judges.
        outputs: Every output by id.
    """

    def __init__(
        self,
        settings: RunSettings,
        contents: Contents,
        parts: Parts,
        outputs: Mapping[str, Output],
    ) -> None:
        self._settings = settings
        self._run = settings.out
        self._equipped: set[str] = set()
        self._contents = contents
        self._parts = parts
        self._outputs = outputs
        self._samples = {sample.uid: sample for sample in contents.samples}
        self._log = RowLog(self._run / layout.ROWS / "scores-rank0.jsonl", Score)
        self._known: dict[tuple[str, str], list[Score]] = {}
        for score in self._log.recover():
            self._known.setdefault((score.output, score.protocol), []).append(score)

    def chunks(self) -> list[Chunk]:
        """All chunks of the run in order, graded or not."""
        return [chunk for benchmark in self._parts.benchmarks for chunk in self._chunks(benchmark)]

    def _chunks(self, benchmark: Benchmark) -> Iterator[Chunk]:
        name = benchmark.card.name
        outputs = [
            self._outputs[owed.id]
            for batch in self._contents.batches
            if batch.benchmark == name
            for owed in batch.outputs
        ]
        for protocol in self._contents.card.benchmarks[name].protocols:
            for start in range(0, len(outputs), _CHUNK):
                judge = self._parts.judges.get(name)
                yield Chunk(benchmark, judge, protocol, outputs[start : start + _CHUNK])

    def grade(self, done: Callable[[Chunk], None]) -> list[Score]:
        """Grade what is owed; returns all scores of the run in order."""
        everything: list[Score] = []
        chunks = self.chunks()
        started = [i for i, chunk in enumerate(chunks) if self._begun(chunk)]
        # Chunks are appended one after the other, so only the last one can be torn: it is graded
        # again as a whole, and what it had stored stands.
        whole = set(started[:-1])
        for i, chunk in enumerate(chunks):
            if i in whole:
                everything += [s for o in chunk.outputs for s in self._stored(chunk, o)]
            else:
                everything += self._grade_chunk(chunk)
            done(chunk)
        return everything

    def _begun(self, chunk: Chunk) -> bool:
        return any(self._stored(chunk, output) for output in chunk.outputs[:1])

    def _stored(self, chunk: Chunk, output: Output) -> list[Score]:
        return self._known.get((output.id, chunk.address), [])

    def _grade_chunk(self, chunk: Chunk) -> list[Score]:
        kept = {
            (score.output, score.metric): score
            for output in chunk.outputs
            for score in self._stored(chunk, output)
        }
        fresh = list(self._score(chunk))
        self._log.append(score for score in fresh if (score.output, score.metric) not in kept)
        return [kept.get((score.output, score.metric), score) for score in fresh]

    def _score(self, chunk: Chunk) -> Iterator[Score]:
        trouble = {output.id: _trouble(chunk, output) for output in chunk.outputs}
        answers = [self._answer(o) for o in chunk.outputs if trouble[o.id] is None]
        if answers:
            self._equip(chunk.benchmark)
        marks = iter(
            chunk.benchmark.score(answers, protocol=chunk.protocol, judge=chunk.judge)
            if answers
            else ()
        )
        for output in chunk.outputs:
            absent = trouble[output.id]
            for mark in next(marks) if absent is None else absent:
                yield _as_score(chunk, output, mark)

    def _equip(self, benchmark: Benchmark) -> None:
        """Let a benchmark load what it grades with, once and only when there is work for it."""
        if benchmark.card.name not in self._equipped:
            data = Data(benchmark.card, benchmark.folder, self._settings.data)
            benchmark.equip(data, device=self._settings.device)
            self._equipped.add(benchmark.card.name)

    def _answer(self, output: Output) -> Answer:
        return Answer(self._samples[output.sample], output, partial(load_image, self._run))


def _trouble(chunk: Chunk, output: Output) -> list[Mark] | None:
    """Marks of an output that no scorer can grade, or None if one can."""
    card = chunk.benchmark.card
    wants_picture = card.capability is not Capability.UNDERSTAND
    if output.skipped:
        status, reason = Status.SKIPPED, output.skipped
    elif output.error:
        status, reason = Status.MISSING_OUTPUT, output.error
    elif wants_picture and output.image is None:
        status, reason = Status.MISSING_OUTPUT, "no picture"
    else:
        return None
    metrics = {spec.of for spec in card.protocols[chunk.protocol].metrics}
    return [Mark(metric, None, status, reason) for metric in sorted(metrics)]


def _as_score(chunk: Chunk, output: Output, mark: Mark) -> Score:
    card = chunk.benchmark.card
    return Score(
        output=output.id,
        protocol=chunk.address,
        metric=mark.metric,
        value=mark.value,
        status=mark.status,
        scorer=card.protocols[chunk.protocol].scorer or f"{card.name}/{card.version}",
        judge=mark.judge,
        verdict=mark.verdict,
    )
