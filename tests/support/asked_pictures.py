"""Pictures of a faulty painter, what `self:` benchmarks ask about them, and marks of answers."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console

from pairuni_eval.benchmark import Answer
from pairuni_eval.catalog import load_benchmark
from pairuni_eval.prompts import YES_NO_REQUEST
from pairuni_eval.records import Item, Output, TextPart
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.self_consistency.benchmark import SelfBenchmark
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate, rows_within
from pairuni_eval.stats.intervals import Estimate, estimate
from pairuni_eval.tiny.world import Scene, read
from support.tiny_painters import FaultyPainter


class Asked(NamedTuple):
    """A question and what its picture shows."""

    item: Item
    scene: Scene


def silent() -> Console:
    return Console(file=io.StringIO())


def drawn(folder: Path, painter: FaultyPainter, *, seed: int = 0, limit: int | None = None) -> Path:
    settings = RunSettings(
        checkpoint="painter",
        out=folder,
        benchmarks=("tiny-geneval",),
        seed=seed,
        limit=limit,
        batch_size=512,
    )
    return measure(settings, silent(), painter)


@cache
def plain(name: str) -> SelfBenchmark:
    """A benchmark without pictures: for its card and its marks."""
    benchmark = load_benchmark(name)
    assert isinstance(benchmark, SelfBenchmark)
    return benchmark


def opened(name: str, painter: Path, control: Path | None = None) -> SelfBenchmark:
    benchmark = load_benchmark(name)
    assert isinstance(benchmark, SelfBenchmark)
    benchmark.read_from(painter, control, device="cpu")
    return benchmark


def asked_about(name: str, painter: Path) -> list[Asked]:
    """Every question about a run's pictures."""
    benchmark = opened(name, painter)
    items = benchmark.samples(benchmark.data(None))
    return [Asked(one, read(Image.open(io.BytesIO(one.pictures[0].data)))) for one in items]


def question(item: Item) -> str:
    return item.sample.text.removesuffix(YES_NO_REQUEST)


def marked(
    name: str, asked: Sequence[Asked], answer: Callable[[Item, Scene], str]
) -> dict[str, GradedRows]:
    """The rows of every score metric, as a benchmark marks these answers."""
    benchmark = plain(name)
    (protocol,) = benchmark.card.protocols
    values: dict[str, list[float]] = {}
    for item, scene in asked:
        part = TextPart(answer(item, scene))
        output = Output(id="o", sample="s", draw=0, seed=0, decoding="d", parts=(part,))
        graded = Answer(item.sample, output, {}.__getitem__)
        for mark in benchmark.mark(graded, protocol=protocol, judge=None):
            value = math.nan if mark.value is None else mark.value
            values.setdefault(mark.metric, []).append(value)
    samples = [one.item.sample for one in asked]
    frame = pd.DataFrame([sample.tags for sample in samples])
    tags = {tag: pd.Categorical(frame[tag]) for tag in frame}
    unit = pd.factorize(np.array([sample.unit for sample in samples]))[0]
    draw = np.zeros(len(samples), dtype=np.int64)
    return {
        metric: GradedRows(np.array(column), unit, draw, tags) for metric, column in values.items()
    }


def number_of(name: str, rows: dict[str, GradedRows], metric: str, **where: str) -> Estimate:
    """A number of the benchmark's card, within groups."""
    (protocol,) = plain(name).card.protocols.values()
    spec = protocol.metric(metric)
    mine = rows_within(rows[spec.of], {**spec.where, **where})
    return estimate(make_aggregate(spec, mine), mine)


def holds(found: Estimate, value: float) -> bool:
    assert found.interval is not None
    return found.interval.low <= value <= found.interval.high
