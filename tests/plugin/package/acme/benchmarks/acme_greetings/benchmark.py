"""Four people to greet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Item,
    Judge,
    MetricValue,
    Question,
    Sample,
    Status,
)

_PEOPLE = ("Ada", "Emmy", "Grace", "Sofja")


class Greetings(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """One greeting a person."""
        for name in _PEOPLE:
            yield self.item(
                key=name, parts=(f"Greet {name}.",), reference={"answer": f"Hello {name}!"}
            )

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """`correct` by rule, `warmth` by the judge."""
        if judge is None:
            raise ValueError("a greeting needs a judge")
        verdicts = judge.ask([Question(answer.text, (), {}) for answer in answers])
        for answer, verdict in zip(answers, verdicts, strict=True):
            right = answer.text == answer.sample.reference["answer"]
            warm = float(verdict.text) if verdict.status is Status.SCORED else None
            yield [
                MetricValue("correct", float(right)),
                MetricValue("warmth", warm, verdict.status, verdict.text, judge.snapshot),
            ]

    def gold(self, sample: Sample) -> str:
        """The polite form."""
        return str(sample.reference["answer"])
