"""`self:NAME`: what a model sees in a run's stored, graded pictures of the benchmark NAME.

A second pass over a finished run, the *painter*: each fact that a prompt asks for becomes two twin
questions about the picture, without the prompt, and the right answers come from what the
benchmark's own grader sees in the picture (`Benchmark.facts`). The model that answers is the
*reader*; of its own pictures it is the painter as well. A unit is a prompt with all of its draws. A
fact whose answer the grader does not know has one question and no right answer: it is skipped, with
the reason, in all numbers but the one that asks which picture the reader would choose.

A *control* tells what a reader misses in any picture from what it misses in its own: the same facts
on another run's pictures of the same prompts and draws, kept where they hold or fail as on the
painter's, or, where the benchmark can do it, on a faultless drawing of what the grader saw.

Two readers, or two checkpoints, meet by the key of a fact (prompt, draw, fact, twin), for their
pictures differ.

`self:NAME-choices` asks about the same pictures in another form (`choices`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.benchmark import Answer, Benchmark, Fact, MetricValue
from pairuni_eval.cards import Card
from pairuni_eval.catalog import all_cards, load_benchmark
from pairuni_eval.data import Data, Origin
from pairuni_eval.errors import UserError, unknown_name
from pairuni_eval.judges.judge import Judge
from pairuni_eval.prompts import YES_NO_REQUEST
from pairuni_eval.records import Item, Picture, Sample, Status
from pairuni_eval.scorers.yes_no import mme_label
from pairuni_eval.self_consistency.card import (
    CHOICES,
    CONTROL,
    PAINTER,
    PREFIX,
    SWAP,
    make_card,
    scope_of,
)
from pairuni_eval.self_consistency.painted import PaintedPlace, PaintedRun
from pairuni_eval.stats.coupling import ASKED, OTHER, YES_NO

_LONE = "lone"  # the tag `twin` of a question without one
_UNKNOWN = "unknown"  # in the reference of a lone question: why its answer is not known
_SEED = 0  # of the foils: the same for every painter and reader
_METRICS = ("correct", "said_yes", "over_approved", "rejected_wrong", "rejected_right")
_VOTE = "approved"  # the score metric that every question has


class SelfConsistency:
    """The family `self`: a benchmark for every one that tells what its pictures show."""

    @classmethod
    def load(cls, name: str) -> Benchmark:
        """See `catalog.Family`.

        Raises:
            UserError: if there is no such benchmark, it does not tell what its pictures show, or
                not as multiple choice.
        """
        from pairuni_eval.self_consistency.choices import ChoiceBenchmark  # stands on this module

        names = [card.name for card in all_cards()]
        if name in names and tells_facts(found := load_benchmark(name)):
            return SelfBenchmark(found)
        source = name.removesuffix(CHOICES)
        if source != name and source in names and (found := load_benchmark(source)).asks_choices:
            return ChoiceBenchmark(found)
        telling = [one for other in names if tells_facts(one := load_benchmark(other))]
        known = [one.card.name for one in telling]
        known += [f"{one.card.name}{CHOICES}" for one in telling if one.asks_choices]
        raise unknown_name(
            "benchmark", name, known, of=f"'{PREFIX}'", list_command="pairuni-eval list benchmarks"
        )


def tells_facts(benchmark: Benchmark) -> bool:
    """Whether a benchmark tells what its pictures show of what their prompts ask."""
    return type(benchmark).facts is not Benchmark.facts


class _Told(NamedTuple):
    """A picture with what it shows.

    Attributes:
        source: The benchmark that it was drawn for.
        pictures: `PAINTER` or `CONTROL`.
        right: Whether its benchmark calls it right; None where it has no value.
        picture: Reads it, or draws it anew: only one is held at a time.
    """

    source: str
    pictures: str
    answer: Answer
    facts: Sequence[Fact]
    right: bool | None
    picture: Callable[[], Picture]

    @property
    def place(self) -> PaintedPlace:
        """Which prompt and draw it is of."""
        return PaintedPlace(self.answer.sample.key, self.answer.output.draw)


class Question(NamedTuple):
    """One question of a fact.

    Attributes:
        place: Which of its fact's, in the key.
        tags: `form`, `twin` and `label`: the answer by the picture, yes or no, if it is known.
        text: The request.
        reference: What its answer is marked by.
    """

    fact: Fact
    place: str
    tags: Mapping[str, str]
    text: str
    reference: Mapping[str, Any]


def yes_or_no(fact: Fact, twin: str, words: str, *, holds: bool) -> Question:
    """A question whose answer the picture gives."""
    label = said(yes=holds)
    tags = {"form": YES_NO, "twin": twin, "label": label}
    return Question(fact, twin, tags, f"{words}{YES_NO_REQUEST}", {"answer": label})


def lone(fact: Fact, reason: str) -> Question:
    """The question of a fact that all numbers skip, but the one that asks which is chosen."""
    tags = {"form": YES_NO, "twin": _LONE, "label": ""}
    # its place is the same whether or not its answer is known
    return Question(fact, ASKED, tags, f"{fact.asked}{YES_NO_REQUEST}", {_UNKNOWN: reason})


def said(*, yes: bool) -> str:
    """The word for it."""
    return "yes" if yes else "no"


class SelfBenchmark(Benchmark):
    """See the module docstring.

    Args:
        source: The benchmark whose pictures are read.
        card: What is asked about them, and how it is counted.
    """

    def __init__(self, source: Benchmark, card: Card | None = None) -> None:
        super().__init__(card or make_card(source.card), source.folder)
        others = tuple(load_benchmark(name) for name in source.companions)
        self._sources = (source, *others)
        self._painter: PaintedRun | None = None
        self._control: PaintedRun | None = None
        self._device = "auto"
        self._looked_at: list[_Told] | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Benchmark.reads`."""
        return tuple(source.card.name for source in self._sources)

    def read_from(self, painter: Path, control: Path | None, *, device: str) -> None:
        """See `Benchmark.read_from`."""
        self._painter = PaintedRun(painter)
        self._painter.check(self.reads[0])
        self._control = None if control is None else PaintedRun(control)
        if self._control is not None:
            self._control.check(self.reads[0])
        self._device = device

    @property
    def revision(self) -> str:
        """Which pictures are read: the painter's and, where there is one, the control's."""
        runs = (self._run, *([self._control] if self._control else []))
        return "+".join(run.revision for run in runs)

    @property
    def _run(self) -> PaintedRun:
        if self._painter is None:
            raise UserError(
                f"'{self.card.name}' reads the pictures of a finished run of '{self.reads[0]}'.",
                hint=f"pairuni-eval run --checkpoint MODEL --benchmarks {self.card.name} "
                "--painter RUN",
            )
        return self._painter

    def data(self, user_folder: Path | None) -> Data:
        """See `Benchmark.data`: where the grader finds its weights, and whose pictures they are."""
        control = f", control {self._control.name}" if self._control else ""
        origin = Origin(f"pictures of {self._run.name}{control}", self.revision)
        return _PaintedData(self.card, self.folder, user_folder, origin)

    def count(self, data: Data) -> int:
        """The questions about a complete run of the benchmark; about a part, as many times more."""
        questions = sum(len(self._questions(told)) for told in self._made(data))
        return round(questions * self._run.whole(self.reads[0]))

    def samples(self, data: Data) -> Iterator[Item]:
        """Twin questions of each fact, in the run's order; the control's follow the painter's."""
        for told in self._made(data):
            picture = told.picture()
            for question in self._questions(told):
                yield self._item(told, picture, question)

    def _questions(self, told: _Told) -> list[Question]:
        """What is asked about a picture; about the control only what has a right answer."""
        found: list[Question] = []
        for fact in told.facts:
            known = fact.reason is None and fact.holds is not None
            found += self.put(fact) if known else self.put_unknown(fact)
        return [one for one in found if told.pictures == PAINTER or one.tags["label"]]

    def put(self, fact: Fact) -> Iterator[Question]:
        """The questions of a fact whose answer is known: twins."""
        assert fact.holds is not None
        other = fact.twin_holds if fact.twin_holds is not None else not fact.holds
        yield yes_or_no(fact, ASKED, fact.asked, holds=fact.holds)
        yield yes_or_no(fact, OTHER, fact.twin, holds=other)

    def put_unknown(self, fact: Fact) -> Iterator[Question]:
        """The question of a fact whose answer is not known."""
        yield lone(fact, fact.reason or "")

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:  # noqa: ARG002
        """Whether the answer is right, whether it is yes, and what a rejection is worth."""
        verdict, reference = mme_label(answer.text), answer.sample.reference
        if verdict is None:
            unread = "neither yes nor no"
            names = (*_METRICS, _VOTE)
            return [MetricValue(name, None, Status.UNPARSED, unread) for name in names]
        vote = MetricValue(_VOTE, float(verdict == "yes"), verdict=verdict)
        if _UNKNOWN in reference:
            reason = reference[_UNKNOWN]
            return [*(MetricValue(name, None, Status.SKIPPED, reason) for name in _METRICS), vote]
        yes, gold = verdict == "yes", reference["answer"] == "yes"
        values = (yes == gold, yes, int(yes) - int(gold), not yes and not gold, not yes and gold)
        marks = (
            MetricValue(name, float(value), verdict=verdict)
            for name, value in zip(_METRICS, values, strict=True)
        )
        return [*marks, vote]

    def gold(self, sample: Sample) -> str | None:
        """See `Benchmark.gold`."""
        return sample.reference.get("answer")

    def _made(self, data: Data) -> list[_Told]:
        """Every picture that is asked about, looked at once."""
        if self._looked_at is None:
            assert isinstance(data, _PaintedData)
            found = (one for source in self._sources for one in self._about(source, data.given))
            self._looked_at = list(found)
        return self._looked_at

    def _about(self, source: Benchmark, folder: Path | None) -> Iterator[_Told]:
        """The pictures of one benchmark, each followed by its control."""
        if not self._run.has(source.card.name):
            return
        source.equip(source.data(folder), device=self._device)
        control = self._control_of(source)
        for told in _told(source, self._run):
            yield told
            if self._control is None:
                other = _anew(source, told)
            else:
                other = _matched(told, control.get(told.place))
            if other is not None:
                yield other._replace(pictures=CONTROL)

    def _control_of(self, source: Benchmark) -> dict[PaintedPlace, _Told]:
        if self._control is None or not self._control.has(source.card.name):
            return {}
        return {told.place: told for told in _told(source, self._control)}

    def _item(self, told: _Told, picture: Picture, question: Question) -> Item:
        fact = question.fact
        prefix = "" if told.source == self.reads[0] else f"{told.source} "
        sample, output = told.answer.sample, told.answer.output
        last = "" if told.pictures == PAINTER else f" {CONTROL}"
        return self.item(
            key=f"{prefix}{sample.key} {output.draw} {fact.name} {question.place}{last}",
            parts=(picture, question.text),
            reference={**question.reference, "output": output.id, "prompt": sample.text},
            unit=f"{prefix}{sample.key}",
            tags={
                "kind": fact.kind,
                "task": sample.tags.get("task") or sample.tags.get("category") or "",
                "scope": scope_of(fact.kind),
                "votes": said(yes=fact.kind != SWAP),  # whose question was put already
                **question.tags,
                "pictures": told.pictures,
                "draw": str(output.draw),
                "fact": fact.name,
                "sure": said(yes=fact.sure),
                "picture": {None: "", True: "right", False: "wrong"}[told.right],
            },
        )


class _PaintedData(Data):
    """Data whose rows are made of a run's pictures."""

    def __init__(self, card: Card, folder: Path, given: Path | None, origin: Origin) -> None:
        super().__init__(card, folder, given)
        self.given = given
        self._origin = origin

    def origin(self) -> Origin:
        """See `Data.origin`."""
        return self._origin


def _told(source: Benchmark, run: PaintedRun) -> Iterator[_Told]:
    """What every picture of a run shows, in the run's order."""
    painted = run.pictures(source.card.name)
    metric, least = source.right
    for one, facts in zip(painted, source.facts(painted, seed=_SEED), strict=True):
        value, image = one.values.get(metric), one.answer.output.image
        assert image is not None
        right = None if value is None else value >= least
        picture = partial(run.picture, image)
        yield _Told(source.card.name, PAINTER, one.answer, facts, right, picture)


def _anew(source: Benchmark, told: _Told) -> _Told | None:
    """The same facts on a faultless drawing of what the grader saw."""
    if type(source).drawn_anew is Benchmark.drawn_anew:
        return None

    def picture() -> Picture:
        drawn = source.drawn_anew(told.answer)
        assert drawn is not None
        return Picture.from_image(drawn)

    return told._replace(picture=picture)


def _matched(own: _Told, other: _Told | None) -> _Told | None:
    """Another painter's picture, with the facts that hold or fail as on this one."""
    if other is None:
        return None
    mine = {fact.name: fact for fact in own.facts if fact.reason is None}
    kept = [
        fact
        for fact in other.facts
        if fact.reason is None and fact.name in mine and mine[fact.name].holds == fact.holds
    ]
    return other._replace(facts=kept)
