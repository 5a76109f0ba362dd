"""WISE, legacy edition (2025): 1000 prompts in six categories, judged on three criteria.

Comparable with every figure printed under the name WISE before April 2026. See `knowledge.py` for
the data and `scorers/rubric.py` for the rules.
"""

from __future__ import annotations

from pairuni_eval.api import JudgeReply, MetricValue
from pairuni_eval.api.scorers import LEGACY, wise_is_complete, wise_marks

from .knowledge import KnowledgeBenchmark


class Wise(KnowledgeBenchmark):
    """See the module docstring."""

    edition = LEGACY
    right = ("consistency", 2.0)
    script = "gpt_eval.py"
    prompt_sha256 = "b14eef22928c4c2c2c5020236b4bea468ec7c371ef95b9d894074e81f56b13db"

    def readable(self, reply: str) -> bool:
        """All three criteria are there."""
        return wise_is_complete(reply)

    def grade(self, reply: JudgeReply, protocol: str) -> list[MetricValue]:
        """The three criteria and `wiscore`; under lmms-eval a failed judge counts 0."""
        failure_counts = 0.0 if protocol == "lmms-eval" else None
        return wise_marks(reply, failure_counts=failure_counts)
