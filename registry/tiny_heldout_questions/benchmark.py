"""tiny-heldout-questions: what training has taught, asked about scenes that no training source has.

New skills are made-up names, common ones the kinds of the other tiny benchmarks. The rule reads the
final answer, so that a model may say first what a name stands for: what it says after its thought
is compared with the gold word or letter as a whole. tiny-tuning-questions has the same rule on
scenes of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Item,
    Judge,
    MetricValue,
    Picture,
    Sample,
    Status,
    seed_for,
)
from pairuni_eval.api.scorers import final_answer, same_answer
from pairuni_eval.api.tiny import Split, render, split_questions


class TinyHeldoutQuestions(Benchmark):
    """See the module docstring.

    Attributes:
        split: Whose scenes it asks about.
        sizes: How many questions, as in `split_questions`.
    """

    split: ClassVar[Split] = "heldout"
    sizes: ClassVar[Mapping[str, int]] = {"rounds": 3, "per_choice": 20, "per_statement": 30}

    def samples(self, data: Data) -> Iterator[Item]:
        """The same questions every time, each about a scene of its own, all kinds mixed."""
        rng = random.Random(seed_for(0, self.card.name, 0, "samples"))
        questions = list(split_questions(rng, self.split, **self.sizes))
        for one in rng.sample(questions, len(questions)):
            yield self.item(
                key=one.key,
                parts=(Picture.from_image(render(one.scene)), one.text),
                reference={"answer": one.answer},
                tags={
                    "skill": one.skill,
                    "kind": one.kind,
                    "form": one.form,
                    "concept": ",".join(one.concepts) or "none",
                    "label": one.answer,
                },
            )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`correct` of the final answer."""
        said = final_answer(answer.text)
        if not said:
            return [MetricValue("correct", None, Status.UNPARSED, "no final answer")]
        right = same_answer(said, answer.sample.reference["answer"])
        return [MetricValue("correct", float(right), verdict=said)]

    def gold(self, sample: Sample) -> str:
        """The gold word or letter."""
        return str(sample.reference["answer"])

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """What an answer to a training question is graded by: its gold word or letter."""
        return None if answer is None else {"answer": answer}
