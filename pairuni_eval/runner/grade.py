"""Grading, outputs to scores: every protocol of every benchmark reads the same stored outputs.

Failed, refused and skipped outputs are marked here and never reach a scorer. Grading goes in fixed
chunks that are stored as they are finished; a judge that fails is a status on its row. A chunk is
not stored while its judge owes a reply that asking again may bring (a time-out, a spent budget): it
stands in the results with the status, and the same command grades it again, with the replies that
did come from the judge's memory. What a further pass of the judges says is stored apart.

A score rests on its output and a row of usage on its chunk: `drop_scores` takes out the scores of
outputs that are made again, and a chunk that lacks a score or its usage is graded once more.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.benchmark import Answer, Benchmark, MetricValue
from pairuni_eval.judges.judge import Judge
from pairuni_eval.judges.usage import JudgeCall, UsageRow
from pairuni_eval.records import Capability, ExternalMetric, Output, Score, Status
from pairuni_eval.runner.judging import JudgePass, MeteredJudge, seen_samples
from pairuni_eval.runner.plan import RunComponents, RunPlan
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store import layout
from pairuni_eval.store.pictures import TROUBLES, Pictures
from pairuni_eval.store.rank_rows import Mends, RankRows, RowShare
from pairuni_eval.store.rows import RowLog

_CHUNK = 64


class Chunk(NamedTuple):
    """Outputs of one benchmark that are graded together under one protocol, in one pass."""

    benchmark: Benchmark
    judge_pass: JudgePass
    protocol: str
    outputs: Sequence[Output]

    @property
    def address(self) -> str:
        """The protocol's full name, e.g. "pope@official"."""
        return f"{self.benchmark.card.name}@{self.protocol}"


class _StoredScores:
    """Scores that an earlier start left, and the file that further ones go to."""

    def __init__(self, run: Path, name: str, address: str, share: RowShare) -> None:
        self._log = RankRows(run, name, Score, address=address, share=share)
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
        plan: The run's plan.
        components: Benchmarks and judges.
        outputs: Every output by id.
        pictures: The pictures of the run folder.
        share: Whose rows are appended.
        device: Where models that grade are loaded, instead of what the settings say.

    Attributes:
        unchecked: How many of the scores that an earlier start left have no check.
        damage: What is to be told about rows of an earlier start that are made again.
    """

    def __init__(
        self,
        settings: RunSettings,
        plan: RunPlan,
        components: RunComponents,
        outputs: Mapping[str, Output],
        pictures: Pictures,
        share: RowShare = RowShare(),  # noqa: B008 - frozen
        device: str | None = None,
    ) -> None:
        self._settings = settings
        self._device = device or settings.device
        self._run = settings.out
        self._equipped: set[str] = set()
        self._plan = plan
        self._components = components
        self._outputs = outputs
        self._samples = {sample.uid: sample for sample in plan.samples}
        self._pictures = pictures
        address = plan.card.rows_address
        self._stored = [_StoredScores(self._run, name, address, share) for name in layout.PASSES]
        self._usage = RowLog(self._run / layout.JUDGE / layout.USAGE, UsageRow)
        known = self._usage.recover(mend=share.mends is Mends.ALL).rows
        self._with_usage = {(row.pass_number, row.protocol, row.outputs[:1]) for row in known}
        self.unchecked = sum(one.unchecked for one in self._stored)
        self.damage = (*(told for one in self._stored for told in one.damage), *self._usage.damage)

    def chunks(self) -> list[Chunk]:
        """All chunks of the run, graded or not: those of the first pass in order, then the next."""
        return [
            Chunk(benchmark, one, protocol, outputs)
            for number in range(len(layout.PASSES))
            for benchmark in self._components.benchmarks
            for one in self._components.passes(benchmark.card.name)
            if one.number == number
            for protocol, outputs in self._pieces(benchmark, self._seen(benchmark, one))
        ]

    def _owned(self, benchmark: Benchmark) -> list[Output]:
        """The outputs of a benchmark in the run's order."""
        return [
            self._outputs[pending.id]
            for batch in self._plan.batches
            if batch.benchmark == benchmark.card.name
            for pending in batch.outputs
        ]

    def _seen(self, benchmark: Benchmark, one: JudgePass) -> list[Output]:
        """The outputs that a pass goes through."""
        owned, card = self._owned(benchmark), benchmark.card
        if one.share == 1:
            return owned
        mine = [s for s in self._plan.samples if s.benchmark == card.name]
        seen = seen_samples(card, mine, one.share, self._plan.card.seed)
        return [output for output in owned if output.sample in seen]

    def _pieces(
        self, benchmark: Benchmark, outputs: Sequence[Output]
    ) -> Iterator[tuple[str, Sequence[Output]]]:
        """The outputs in fixed pieces, once for each protocol."""
        for protocol in self._plan.card.benchmarks[benchmark.card.name].protocols:
            for start in range(0, len(outputs), _CHUNK):
                yield protocol, outputs[start : start + _CHUNK]

    def grade(self, done: Callable[[Chunk], None]) -> list[list[Score]]:
        """Grade what is owed.

        Returns:
            All scores of the run in order, a list for each pass; those of a further pass hold only
            what its judge was asked about.
        """
        everything: list[list[Score]] = [[] for _ in layout.PASSES]
        for chunk in self.chunks():
            number = chunk.judge_pass.number
            scores = self._of_chunk(chunk, self._stored[number])
            everything[number] += [s for s in scores if number == 0 or s.judge is not None]
            done(chunk)
        return everything

    def owed_without_judge(self) -> list[Chunk]:
        """The chunks that are to be graded and about which nobody is asked, in order."""
        return [
            chunk
            for chunk in self.chunks()
            if chunk.judge_pass.judge is None
            and not self._stored[chunk.judge_pass.number].holds(chunk)
        ]

    def grade_some(self, chunks: Iterable[Chunk], done: Callable[[Chunk], None]) -> None:
        """Grade these chunks and store their scores."""
        for chunk in chunks:
            self._grade_chunk(chunk, self._stored[chunk.judge_pass.number])
            done(chunk)

    def _of_chunk(self, chunk: Chunk, stored: _StoredScores) -> list[Score]:
        """The scores of a chunk, made now if one of them or the usage is not stored."""
        if not stored.holds(chunk) or self._lacks_usage(chunk, stored):
            return self._grade_chunk(chunk, stored)
        return [s for output in chunk.outputs for s in stored.of(chunk, output)]

    def _lacks_usage(self, chunk: Chunk, stored: _StoredScores) -> bool:
        """Whether a judge that keeps usage was asked about a chunk and no row says so."""
        judge, number = chunk.judge_pass.judge, chunk.judge_pass.number
        if judge is None or not judge.keeps_usage:
            return False
        asked = any(
            s.judge is not None for output in chunk.outputs for s in stored.of(chunk, output)
        )
        key = (number, chunk.address, tuple(output.id for output in chunk.outputs[:1]))
        return asked and key not in self._with_usage

    def external_metrics(self, scores: Sequence[Score]) -> list[ExternalMetric]:
        """What other toolkits make of all scores of the run, benchmark by benchmark."""
        found: list[ExternalMetric] = []
        for benchmark in self._components.benchmarks:
            if type(benchmark).external_metrics is Benchmark.external_metrics:
                continue
            self._equip(benchmark)
            for protocol in benchmark.card.protocols:
                address = f"{benchmark.card.name}@{protocol}"
                mine = [score for score in scores if score.protocol == address]
                found += benchmark.external_metrics(mine, protocol=protocol)
        return found

    def _grade_chunk(self, chunk: Chunk, stored: _StoredScores) -> list[Score]:
        """Grade a chunk; what is stored of it stands."""
        kept = {
            (score.output, score.metric): score
            for output in chunk.outputs
            for score in stored.of(chunk, output)
        }
        judge = MeteredJudge(chunk.judge_pass.judge) if chunk.judge_pass.judge else None
        fresh = list(self._score(chunk, judge))
        if not (judge and self._leaves_open(chunk, judge.calls)):
            stored.append(score for score in fresh if (score.output, score.metric) not in kept)
        return [kept.get((score.output, score.metric), score) for score in fresh]

    def _leaves_open(self, chunk: Chunk, calls: Sequence[JudgeCall]) -> bool:
        """Whether the judge left a question open; its usage is stored before the scores."""
        if not calls:
            return False
        row = UsageRow(
            protocol=chunk.address,
            outputs=tuple(output.id for output in chunk.outputs),
            calls=tuple(calls),
            second=chunk.judge_pass.number > 0,
        )
        self._usage.append([row])
        return row.open

    def _score(self, chunk: Chunk, judge: Judge | None) -> Iterator[Score]:
        trouble = {output.id: self._trouble(chunk, output) for output in chunk.outputs}
        answers = [self._answer(o) for o in chunk.outputs if trouble[o.id] is None]
        if answers:
            self._equip(chunk.benchmark)
        graded = iter(
            chunk.benchmark.score_under(answers, protocol=chunk.protocol, judge=judge)
            if answers
            else ()
        )
        for output in chunk.outputs:
            absent = trouble[output.id]
            for value in next(graded) if absent is None else absent:
                yield _as_score(chunk, output, value)

    def _equip(self, benchmark: Benchmark) -> None:
        """Let a benchmark load what it grades with, once and only when there is work for it."""
        if benchmark.card.name not in self._equipped:
            data = benchmark.data(self._settings.data)
            benchmark.equip(data, device=self._device)
            self._equipped.add(benchmark.card.name)

    def _answer(self, output: Output) -> Answer:
        return Answer(self._samples[output.sample], output, self._pictures.load)

    def _trouble(self, chunk: Chunk, output: Output) -> list[MetricValue] | None:
        """Marks of an output that no scorer can grade, or None if one can."""
        card = chunk.benchmark.card
        wants_picture = card.capability is not Capability.UNDERSTAND
        status, reason = _absence(output)
        if reason is None and wants_picture:
            reason = self._lost(output) if output.image else "no picture"
        if reason is None:
            return None
        metrics = {spec.of for spec in card.protocols[chunk.protocol].metrics}
        return [MetricValue(metric, None, status, reason) for metric in sorted(metrics)]

    def _lost(self, output: Output) -> str | None:
        """Why a picture that is graded, or that it was made from, cannot be looked at."""
        images = [output.image, *self._samples[output.sample].images]
        troubles = (self._pictures.trouble(image) for image in images if image)
        return next((trouble for trouble in troubles if trouble), None)


def drop_scores(run: Path, outputs: Container[str], address: str) -> tuple[str, ...]:
    """Drop the scores of outputs that are owed, of every pass: they may come out otherwise.

    Returns:
        What is to be told about damaged rows among them.
    """
    told: tuple[str, ...] = ()
    for name in layout.PASSES:
        rows = RankRows(run, name, Score, address=address)
        rows.recover(lambda score: score.output in outputs)
        told += rows.damage
    return told


def _absence(output: Output) -> tuple[Status, str | None]:
    """The status of an output that may lack parts, and why it lacks them; None if it does not."""
    if output.skipped:
        return Status.SKIPPED, output.skipped
    if output.refused:
        return Status.REFUSED, output.refused
    return Status.MISSING_OUTPUT, output.error


def _rests_on_a_lost_picture(score: Score) -> bool:
    """Whether an earlier start could not look at a picture; this one has it again."""
    return score.status is Status.MISSING_OUTPUT and score.verdict in TROUBLES


def _as_score(chunk: Chunk, output: Output, given: MetricValue) -> Score:
    card = chunk.benchmark.card
    return Score(
        output=output.id,
        protocol=chunk.address,
        metric=given.metric,
        value=given.value,
        status=given.status,
        scorer=card.protocols[chunk.protocol].scorer or f"{card.name}/{card.version}",
        judge=given.judge,
        verdict=given.verdict,
    )
