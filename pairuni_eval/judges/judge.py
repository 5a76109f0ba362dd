"""The judge abstraction: a prompt and images go in, a verdict with a status comes out.

A judge answers in text; the benchmark's rubric reads that text. A judge that fails or declines says
so in the status: it never scores the model. Programmatic judges (the tiny world's checker) may
also read `facts`, what the benchmark knows about the sample; a model judge sees prompt and images
only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pairuni_eval.records import Status

if TYPE_CHECKING:
    from PIL import Image


class Question(NamedTuple):
    """One thing to judge: the prompt, its images in order, and the facts behind it."""

    prompt: str
    images: tuple[Image.Image, ...]
    facts: Mapping[str, Any]


class Verdict(NamedTuple):
    """A judge's reply: its raw text when `status` is scored, else the reason there is none."""

    text: str
    status: Status = Status.SCORED


class Judge(ABC):
    """Base class of every judge.

    Attributes:
        snapshot: Exact name and version, stored with every verdict.
    """

    snapshot: str

    @abstractmethod
    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        """Judge a batch; one verdict per question, in order."""


class Ruling(NamedTuple):
    """A verdict and the snapshot of the judge that gave it, None if nobody was asked."""

    verdict: Verdict
    snapshot: str | None


def consult(judge: Judge | None, question: Question) -> Ruling:
    """Ask a judge one question; without a judge the verdict is `skipped`."""
    if judge is None:
        return Ruling(Verdict("no judge", Status.SKIPPED), None)
    return Ruling(judge.ask([question])[0], judge.snapshot)
