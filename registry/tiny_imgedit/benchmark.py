"""tiny-imgedit: ImgEdit's schema and rubric for edits of tiny scenes: add, remove, replace, adjust.

The programmatic judge `tiny` answers in ImgEdit's reply form and the official rubric code reads it.
Beside the score of 1 to 5 stands `success`: the asked change happened and nothing else did.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import msgspec

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Item,
    Judge,
    Mark,
    Picture,
    Question,
    Status,
    Verdict,
    seed_for,
)
from pairuni_eval.scorers.rubric import imgedit_marks
from pairuni_eval.tiny.edits import Edit, imgedit_rows, satisfied
from pairuni_eval.tiny.world import read, render

_PER_TYPE = 20


class TinyImgEdit(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:  # noqa: ARG002 - made here
        """The same edits every time."""
        rng = random.Random(seed_for(0, self.card.name, 0, "samples"))
        for key, row, scene, edit in imgedit_rows(rng, per_type=_PER_TYPE):
            yield self.item(
                key=key,
                parts=(Picture.from_image(render(scene)), row["prompt"]),
                reference={"edit": asdict(edit)},
                tags={"edit_type": row["edit_type"]},
            )

    def score(
        self,
        answers: Sequence[Answer],
        *,
        protocol: str,  # noqa: ARG002 - there is one
        judge: Judge | None,
    ) -> Iterator[list[Mark]]:
        """`score` (1 to 5, from the judge) and `success` (0 or 1, exact) of every edit."""
        for answer in answers:
            if answer.output.image is None:
                missing = Status.MISSING_OUTPUT
                marks = imgedit_marks(Verdict("no picture", missing), None)
                yield [*marks, Mark("success", None, missing, "no picture")]
                continue
            verdict, snapshot = Verdict("no judge", Status.SKIPPED), None
            if judge is not None:
                verdict, snapshot = judge.ask([_question(answer)])[0], judge.snapshot
            yield [*imgedit_marks(verdict, snapshot), _success(answer)]


def _question(answer: Answer) -> Question:
    facts = {"edit": answer.sample.reference["edit"]}
    prompt = f"The second picture is the first one after this edit: {answer.sample.text}"
    return Question(prompt, (*answer.source_images, answer.image), facts)


def _success(answer: Answer) -> Mark:
    edit = msgspec.convert(answer.sample.reference["edit"], Edit)
    right = satisfied(read(answer.source_images[0]), read(answer.image), edit)
    return Mark("success", float(right))
