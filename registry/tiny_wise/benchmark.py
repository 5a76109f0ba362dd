"""tiny-wise: WISE's schema, rubric and weights for knowledge prompts about the tiny world.

The prompts put facts that the tiny model was taught one by one into pictures that it was not
taught. The programmatic judge `tiny` answers in WISE's reply form and the official rubric code
reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Fact,
    Item,
    Judge,
    MetricValue,
    Painted,
    Question,
    consult,
)
from pairuni_eval.api.scorers import knowledge_facts, wise_category, wise_marks
from pairuni_eval.api.tiny import KnowledgePrompt, knowledge_benchmark


class TinyWise(Benchmark):
    """See the module docstring."""

    right = ("consistency", 2.0)

    def samples(self, data: Data) -> Iterator[Item]:
        """The same prompts every time, category by category."""
        yield from map(self._item, knowledge_benchmark())

    def _item(self, prompt: KnowledgePrompt) -> Item:
        row = prompt.row
        return self.item(
            key=str(row["prompt_id"]),
            parts=(row["Prompt"],),
            reference={"explanation": row["Explanation"], "wanted": prompt.wanted},
            tags={
                "category": str(wise_category(row["prompt_id"])),
                "subcategory": row["Subcategory"],
                "kind": prompt.kind,
            },
        )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """The three criteria and `wiscore` of the picture."""
        return wise_marks(consult(judge, _question(answer)))

    def facts(self, painted: Sequence[Painted], *, seed: int) -> Iterator[list[Fact]]:
        """Whether each picture shows its prompt's explanation, as the judge found."""
        return knowledge_facts(painted, right=self.right, seed=seed)


def _question(answer: Answer) -> Question:
    reference = answer.sample.reference
    prompt = f"Does the picture show this? {answer.sample.text} ({reference['explanation']})"
    return Question(prompt, (answer.image,), {"wanted": reference["wanted"]})
