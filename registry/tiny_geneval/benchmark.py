"""tiny-geneval: GenEval's six tasks in the tiny world, judged by GenEval's own rules.

The world's checker stands where GenEval has Mask2Former and CLIP. A task has ten prompts, except
single_object, which has one for each of the four shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pairuni_eval.api import Answer, Benchmark, Data, Item, Judge, MetricValue, seed_for
from pairuni_eval.api.scorers import CountedObject, Observation, geneval_marks
from pairuni_eval.api.tiny import Detection, detect, geneval_benchmark

if TYPE_CHECKING:
    from PIL import Image

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
        return geneval_marks(answer.sample.reference, _look(answer.image))


def _look(picture: Image.Image) -> Observation:
    """What the checker sees, in a detector's form: boxes and scores per shape, colors at hand."""
    by_shape: dict[str, list[Detection]] = {}
    for thing in detect(picture):
        by_shape.setdefault(thing.shape, []).append(thing)

    def color_of(shape: str, found: Sequence[CountedObject]) -> list[str]:
        return [by_shape[shape][one.place].color for one in found]

    rows = {shape: [(*one.box, one.score) for one in them] for shape, them in by_shape.items()}
    return Observation(rows, color_of)
