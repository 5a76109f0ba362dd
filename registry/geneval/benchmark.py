"""GenEval's 553 prompts, four pictures each, from the metadata file shipped beside the card.

The rules are in `scorers/objects.py`. They need a detector; until one is at hand every picture is
marked as skipped, for a picture that nobody looked at has no score.
"""

from __future__ import annotations

from collections.abc import Iterator

from pairuni_eval.api import Answer, Benchmark, Data, Item, Judge, Mark
from pairuni_eval.scorers.objects import Detector, geneval_marks


class GenEval(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample a prompt; the key is the folder name that GenEval's scripts use."""
        for number, row in enumerate(data.jsonl_rows()):
            yield self.item(
                key=f"{number:05d}",
                parts=(row["prompt"],),
                reference=row,
                tags={"task": row["tag"]},
            )

    def detector(self) -> Detector | None:
        """What looks at the pictures; None while there is none."""
        return None

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[Mark]:
        """`correct` of the picture."""
        detector = self.detector()
        sight = detector(answer.image) if detector else None
        return geneval_marks(answer.sample.reference, sight)
