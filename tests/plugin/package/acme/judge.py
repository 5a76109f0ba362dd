"""A judge of warmth: one point for every exclamation mark."""

from __future__ import annotations

from collections.abc import Sequence

from pairuni_eval.api import Judge, Question, Verdict


class AcmeJudge(Judge):
    """See the module docstring."""

    snapshot = "acme-judge/3"

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        """Count the marks."""
        return [Verdict(str(question.prompt.count("!"))) for question in questions]
