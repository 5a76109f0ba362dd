"""tiny-geneval: GenEval's six tasks in the tiny world, judged by GenEval's own rules.

The world's checker stands where GenEval has Mask2Former and CLIP. A task has ten prompts, except
single_object, which has one for each of the four shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pairuni_eval.api import Answer, Benchmark, Data, Item, Judge, MetricValue, seed_for
from pairuni_eval.api.scorers import geneval_marks, geneval_reference
from pairuni_eval.api.tiny import detect, geneval_benchmark, observed

_PER_TAG = 10


class TinyGenEval(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """The same prompts every time."""
        seed = seed_for(0, self.card.name, 0, "samples")
        for number, row in enumerate(geneval_benchmark(per_tag=_PER_TAG, seed=seed)):
            yield self.item(
                key=f"{number:05d}",
                parts=(row["prompt"],),
                reference=row,
                tags={"task": row["tag"]},
            )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`correct` of the picture."""
        return geneval_marks(answer.sample.reference, observed(detect(answer.image)))

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """A prompt whose facts hold GenEval's metadata as `row`."""
        return geneval_reference(facts)
