"""A judge of warmth: one point for every exclamation mark."""

from __future__ import annotations

from collections.abc import Sequence

from pairuni_eval.api import Judge, JudgeReply, Question


class AcmeJudge(Judge):
    """See the module docstring."""

    snapshot = "acme-judge/3"

    def ask(self, questions: Sequence[Question]) -> list[JudgeReply]:
        """Count the marks."""
        return [JudgeReply(str(question.prompt.count("!"))) for question in questions]
