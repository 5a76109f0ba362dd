"""tiny-mmstar: MMStar's schema, prompt and scorer on held-out scenes of the tiny world."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from pairuni_eval.api import Answer, Benchmark, Data, Item, Judge, Mark, Picture, Sample, seed_for
from pairuni_eval.prompts import mmstar_prompt
from pairuni_eval.scorers.choice import mmstar_marks
from pairuni_eval.tiny.questions import mmstar_rows

_PER_CATEGORY = 34


class TinyMMStar(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:  # noqa: ARG002 - made here
        """The same rows every time."""
        rng = random.Random(seed_for(0, self.card.name, 0, "samples"))
        for row, _ in mmstar_rows(rng, per_category=_PER_CATEGORY):
            yield self.item(
                key=str(row["index"]),
                parts=(Picture.from_image(row["image"]), mmstar_prompt(row["question"])),
                reference={"answer": row["answer"]},
                tags={"category": row["category"], "l2_category": row["l2_category"]},
            )

    def score(
        self,
        answers: Sequence[Answer],
        *,
        protocol: str,
        judge: Judge | None,  # noqa: ARG002 - no judge here
    ) -> Iterator[list[Mark]]:
        """`correct` of every answer."""
        for answer in answers:
            yield mmstar_marks(answer.text, answer.sample.reference["answer"], protocol)

    def gold(self, sample: Sample) -> str:
        """The gold letter."""
        return str(sample.reference["answer"])
