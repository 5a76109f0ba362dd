"""tiny-imgedit: ImgEdit's schema and rubric for edits of tiny scenes: add, remove, replace, adjust.

The programmatic judge `tiny` answers in ImgEdit's reply form and the official rubric code reads it.
Beside the score of 1 to 5 stands `success`: the asked change happened and nothing else did.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict

import msgspec

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Item,
    Judge,
    MetricValue,
    Picture,
    Question,
    consult,
    seed_for,
)
from pairuni_eval.api.scorers import imgedit_marks
from pairuni_eval.api.tiny import Edit, imgedit_rows, read, render, satisfied

_PER_TYPE = 20


class TinyImgEdit(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """The same edits every time."""
        rng = random.Random(seed_for(0, self.card.name, 0, "samples"))
        for key, row, scene, edit in imgedit_rows(rng, per_type=_PER_TYPE):
            yield self.item(
                key=key,
                parts=(Picture.from_image(render(scene)), row["prompt"]),
                reference={"edit": asdict(edit)},
                tags={"edit_type": row["edit_type"]},
            )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`score` (1 to 5, from the judge) and `success` (0 or 1, exact) of the edit."""
        return [*imgedit_marks(consult(judge, _question(answer))), _success(answer)]


def _question(answer: Answer) -> Question:
    facts = {"edit": answer.sample.reference["edit"]}
    prompt = f"The second picture is the first one after this edit: {answer.sample.text}"
    return Question(prompt, (*answer.source_images, answer.image), facts)


def _success(answer: Answer) -> MetricValue:
    edit = msgspec.convert(answer.sample.reference["edit"], Edit)
    right = satisfied(read(answer.source_images[0]), read(answer.image), edit)
    return MetricValue("success", float(right))
