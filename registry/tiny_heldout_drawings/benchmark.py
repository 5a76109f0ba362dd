"""tiny-heldout-drawings: what training has taught, asked for by prompts that no source draws.

New skills are pairs of names of which no training source has either order, common ones prompts of
GenEval's six kinds that are held out as well. The rule is strict: a picture holds exactly what was
asked for. tiny-tuning-drawings has the same rule for prompts of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pairuni_eval.api import Answer, Benchmark, Data, Item, Judge, MetricValue, seed_for
from pairuni_eval.api.tiny import Split, drawing_flaws, prompt_row, split_prompts


class TinyHeldoutDrawings(Benchmark):
    """See the module docstring.

    Attributes:
        split: Whose prompts it asks.
        sizes: How many prompts, as in `split_prompts`.
    """

    split: ClassVar[Split] = "heldout"
    sizes: ClassVar[Mapping[str, int]] = {"new": 74, "common": 74}

    def samples(self, data: Data) -> Iterator[Item]:
        """The same prompts every time, all kinds mixed."""
        rng = random.Random(seed_for(0, self.card.name, 0, "samples"))
        prompts = list(split_prompts(rng, self.split, **self.sizes))
        for one in rng.sample(prompts, len(prompts)):
            yield self.item(
                key=one.row["prompt"],
                parts=(one.row["prompt"],),
                reference=one.row,
                tags={
                    "skill": one.skill,
                    "kind": one.row["tag"],
                    "concept": ",".join(one.concepts) or "none",
                },
            )

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """`correct` of every picture."""
        rows = [answer.sample.reference for answer in answers]
        for flaw in drawing_flaws(rows, [answer.image for answer in answers]):
            yield [MetricValue("correct", float(flaw is None), verdict=flaw)]

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """What a picture for a training prompt is graded by: the row that the prompt words."""
        return prompt_row(request)
