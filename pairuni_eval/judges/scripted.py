"""A judge whose replies are written in a file: for tests, and for grading recorded verdicts.

JSON lines `{"prompt": ..., "image": ..., "text": ...}`. A line answers a question whose whole
prompt and whose last image (the id of its pixels, as drawn images are named in a run folder) are
those of the line; what a line leaves out matches anything. The most particular line wins; of
several equal ones the n-th answers the n-th attempt, the last one all further attempts. Where no
line names a prompt or an image, the n-th line answers the n-th new question, which is remembered in
the run folder. A question without a line is the judge's failure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec

from pairuni_eval.endpoints.replies import CachedReply, ReplyCache
from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import Judge, JudgeReply, JudgeSetup, Question
from pairuni_eval.judges.settings import ScriptOptions, read_options
from pairuni_eval.places import is_file
from pairuni_eval.records import Picture, Status
from pairuni_eval.seeds import stable_hash
from pairuni_eval.user_text import records_of


class ScriptedReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recorded reply; see the module docstring.

    Attributes:
        status: "refused" and "judge_failed" record that there was no verdict; `text` says why.
    """

    text: str
    prompt: str | None = None
    image: str | None = None
    status: Literal["scored", "refused", "judge_failed"] = "scored"

    @property
    def reply(self) -> JudgeReply:
        """What the judge said."""
        return JudgeReply(self.text, Status(self.status))


class ScriptedJudge(Judge):
    """Replies from a table; `cache` remembers which question took which of the lines in order."""

    def __init__(self, lines: Sequence[ScriptedReply], snapshot: str, cache: ReplyCache) -> None:
        self.snapshot = snapshot
        self._lines = lines
        self._in_order = all(line.prompt is None and line.image is None for line in lines)
        self._cache = cache

    @classmethod
    def load(cls, setup: JudgeSetup) -> ScriptedJudge:
        """Read the script.

        Raises:
            UserError: if the file is missing or a line is not of the form above.
        """
        options = read_options(ScriptOptions, setup.options, setup.source)
        path = setup.path(options.replies)
        if not is_file(path):
            raise UserError(
                f"{setup.source or '--judge'}: there is no file of replies {path}.",
                hint='name = "scripted"\nreplies = "FILE.jsonl"',
            )
        lines = records_of(path, ScriptedReply)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        snapshot = options.snapshot or f"scripted/{digest[:12]}"
        return cls(lines, snapshot, ReplyCache(setup.reply_file()))

    def ask(self, questions: Sequence[Question]) -> list[JudgeReply]:
        """The scripted replies."""
        return [self._reply(question) for question in questions]

    def _reply(self, question: Question) -> JudgeReply:
        line = self._next(question) if self._in_order else self._match(question)
        if line is None:
            reason = "the script has no line for this question"
            return JudgeReply(reason, Status.JUDGE_FAILED)
        return line.reply

    def _match(self, question: Question) -> ScriptedReply | None:
        image = Picture.from_image(question.images[-1]).id if question.images else None
        fitting = [
            line
            for line in self._lines
            if line.prompt in (None, question.prompt) and line.image in (None, image)
        ]
        best = max((_particular(line) for line in fitting), default=0)
        equal = [line for line in fitting if _particular(line) == best]
        return equal[min(question.attempt, len(equal) - 1)] if equal else None

    def _next(self, question: Question) -> ScriptedReply | None:
        images = [Picture.from_image(image).id for image in question.images]
        key = stable_hash("scripted/1", question.prompt, images, question.attempt)
        self._cache.refresh()  # another benchmark of the run reads from the same script
        known = self._cache.find(key)
        place = int(known.text) if known else len(self._cache)
        if place >= len(self._lines):
            return None
        if known is None:
            taken = CachedReply(key=key, snapshot=self.snapshot, text=str(place), finish="stop")
            self._cache.add(taken)
        return self._lines[place]


def _particular(line: ScriptedReply) -> int:
    return (line.prompt is not None) + (line.image is not None)
