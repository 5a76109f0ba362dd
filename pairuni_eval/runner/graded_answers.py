"""A benchmark graded on made-up answers, one for each sample, without a model.

Texts are given by the caller. Pictures are of a kind that shows nothing: a gray blank, uniform
noise, smooth patches of random colors. Pictures that a sample asks about are its own.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from pairuni_eval.benchmark import Answer, Benchmark, MetricValue
from pairuni_eval.cards import MetricSpec, ProtocolSpec
from pairuni_eval.errors import DatasetError
from pairuni_eval.judges.judge import Judge
from pairuni_eval.pictures import read_rgb
from pairuni_eval.records import ImagePart, Output, Part, Sample, Status, TextPart, output_id
from pairuni_eval.seeds import seed_for
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate, rows_within

_GRAY = (128, 128, 128)
_SIZE = (256, 256)
_PATCHES = 5  # colors along a side
_MADE_UP = "made-up"

Sources = Mapping[str, bytes]
"""The pictures of samples, encoded, by their ids."""


class GradedAnswers(NamedTuple):
    """Samples with what one answer each is worth under one protocol."""

    samples: Sequence[Sample]
    metrics: Sequence[Mapping[str, MetricValue]]
    rule: ProtocolSpec

    @property
    def verdict_metric(self) -> str:
        """The score metric that says whether an answer is right; needs at least one sample."""
        return (
            "correct" if "correct" in self.metrics[0] else self.rule.metric(self.rule.headline).of
        )

    def values(self, metric: str) -> list[float | None]:
        """The values of a score metric, unparsed ones as the protocol counts them."""
        wrong = 0.0 if self.rule.unparsed == "wrong" else None
        found = [row.get(metric) for row in self.metrics]
        return [
            None if one is None else wrong if one.status is Status.UNPARSED else one.value
            for one in found
        ]

    def statuses(self, metric: str) -> str:
        """How often each status occurs, in words."""
        counts = Counter(str(row[metric].status) for row in self.metrics if metric in row)
        return ", ".join(f"{n} {status}" for status, n in counts.most_common()) or "no values"

    def number(self, spec: MetricSpec) -> float | None:
        """What a metric of the card makes of the answers, unscaled; None if it makes no number."""
        rows = self._rows(spec)
        aggregate = make_aggregate(spec, rows)
        number = float(aggregate.finish(aggregate.features(rows).sum(axis=0)))
        return number if np.isfinite(number) else None

    def _rows(self, spec: MetricSpec) -> GradedRows:
        """The answers as columns, restricted to the rows that the metric is about."""
        value = np.array(self.values(spec.of), dtype=np.float64)
        names = {tag for sample in self.samples for tag in sample.tags}
        tags = {n: np.array([s.tags.get(n, "") for s in self.samples], dtype=object) for n in names}
        unit = pd.factorize(np.array([sample.unit for sample in self.samples], dtype=object))[0]
        draw = np.zeros(len(self.samples), dtype=np.int64)
        return rows_within(GradedRows(value, unit.astype(np.int64), draw, tags), spec.where)


def grade_texts(
    benchmark: Benchmark, protocol: str, answers: Sequence[tuple[Sample, str]]
) -> GradedAnswers:
    """Grade an answer in text for each of the samples."""
    return _graded(
        benchmark, protocol, [_answer(sample, TextPart(text)) for sample, text in answers]
    )


def grade_pictures(
    benchmark: Benchmark,
    protocol: str,
    samples: Sequence[Sample],
    kind: str,
    *,
    sources: Sources,
    judge: Judge | None = None,
) -> GradedAnswers:
    """Grade a picture that shows nothing for each of the samples.

    Args:
        benchmark: The benchmark, equipped.
        protocol: The rule.
        samples: What the pictures stand for.
        kind: One of `NOTHINGS`.
        sources: The samples' own pictures.
        judge: Asked where the rule needs one; without it such rows are skipped.
    """
    made = NOTHINGS[kind]

    def load(image: str, sample: Sample) -> Image.Image:
        if image == _MADE_UP:
            return made(np.random.default_rng(seed_for(0, sample.uid, 0, kind)))
        return read_rgb(io.BytesIO(sources[image]), DatasetError)

    answers = [_answer(sample, ImagePart(_MADE_UP), load) for sample in samples]
    return _graded(benchmark, protocol, answers, judge)


def _blank(rng: np.random.Generator) -> Image.Image:  # noqa: ARG001
    return Image.new("RGB", _SIZE, _GRAY)


def _noise(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (*_SIZE, 3), dtype=np.uint8))


def _patches(rng: np.random.Generator) -> Image.Image:
    colors = Image.fromarray(rng.integers(0, 256, (_PATCHES, _PATCHES, 3), dtype=np.uint8))
    return colors.resize(_SIZE, Image.Resampling.BICUBIC)


NOTHINGS: Mapping[str, Callable[[np.random.Generator], Image.Image]] = {
    "blank picture": _blank,
    "noise": _noise,
    "color patches": _patches,
}
"""Pictures that show nothing, each made from the numbers of one sample."""


def _graded(
    benchmark: Benchmark, protocol: str, answers: Sequence[Answer], judge: Judge | None = None
) -> GradedAnswers:
    graded = benchmark.score_under(answers, protocol=protocol, judge=judge) if answers else ()
    rows = [{one.metric: one for one in row} for row in graded]
    samples = [answer.sample for answer in answers]
    return GradedAnswers(samples, rows, benchmark.card.protocols[protocol])


def _answer(
    sample: Sample, part: Part, load: Callable[[str, Sample], Image.Image] | None = None
) -> Answer:
    made = Output(
        id=output_id(sample.uid, 0, _MADE_UP),
        sample=sample.uid,
        draw=0,
        seed=0,
        decoding=_MADE_UP,
        parts=(part,),
    )
    if load is None:  # a rule of texts that looks at the sample's pictures sees gray ones
        return Answer(sample, made, lambda _: Image.new("RGB", _SIZE, _GRAY))
    return Answer(sample, made, lambda image: load(image, sample))
