"""tiny-pope: POPE's schema, prompt and scorer on held-out scenes of the tiny world.

Every scene is asked about two things in each split (POPE: six), one that it has and one that it
lacks. As with POPE itself, a question that several splits share is asked once.
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
from pairuni_eval.api.prompts import pope_prompt
from pairuni_eval.api.scorers import pope_marks, yes_no_reference
from pairuni_eval.api.tiny import POPE_SPLITS, pope_rows, pope_scenes

_SCENES = 60
_PER_SCENE = 6
_KEPT = 2


class TinyPope(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """The same questions every time, scene by scene."""
        for (image, text), rows in sorted(self._questions().items()):
            splits = sorted(rows)
            row = rows[splits[0]]
            yield self.item(
                key=",".join(f"{split}/{rows[split]['question_id']}" for split in splits),
                parts=(Picture.from_image(row["picture"]), pope_prompt(text)),
                reference={"answer": row["label"]},
                unit=image,
                tags={"split": ",".join(splits), "label": row["label"]},
            )

    def _questions(self) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
        """Per image and question, the row of each split that asks it."""
        rng = random.Random(seed_for(0, self.card.name, 0, "samples"))
        scenes = pope_scenes(rng, _SCENES)
        asked: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for split in POPE_SPLITS:
            for number, (row, _) in enumerate(pope_rows(rng, split, scenes=scenes)):
                if number % _PER_SCENE < _KEPT:
                    asked.setdefault((row["image"], row["text"]), {})[split] = row
        return asked

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`correct` and `said_yes` of the answer."""
        return pope_marks(answer.text, answer.sample.reference["answer"], protocol)

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """A question whose right answer is yes or no."""
        return yes_no_reference(answer or "")

    def gold(self, sample: Sample) -> str:
        """The gold word."""
        return str(sample.reference["answer"])
