"""tiny-mmstar: MMStar's schema, prompt and scorer on held-out scenes of the tiny world."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Item,
    Judge,
    MetricValue,
    Picture,
    Sample,
    seed_for,
)
from pairuni_eval.api.prompts import mmstar_prompt
from pairuni_eval.api.scorers import MMSTAR_LETTERS, mmstar_marks, mmstar_reference
from pairuni_eval.api.tiny import mmstar_rows

_PER_CATEGORY = 34


class TinyMMStar(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """The same rows every time."""
        rng = random.Random(seed_for(0, self.card.name, 0, "samples"))
        for row, _ in mmstar_rows(rng, per_category=_PER_CATEGORY):
            yield self.item(
                key=str(row["index"]),
                parts=(Picture.from_image(row["image"]), mmstar_prompt(row["question"])),
                reference={"answer": row["answer"]},
                tags={"category": row["category"], "l2_category": row["l2_category"]},
            )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`correct` of the answer."""
        return mmstar_marks(answer.text, answer.sample.reference["answer"], protocol)

    def option_letters(self, sample: Sample) -> Collection[str]:
        """A to D."""
        return MMSTAR_LETTERS

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """A question whose right answer is A to D."""
        return mmstar_reference(request, answer or "")

    def gold(self, sample: Sample) -> str:
        """The gold letter."""
        return str(sample.reference["answer"])
