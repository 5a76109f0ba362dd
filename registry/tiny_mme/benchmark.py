"""tiny-mme: MME's schema, prompt and scorer on held-out scenes of the tiny world.

Each image has two questions, one answered yes and one no; they form the pair behind MME's
accuracy+.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
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
from pairuni_eval.api.prompts import mme_prompt
from pairuni_eval.api.scorers import MME_PERCEPTION, mme_marks, yes_no_reference
from pairuni_eval.api.tiny import mme_rows

_IMAGES_PER_KIND = 20


class TinyMME(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """The same rows every time, the two questions of an image one after the other."""
        rng = random.Random(seed_for(0, self.card.name, 0, "samples"))
        for row, _ in mme_rows(rng, images_per_kind=_IMAGES_PER_KIND):
            answer, category = row["answer"].lower(), row["category"]
            area = "perception" if category in MME_PERCEPTION else "cognition"
            yield self.item(
                key=f"{row['question_id']}:{answer}",
                parts=(Picture.from_image(row["image"]), mme_prompt(row["question"])),
                reference={"answer": row["answer"]},
                unit=row["question_id"],
                tags={"category": category, "area": area, "label": answer},
            )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`correct` of the answer."""
        return mme_marks(answer.text, answer.sample.reference["answer"], protocol)

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """A question whose right answer is yes or no."""
        return yes_no_reference(answer or "")

    def gold(self, sample: Sample) -> str:
        """The gold word."""
        return str(sample.reference["answer"])
