"""tiny-mmmu: MMMU's schema, prompt and scorer on held-out scenes of the tiny world.

Twelve kinds of question stand where MMMU has subjects; one question in seventeen is open, as in
MMMU's validation split.
"""

from __future__ import annotations

import ast
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
from pairuni_eval.api.prompts import mmmu_prompt
from pairuni_eval.api.scorers import choice_letters, mmmu_marks, mmmu_reference
from pairuni_eval.api.tiny import mmmu_rows

_PER_KIND = 17


class TinyMMMU(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """The same rows every time."""
        rng = random.Random(seed_for(0, self.card.name, 0, "samples"))
        for row, _ in mmmu_rows(rng, per_kind=_PER_KIND, open_share=1 / _PER_KIND):
            options = ast.literal_eval(row["options"])
            kind = row["question_type"]
            picture = Picture.from_image(row["image_1"])
            yield self.item(
                key=row["id"],
                parts=(picture, mmmu_prompt(row["question"], options)),
                reference={"answer": row["answer"], "options": options, "type": kind},
                tags={"subject": row["subfield"], "type": kind},
            )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`correct` and `guessed` of the answer."""
        sample = answer.sample
        return mmmu_marks(answer.text, sample.reference, sample.uid, protocol)

    def option_letters(self, sample: Sample) -> Collection[str]:
        """Those of a multiple-choice question."""
        return choice_letters(sample.reference)

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Options are read back from the question; without any it is an open one."""
        return mmmu_reference(request, answer or "")

    def gold(self, sample: Sample) -> str:
        """The gold letter, or the word of an open question."""
        return str(sample.reference["answer"])
