"""tiny-geneval: GenEval's six tasks in the tiny world, judged by GenEval's own rules.

The world's checker stands where GenEval has Mask2Former and CLIP. A task has ten prompts, except
single_object, which has one for each of the four shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Fact,
    Item,
    Judge,
    MetricValue,
    Painted,
    seed_for,
)
from pairuni_eval.api.scorers import geneval_marks, geneval_reference, object_facts
from pairuni_eval.api.tiny import (
    COLORS,
    SHAPES,
    Row,
    Scene,
    detect,
    detect_all,
    geneval_benchmark,
    observed,
    read,
    render,
)

if TYPE_CHECKING:
    from PIL import Image

_PER_TAG = 10


class TinyGenEval(Benchmark):
    """See the module docstring."""

    companions: ClassVar[tuple[str, ...]] = ("tiny-geneval-more",)
    asks_choices = True

    def samples(self, data: Data) -> Iterator[Item]:
        """The same prompts every time."""
        for number, row in enumerate(self.prompts()):
            yield self.item(
                key=f"{number:05d}",
                parts=(row["prompt"],),
                reference=row,
                tags={"task": row["tag"]},
            )

    def prompts(self) -> Sequence[Row]:
        """The rows of the prompts."""
        return tiny_geneval_rows()

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """`correct` of every picture."""
        found = detect_all([answer.image for answer in answers])
        for answer, detections in zip(answers, found, strict=True):
            yield geneval_marks(answer.sample.reference, observed(detections))

    def facts(self, painted: Sequence[Painted], *, seed: int) -> Iterator[list[Fact]]:
        """What the world's checker finds in each picture."""
        for answer, _ in painted:
            sample, draw = answer.sample, answer.output.draw
            yield object_facts(
                sample.reference,
                observed(detect(answer.image)),
                classes=SHAPES,
                colors=COLORS,
                seed=seed_for(seed, sample.key, draw, "facts"),
            )

    def drawn_anew(self, answer: Answer) -> Image.Image:
        """What the checker reads in a picture, drawn anew; what it cannot read becomes ground."""
        return render(Scene(read(answer.image).things))

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """A prompt whose facts hold GenEval's metadata as `row`."""
        return geneval_reference(facts)


def tiny_geneval_rows() -> list[Row]:
    """The rows of tiny-geneval."""
    seed = seed_for(0, "tiny-geneval", 0, "samples")
    return geneval_benchmark(per_tag=_PER_TAG, seed=seed)
