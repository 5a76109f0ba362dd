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
    """

    extra: ClassVar[str | None] = None

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
