"""MMStar from its parquet file: 1500 questions with inline options, six categories of 250.

Columns: index, question, image, answer, category, l2_category, meta_info.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pairuni_eval.api import Answer, Benchmark, Data, Item, Judge, MetricValue, Sample
from pairuni_eval.api.prompts import mmstar_prompt
from pairuni_eval.api.scorers import MMSTAR_LETTERS, inline_options, mmstar_marks, mmstar_reference

_COLUMNS = ("index", "question", "image", "answer", "category", "l2_category", "meta_info")


class MMStar(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample a row."""
        for row in data.parquet_rows(_COLUMNS):
            question, about = row.text("question"), row["meta_info"]
            source = about.get("source") if isinstance(about, dict) else None
            yield self.item(
                key=str(row["index"]),
                parts=(data.picture_of(row, "image"), mmstar_prompt(question)),
                reference={
                    "answer": row.text("answer"),
                    "options": inline_options(question),
                },
                tags={
                    "category": row.text("category"),
                    "l2_category": row.text("l2_category"),
                    "source": str(source or ""),
                },
            )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`correct` of the answer."""
        reference = answer.sample.reference
        return mmstar_marks(answer.text, reference["answer"], protocol, reference["options"])

    def option_letters(self, sample: Sample) -> Collection[str]:
        """Those that the question lists, else A to D."""
        return tuple(sample.reference["options"]) or MMSTAR_LETTERS

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """A question whose right answer is A to D."""
        return mmstar_reference(request, answer or "")

    def gold(self, sample: Sample) -> str:
        """The gold letter."""
        return str(sample.reference["answer"])
