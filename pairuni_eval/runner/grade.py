"""Outputs to scores: every protocol of every benchmark reads the same stored outputs.

Failed and skipped outputs are marked here and never reach a scorer. Grading goes in fixed chunks
that are stored as they are finished; a judge that fails is a status on its row. A chunk is not
stored while its judge owes a reply that asking again may bring (a time-out, a spent budget): it
stands in the results with the status, and the same command grades it again, with the replies that
did come from the judge's memory. What a second judge says is stored apart and never mixed in.

A score rests on its output and a bill on its chunk: `forget` drops the scores of outputs that are
made again, and a chunk that lacks a score or its bill is graded once more.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.benchmark import Answer, Benchmark, Mark
from pairuni_eval.judges.judge import Judge
from pairuni_eval.judges.usage import Bill
from pairuni_eval.records import Capability, Figure, Output, Score, Status
from pairuni_eval.runner.judging import Second, sees_again
from pairuni_eval.runner.plan import Contents, Parts
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store import layout
from pairuni_eval.store.pictures import TROUBLES, Pictures
from pairuni_eval.store.rows import RowLog
from pairuni_eval.store.tables import identity_of

_CHUNK = 64
_SCORES = "scores-rank0.jsonl"
_OPINIONS = f"{layout.OPINIONS}-rank0.jsonl"


class Chunk(NamedTuple):
    """Outputs of one benchmark that are graded together under one protocol."""

    benchmark: Benchmark
    judge: Judge | None
    protocol: str
    outputs: Sequence[Output]
    second: bool = False

    @property
    def address(self) -> str:
        """The protocol's full name, e.g. "pope@official"."""
        return f"{self.benchmark.card.name}@{self.protocol}"


class _Stored:
    """Scores that an earlier start left, and the file that further ones go to."""

    def __init__(self, path: Path, address: str) -> None:
        self._log = _score_log(path, address)
        found = self._log.recover(_rests_on_a_lost_picture)
        self._rows: dict[tuple[str, str], list[Score]] = {}
        for score in found.rows:
            self._rows.setdefault((score.output, score.protocol), []).append(score)
        self._loose = {(score.output, score.protocol) for score in found.loose}
        self.unchecked = found.unchecked
        self.damage = self._log.damage

    def of(self, chunk: Chunk, output: Output) -> list[Score]:
        """The scores of one output under the chunk's protocol."""
        return self._rows.get((output.id, chunk.address), [])

    def holds(self, chunk: Chunk) -> bool:
        """Whether a chunk is stored whole; beside a gap, and at the end, a score may be lacking."""
        places = [(output.id, chunk.address) for output in chunk.outputs]
        return self._loose.isdisjoint(places) and all(place in self._rows for place in places)

    def append(self, scores: Iterable[Score]) -> None:
        """Store further scores."""
        self._log.append(scores)


class Grader:
    """Grades the outputs of one run and appends their scores.

    Args:
        settings: What was asked: the run folder, the data and the device.
        contents: The run's plan.
        parts: Benchmarks and judges.
        outputs: Every output by id.
        pictures: The pictures of the run folder.

    Attributes:
        unchecked: How many of the scores that an earlier start left have no check.
        damage: What is to be told about rows of an earlier start that are made again.
    """

    def __init__(
        self,
        settings: RunSettings,
        contents: Contents,
        parts: Parts,
        outputs: Mapping[str, Output],
        pictures: Pictures,
    ) -> None:
        self._settings = settings
        self._run = settings.out
        self._equipped: set[str] = set()
        self._contents = contents
        self._parts = parts
        self._outputs = outputs
        self._samples = {sample.uid: sample for sample in contents.samples}
        self._pictures = pictures
        rows = self._run / layout.ROWS
        address = contents.card.rows_address
        self._stored = {
            False: _Stored(rows / _SCORES, address),
            True: _Stored(rows / _OPINIONS, address),
        }
        self._bills = RowLog(self._run / layout.JUDGE / layout.BILLS, Bill)
        billed = self._bills.recover().rows
        self._billed = {(bill.second, bill.protocol, bill.outputs[:1]) for bill in billed}
        stored = self._stored.values()
        self.unchecked = sum(one.unchecked for one in stored)
        self.damage = (*(told for one in stored for told in one.damage), *self._bills.damage)

    def chunks(self) -> list[Chunk]:
        """All chunks of the run in order, graded or not."""
        return [
            Chunk(benchmark, self._parts.judges.get(benchmark.card.name), protocol, outputs)
            for benchmark in self._parts.benchmarks
            for protocol, outputs in self._pieces(benchmark, self._owned(benchmark))
        ]

    def second_chunks(self) -> list[Chunk]:
        """What the second judge is asked about, in the same order."""
        return [
            Chunk(benchmark, second.judge, protocol, outputs, second=True)
            for benchmark in self._parts.benchmarks
            if (second := self._parts.seconds.get(benchmark.card.name))
            for protocol, outputs in self._pieces(benchmark, self._share(benchmark, second))
        ]

    def _owned(self, benchmark: Benchmark) -> list[Output]:
        """The outputs of a benchmark in the run's order."""
        return [
            self._outputs[owed.id]
            for batch in self._contents.batches
            if batch.benchmark == benchmark.card.name
            for owed in batch.outputs
        ]

    def _share(self, benchmark: Benchmark, second: Second) -> list[Output]:
        card, seed = benchmark.card, self._contents.card.seed
        mine = [s for s in self._contents.samples if s.benchmark == card.name]
        seen = sees_again(card, mine, second.share, seed)
        return [output for output in self._owned(benchmark) if output.sample in seen]

    def _pieces(
        self, benchmark: Benchmark, outputs: Sequence[Output]
    ) -> Iterator[tuple[str, Sequence[Output]]]:
        """The outputs in fixed pieces, once for each protocol."""
        for protocol in self._contents.card.benchmarks[benchmark.card.name].protocols:
            for start in range(0, len(outputs), _CHUNK):
                yield protocol, outputs[start : start + _CHUNK]

    def grade(self, done: Callable[[Chunk], None]) -> list[Score]:
        """Grade what is owed; returns all scores of the run in order."""
        return self._grade_all(self.chunks(), done)

    def second_opinions(self, done: Callable[[Chunk], None]) -> list[Score]:
        """Ask the second judge what is owed; returns all its scores of the run in order."""
        scores = self._grade_all(self.second_chunks(), done)
        return [score for score in scores if score.judge is not None]

    def _grade_all(self, chunks: Iterable[Chunk], done: Callable[[Chunk], None]) -> list[Score]:
        everything: list[Score] = []
        for chunk in chunks:
            stored = self._stored[chunk.second]
            if stored.holds(chunk) and not self._lacks_its_bill(chunk, stored):
                everything += [s for output in chunk.outputs for s in stored.of(chunk, output)]
            else:
                everything += self._grade_chunk(chunk, stored)
            done(chunk)
        return everything

    def _lacks_its_bill(self, chunk: Chunk, stored: _Stored) -> bool:
        """Whether a judge that keeps receipts was asked about a chunk and no bill says so."""
        if chunk.judge is None or type(chunk.judge).take_receipts is Judge.take_receipts:
            return False
        asked = any(
            s.judge is not None for output in chunk.outputs for s in stored.of(chunk, output)
        )
        key = (chunk.second, chunk.address, tuple(output.id for output in chunk.outputs[:1]))
        return asked and key not in self._billed

    def figures(self, scores: Sequence[Score]) -> list[Figure]:
        """What other toolkits make of all scores of the run, benchmark by benchmark."""
        found: list[Figure] = []
        for benchmark in self._parts.benchmarks:
            if type(benchmark).figures is Benchmark.figures:
                continue
            self._equip(benchmark)
            for protocol in benchmark.card.protocols:
                address = f"{benchmark.card.name}@{protocol}"
                mine = [score for score in scores if score.protocol == address]
                found += benchmark.figures(mine, protocol=protocol)
        return found

    def _grade_chunk(self, chunk: Chunk, stored: _Stored) -> list[Score]:
        """Grade a chunk; what is stored of it stands."""
        kept = {
            (score.output, score.metric): score
            for output in chunk.outputs
            for score in stored.of(chunk, output)
        }
        fresh = list(self._score(chunk))
        if not self._owes_replies(chunk):
            stored.append(score for score in fresh if (score.output, score.metric) not in kept)
        return [kept.get((score.output, score.metric), score) for score in fresh]

    def _owes_replies(self, chunk: Chunk) -> bool:
        """Whether the judge left a question open; its bill is stored before the scores."""
        receipts = chunk.judge.take_receipts() if chunk.judge else []
        if not receipts:
            return False
        bill = Bill(
            protocol=chunk.address,
            outputs=tuple(output.id for output in chunk.outputs),
            receipts=tuple(receipts),
            second=chunk.second,
        )
        self._bills.append([bill])
        return bill.open

    def _score(self, chunk: Chunk) -> Iterator[Score]:
        trouble = {output.id: self._trouble(chunk, output) for output in chunk.outputs}
        answers = [self._answer(o) for o in chunk.outputs if trouble[o.id] is None]
        if answers:
            self._equip(chunk.benchmark)
        marks = iter(
            chunk.benchmark.score_under(answers, protocol=chunk.protocol, judge=chunk.judge)
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
            data = benchmark.data(self._settings.data)
            benchmark.equip(data, device=self._settings.device)
            self._equipped.add(benchmark.card.name)

    def _answer(self, output: Output) -> Answer:
        return Answer(self._samples[output.sample], output, self._pictures.load)

    def _trouble(self, chunk: Chunk, output: Output) -> list[Mark] | None:
        """Marks of an output that no scorer can grade, or None if one can."""
        card = chunk.benchmark.card
        wants_picture = card.capability is not Capability.UNDERSTAND
        status = Status.SKIPPED if output.skipped else Status.MISSING_OUTPUT
        reason = output.skipped or output.error
        if reason is None and wants_picture:
            reason = self._lost(output) if output.image else "no picture"
        if reason is None:
            return None
        metrics = {spec.of for spec in card.protocols[chunk.protocol].metrics}
        return [Mark(metric, None, status, reason) for metric in sorted(metrics)]

    def _lost(self, output: Output) -> str | None:
        """Why a picture that is graded, or that it was made from, cannot be looked at."""
        images = [output.image, *self._samples[output.sample].images]
        troubles = (self._pictures.trouble(image) for image in images if image)
        return next((trouble for trouble in troubles if trouble), None)


def forget(run: Path, outputs: Container[str], address: str) -> tuple[str, ...]:
    """Drop the scores and opinions of outputs that are owed: they may come out otherwise.

    Returns:
        What is to be told about damaged rows among them.
    """
    told: tuple[str, ...] = ()
    for name in (_SCORES, _OPINIONS):
        log = _score_log(run / layout.ROWS / name, address)
        log.recover(lambda score: score.output in outputs)
        told += log.damage
    return told


def _score_log(path: Path, address: str) -> RowLog[Score]:
    return RowLog(path, Score, identity_of(Score), address=address)


def _rests_on_a_lost_picture(score: Score) -> bool:
    """Whether an earlier start could not look at a picture; this one has it again."""
    return score.status is Status.MISSING_OUTPUT and score.verdict in TROUBLES


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
