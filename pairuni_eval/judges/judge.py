"""The judge abstraction: a prompt and images go in, a verdict with a status comes out.

A judge answers in text; the benchmark's rubric reads that text. A judge that fails or declines says
so in the status: it never scores the model. Programmatic judges (the tiny world's checker) may
also read `facts`, what the benchmark knows about the sample; a model judge sees prompt and images
only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pairuni_eval.cards import JudgeSpec
from pairuni_eval.records import Status

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image


class Question(NamedTuple):
    """One thing to judge.

    Attributes:
        prompt: What the judge reads; the images follow it, in order.
        facts: What the benchmark knows about the sample, for programmatic judges only.
        attempt: 0, or how often this was asked before, for protocols that ask again after a reply
            they cannot read; part of what a cache knows a reply by.
    """

    prompt: str
    images: tuple[Image.Image, ...]
    facts: Mapping[str, Any]
    attempt: int = 0


class Verdict(NamedTuple):
    """A judge's reply: its raw text when `status` is scored, else the reason there is none."""

    text: str
    status: Status = Status.SCORED


class JudgeSetup(NamedTuple):
    """What a judge is made from.

    Attributes:
        spec: What the benchmark's card prescribes.
        folder: The run folder, where a judge may remember its calls; None keeps nothing.
        options: The user's own settings for the judge, by key.
    """

    spec: JudgeSpec
    folder: Path | None = None
    options: Mapping[str, Any] = {}


class Judge(ABC):
    """Base class of every judge.

    Attributes:
        snapshot: Exact name and version, stored with every verdict.
    """

    snapshot: str

    @classmethod
    def load(cls, setup: JudgeSetup) -> Self:  # noqa: ARG003 - for judges that need nothing
        """Make a judge for one benchmark of one run.

        Raises:
            UserError: if it cannot be had as asked: no key, an unknown option.
        """
        return cls()

    @abstractmethod
    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        """Judge a batch; one verdict per question, in order."""


class Ruling(NamedTuple):
    """A verdict and the snapshot of the judge that gave it, None if nobody was asked."""

    verdict: Verdict
    snapshot: str | None


def consult(judge: Judge | None, question: Question) -> Ruling:
    """Ask a judge one question; without a judge the verdict is `skipped`."""
    return consult_all(judge, [question])[0]


def consult_all(judge: Judge | None, questions: Sequence[Question]) -> list[Ruling]:
    """Ask a judge many questions at once, one ruling each, in order."""
    if judge is None:
        return [Ruling(Verdict("no judge", Status.SKIPPED), None) for _ in questions]
    return [Ruling(verdict, judge.snapshot) for verdict in judge.ask(questions)]
