"""What a benchmark is to the runner: samples in, scores out.

A benchmark is a folder with a `card.toml` and a `benchmark.py` that defines one subclass of
`Benchmark`. `samples` reads the dataset's own schema; `score` grades stored outputs under a
protocol of the card and never sees the model. Everything a benchmark decides about numbers beyond
that is in its card.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import msgspec

from pairuni_eval.cards import Card
from pairuni_eval.data import Data
from pairuni_eval.errors import DatasetError
from pairuni_eval.records import (
    ExternalMetric,
    ImagePart,
    Item,
    Output,
    Picture,
    Sample,
    Score,
    Status,
    TextPart,
    make_item,
)
from pairuni_eval.scorers.answer_form import final_answer, option_letter

if TYPE_CHECKING:
    from PIL import Image

    from pairuni_eval.judges.judge import Judge


class MetricValue(NamedTuple):
    """One metric of one graded output; without a value, `status` says why."""

    metric: str
    value: float | None
    status: Status = Status.SCORED
    verdict: str | None = None
    judge: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """A stored output beside its sample, with its images at hand.

    Only outputs that exist reach a scorer: failed, refused and skipped ones, and answers in words
    where a picture was asked for, are marked by the runner.
    """

    sample: Sample
    output: Output
    load_image: Callable[[str], Image.Image]

    @property
    def text(self) -> str:
        """The answer's text; empty if the model said nothing."""
        return self.output.text or ""

    def saying(self, text: str) -> Answer:
        """The same answer in other words."""
        said = msgspec.structs.replace(self.output, parts=(TextPart(text),))
        return msgspec.structs.replace(self, output=said)

    @property
    def image(self) -> Image.Image:
        """The drawn or edited image (RGB)."""
        if self.output.image is None:
            raise ValueError(f"output {self.output.id} holds no image")
        return self.load_image(self.output.image)

    @property
    def source_images(self) -> tuple[Image.Image, ...]:
        """The images of the request, in order (RGB).

        Raises:
            DatasetError: if the dataset's row holds no readable image, with the reason.
        """
        parts = [part for part in self.sample.parts if isinstance(part, ImagePart)]
        for part in parts:
            if part.flaw is not None:
                raise DatasetError(part.flaw)
        return tuple(self.load_image(part.image) for part in parts)


class FactChoice(NamedTuple):
    """A fact as one question with four options, of which the picture shows just one.

    Attributes:
        question: Without its options.
        options: In an order drawn by seed.
        shown: The option that the picture shows.
        asked: The option that the prompt wants.
    """

    question: str
    options: tuple[str, ...]
    shown: str
    asked: str


class Fact(NamedTuple):
    """What a picture shows of one thing that its prompt asks, as twin questions (`scorers.facts`).

    Attributes:
        name: Its place in the prompt, the same for every picture of it: "color 1".
        kind: "object", "count", "color", "swap", "relation" or "knowledge".
        asked: The question whether it is as the prompt wants it.
        twin: The same question about something else.
        holds: Whether the picture shows what is asked; None where that is not known.
        reason: Why that is not known; None if it is.
        sure: Whether the grader was sure of all that it rests on.
        twin_holds: Whether the picture shows what the twin says; None for the opposite of `holds`.
        choice: The same as multiple choice, or why it cannot be put so; None for a kind of fact
            that has no such form.
    """

    name: str
    kind: str
    asked: str
    twin: str = ""
    holds: bool | None = None
    reason: str | None = None
    sure: bool = True
    twin_holds: bool | None = None
    choice: FactChoice | str | None = None


class Painted(NamedTuple):
    """A stored picture with what graded it said.

    Attributes:
        answer: The picture beside its sample.
        values: Its score metrics under the benchmark's first protocol that has any.
    """

    answer: Answer
    values: Mapping[str, float]


class Equipment(NamedTuple):
    """What a benchmark grades with beside the answers: where weights are found, and the device."""

    data: Data
    device: str


def _unread(mark: MetricValue) -> MetricValue:
    """A mark of an answer that there is not; rows that cannot be graded stay what they are."""
    if mark.status not in (Status.SCORED, Status.UNPARSED):
        return mark
    return MetricValue(mark.metric, None, Status.UNPARSED, "no final answer")


class Benchmark(ABC):
    """Base class of every benchmark, built in or a stranger's.

    Attributes:
        extra: The extra of pairuni that its grading needs.
        right: The score metric by which a picture is right, and the least value that is.
        companions: Benchmarks of further prompts of the same kind, which `self:NAME` reads as well.
        asks_choices: Whether its facts can be put as multiple choice (`FactChoice`), which
            `self:NAME-choices` does.
    """

    extra: ClassVar[str | None] = None
    right: ClassVar[tuple[str, float]] = ("correct", 1.0)
    companions: ClassVar[tuple[str, ...]] = ()
    asks_choices: ClassVar[bool] = False

    def __init__(self, card: Card, folder: Path) -> None:
        self.card = card
        self.folder = folder

    def data(self, user_folder: Path | None) -> Data:
        """Where the rows come from; override it where another toolkit reads them.

        Args:
            user_folder: What the user gave as `--data`, or None.
        """
        return Data(self.card, self.folder, user_folder)

    def count(self, data: Data) -> int:  # noqa: ARG002 - for those whose card cannot know
        """Samples of the complete benchmark; override it where only the data can tell."""
        return self.card.expected

    @abstractmethod
    def samples(self, data: Data) -> Iterable[Item]:
        """Yield the samples in the dataset's own order.

        A row whose image is broken is yielded all the same: the runner records it on the row.
        """

    def equip(self, data: Data, *, device: str) -> None:  # noqa: B027 - most need nothing
        """Get ready to grade: load what `score` needs beside the answers (a detector).

        Called once, before the first `score`, and only if something is to be graded. What cannot be
        had is no reason to stop: keep the reason and mark every answer as skipped with it.

        Args:
            data: Finds the card's `weights`.
            device: A torch device name, or "auto".
        """

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """Grade one output under one protocol; always the same metrics, in the same order.

        An answer that cannot be read is a mark with status `unparsed` and no value; how it counts
        is the card's business.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither mark nor score")

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """Grade a batch, one list of marks per answer, in order.

        Calls `mark` on each; override it where a batch is cheaper than its parts (a detector).
        """
        for answer in answers:
            yield self.mark(answer, protocol=protocol, judge=judge)

    def score_under(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """`score`, for a protocol that reads final answers as well: what the runner calls.

        An answer that never comes to a final one is `unparsed` under such a protocol. Of one that
        states an option of the sample by its letter the rule sees that letter alone.
        """
        rule = self.card.protocols[protocol].final_answer
        if rule is None:
            yield from self.score(answers, protocol=protocol, judge=judge)
            return
        said = [self._final(answer) for answer in answers]
        plain = [one.saying(text or "") for one, text in zip(answers, said, strict=True)]
        rows = self.score(plain, protocol=rule, judge=judge)
        for text, marks in zip(said, rows, strict=True):
            yield marks if text is not None else [_unread(mark) for mark in marks]

    def _final(self, answer: Answer) -> str | None:
        text = final_answer(answer.text)
        letters = self.option_letters(answer.sample)
        return (option_letter(text, letters) if text and letters else None) or text

    def option_letters(self, sample: Sample) -> Collection[str]:  # noqa: ARG002
        """The letters by which a sample's options are answered, capitals; none for most."""
        return ()

    def external_metrics(self, scores: Sequence[Score], *, protocol: str) -> list[ExternalMetric]:  # noqa: ARG002
        """Numbers of the whole run that another toolkit computes from its rows; most have none.

        Called once per protocol when everything is graded, after `equip`.

        Args:
            scores: Every score of this benchmark under the protocol, in the run's order.
            protocol: The protocol's name in the card.
        """
        return []

    def gold(self, sample: Sample) -> str | None:  # noqa: ARG002
        """The answer that must score full, for the benchmark's self-check; None if it has none."""
        return None

    def reward_reference(
        self,
        request: str,  # noqa: ARG002
        answer: str | None,  # noqa: ARG002
        facts: Mapping[str, Any],  # noqa: ARG002
    ) -> dict[str, Any] | None:
        """The `reference` by which an answer to a training question or prompt is graded.

        A benchmark that defines it can be a training reward: what training pays is then what the
        benchmark's own rule says.

        Args:
            request: The whole question, options included, or the prompt.
            answer: The gold answer; None for a prompt.
            facts: What the row's source knows about it, e.g. GenEval's `row`.

        Returns:
            None if the rule cannot grade it.
        """
        return None

    def facts(self, painted: Sequence[Painted], *, seed: int) -> Iterator[list[Fact]]:
        """What each picture shows of what its prompt asks; called after `equip`.

        A benchmark that defines it can be read by `self:NAME`: what a model sees in the pictures
        that a model drew. The answers are known from the pictures, never from the prompts.

        Args:
            painted: Pictures of this benchmark; one that cannot be read is not among them.
            seed: Draws what the twins say.

        Raises:
            UserError: if what graded the pictures is not at hand.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no facts")

    def drawn_anew(self, answer: Answer) -> Image.Image | None:  # noqa: ARG002
        """A picture of what the grader sees in this one, by a painter without faults.

        None for a benchmark that does not override it: nobody can draw that.
        """
        return None

    @property
    def reads(self) -> tuple[str, ...]:
        """The benchmarks whose pictures, drawn in another run, this one is made of; none for most.

        The first must be in that run.
        """
        return ()

    def read_from(self, painter: Path, control: Path | None, *, device: str) -> None:
        """Say which run's pictures are read; called before everything else if `reads` names any.

        Args:
            painter: A finished run.
            control: Another painter's run of the same prompts, to be read beside it; or None.
            device: Where a model that looks at them is loaded.

        Raises:
            UserError: if a run cannot be read, or lacks the benchmark.
        """
        raise NotImplementedError(f"{type(self).__name__} reads no pictures of another run")

    @property
    def revision(self) -> str:
        """Which data it is made of: the card's revision, unless a run's pictures say otherwise."""
        return self.card.data.revision

    def aliases(self, sample: Sample) -> Iterable[str]:
        """Every id by which recorded answers may name a sample: its key, and those of its rows."""
        return (sample.key,)

    def rows(self, data: Data) -> Iterable[str] | None:  # noqa: ARG002
        """A key or alias for each row of the dataset's files, in order, for answers by position.

        None if every sample is one row.
        """
        return None

    def item(
        self,
        *,
        key: str,
        parts: tuple[str | Picture, ...],
        reference: Mapping[str, Any],
        unit: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Item:
        """Build one item with this benchmark's name, version and capability."""
        return make_item(
            benchmark=self.card.name,
            version=self.card.version,
            capability=self.card.capability,
            key=key,
            parts=parts,
            reference=reference,
            unit=unit,
            tags=tags,
        )
