"""tiny-wise: WISE's schema, rubric and weights for knowledge prompts about the tiny world.

The programmatic judge `tiny` answers in WISE's reply form and the official rubric code reads it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Item,
    Judge,
    Mark,
    Question,
    consult,
    seed_for,
)
from pairuni_eval.scorers.rubric import wise_marks
from pairuni_eval.tiny.prompts import CATEGORIES, KnowledgePrompt, knowledge_prompts

_PER_CATEGORY = 10


class TinyWise(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """The same prompts every time, category by category."""
        rng = random.Random(seed_for(0, self.card.name, 0, "samples"))
        for category in CATEGORIES:
            prompts = knowledge_prompts(category)
            chosen = sorted(rng.sample(range(len(prompts)), _PER_CATEGORY))
            yield from (self._item(category, prompts[number]) for number in chosen)

    def _item(self, category: str, prompt: KnowledgePrompt) -> Item:
        row, target = prompt
        return self.item(
            key=str(row["prompt_id"]),
            parts=(row["Prompt"],),
            reference={"explanation": row["Explanation"], "target": asdict(target)},
            tags={"category": category, "subcategory": row["Subcategory"]},
        )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[Mark]:
        """The three criteria and `wiscore` of the picture."""
        ruling = consult(judge, _question(answer))
        return wise_marks(ruling.verdict, ruling.snapshot)


def _question(answer: Answer) -> Question:
    reference = answer.sample.reference
    prompt = f"Does the picture show this? {answer.sample.text} ({reference['explanation']})"
    return Question(prompt, (answer.image,), {"target": reference["target"]})
