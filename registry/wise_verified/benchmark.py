"""WISE-Verified (April 2026): 1000 corrected prompts, one binary score each.

Another benchmark than legacy WISE: most prompts, the categories' sizes, their weights and the judge
differ. See `registry/wise/knowledge.py` for the data and `scorers/rubric.py` for the rules.
"""

from __future__ import annotations

from pairuni_eval.api import JudgeReply, MetricValue
from pairuni_eval.api.scorers import VERIFIED, verified_marks, verified_score

from ..wise.knowledge import KnowledgeBenchmark


class WiseVerified(KnowledgeBenchmark):
    """See the module docstring."""

    edition = VERIFIED
    script = "vllm_eval.py"
    prompt_sha256 = "5afe1472e449c208de5b8f7654b25b8f47a259d0e2376b05a986a08873bd5200"

    def readable(self, reply: str) -> bool:
        """There is a score of 0 or 1."""
        return verified_score(reply) is not None

    def grade(self, reply: JudgeReply, protocol: str) -> list[MetricValue]:
        """`correct`, 0 or 1."""
        return verified_marks(reply)
