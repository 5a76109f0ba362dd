"""The judge abstraction: a prompt and images go in, a reply with a status comes out.

A judge answers in text; the benchmark's rubric reads that text. A judge that fails or declines says
so in the status: it never scores the model. Programmatic judges (the tiny world's checker) may
also read `facts`, what the benchmark knows about the sample; a model judge sees prompt and images
only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from pairuni_eval.cards import JudgeSpec
from pairuni_eval.errors import UserError
from pairuni_eval.judges.thoughts import without_thoughts
from pairuni_eval.judges.usage import JudgeCall
from pairuni_eval.records import Status

if TYPE_CHECKING:
    from PIL import Image


_REPLY_FILES = ("replies.jsonl", "second.jsonl")  # by the number of the pass


class Question(NamedTuple):
    """One thing to judge.

    Attributes:
        prompt: What the judge reads; the images follow it, in order.
        facts: What the benchmark knows about the sample, for programmatic judges only.
        attempt: 0, or how often this was asked before, for protocols that ask again after a reply
            they cannot read; part of what a cache knows a reply by.
        system: What the judge is told before the prompt; empty tells it nothing.
        images_first: Whether the images stand before the prompt instead.
    """

    prompt: str
    images: tuple[Image.Image, ...]
    facts: Mapping[str, Any]
    attempt: int = 0
    system: str = ""
    images_first: bool = False


class JudgeReply(NamedTuple):
    """What a judge said of one question, from whoever was asked to the rule that reads it.

    Attributes:
        text: The raw reply when `status` is scored, else the reason there is none.
        status: Why there is none; a judge that fails or declines never scores the model.
        judge: Snapshot of the judge, which `consult` fills in; None if nobody was asked.
        call: What asking took, None for a judge that keeps no usage.
    """

    text: str
    status: Status = Status.SCORED
    judge: str | None = None
    call: JudgeCall | None = None

    @property
    def said(self) -> str:
        """What a rubric reads: the text without the judge's thoughts, see `judges/thoughts.py`."""
        return without_thoughts(self.text)


class JudgeSetup(NamedTuple):
    """What a judge is made from.

    Attributes:
        spec: What the benchmark's card prescribes.
        folder: A folder of the run for what a judge remembers of its calls; None keeps nothing.
        options: The user's own settings for the judge, by key.
        source: The file that holds the options: errors name it, and paths in the options start
            from its folder.
        pass_number: 0, or 1 for the judge that is asked again about a share of the samples.
    """

    spec: JudgeSpec
    folder: Path | None = None
    options: Mapping[str, Any] = {}
    source: Path | None = None
    pass_number: int = 0

    def path(self, option: str) -> Path:
        """A path from the options, relative ones from the folder of their file."""
        return (self.source.parent if self.source else Path()) / Path(option).expanduser()

    def reply_file(self, cache: str | None = None) -> Path | None:
        """Where replies are remembered: in the folder `cache` of the options, or in the run."""
        name = _REPLY_FILES[self.pass_number]
        if cache is not None:
            return self.path(cache) / name
        return self.folder / name if self.folder is not None else None


class Judge(ABC):
    """Base class of every judge.

    Attributes:
        snapshot: Exact name and version, stored with every score that rests on it.
        extra: The extra of pairuni that it needs.
        keeps_usage: Whether its replies say what they took, as those of a judge do whose answers
            cost something or may fail to come.
    """

    extra: ClassVar[str | None] = None
    keeps_usage: ClassVar[bool] = False
    snapshot: str

    @classmethod
    def load(cls, setup: JudgeSetup) -> Self:
        """Make a judge for one benchmark of one run; this one is for judges without options.

        Raises:
            UserError: if it cannot be had as asked: no key, an unknown option.
        """
        if setup.options:
            raise UserError(
                f"{setup.source or '--judge'}: unknown key '{next(iter(setup.options))}': this "
                "judge takes no options."
            )
        return cls()

    def cost_of_a_call(self) -> float | None:
        """What a call has cost on average so far; None if nothing tells."""
        return None

    @abstractmethod
    def ask(self, questions: Sequence[Question]) -> list[JudgeReply]:
        """Judge a batch; one reply per question, in order."""


def consult(judge: Judge | None, question: Question) -> JudgeReply:
    """Ask a judge one question; without a judge the status is `skipped`."""
    return consult_all(judge, [question])[0]


def consult_all(judge: Judge | None, questions: Sequence[Question]) -> list[JudgeReply]:
    """Ask a judge many questions at once, one reply each, in order."""
    if judge is None:
        return [JudgeReply("no judge", Status.SKIPPED) for _ in questions]
    return [reply._replace(judge=judge.snapshot) for reply in judge.ask(questions)]
