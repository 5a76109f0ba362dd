"""A judge with replies written in the test, and answers with pictures to hand it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from pairuni_eval.benchmark import Answer, Benchmark, MetricValue
from pairuni_eval.catalog import load_benchmark
from pairuni_eval.data import Data
from pairuni_eval.errors import DatasetError
from pairuni_eval.judges.judge import Judge, JudgeReply, Question
from pairuni_eval.records import ImagePart, Item, Output, Picture

Reply = str | JudgeReply


class WrittenJudge(Judge):
    """Answers each question by a function of it, and keeps the batches of questions."""

    snapshot = "written/1"

    def __init__(self, reply: Callable[[Question], Reply]) -> None:
        self.batches: list[list[Question]] = []
        self._reply = reply

    def ask(self, questions: Sequence[Question]) -> list[JudgeReply]:
        self.batches.append(list(questions))
        replies = [self._reply(question) for question in questions]
        return [reply if isinstance(reply, JudgeReply) else JudgeReply(reply) for reply in replies]

    @property
    def calls(self) -> list[tuple[str, int]]:
        """Key and attempt of every question, in order."""
        return [(q.facts["key"], q.attempt) for batch in self.batches for q in batch]


def ready(name: str, folder: Path) -> tuple[Benchmark, list[Item]]:
    """A benchmark with its samples from a folder, equipped to grade."""
    benchmark = load_benchmark(name)
    data = Data(benchmark.card, benchmark.folder, folder)
    items = list(benchmark.samples(data))
    benchmark.equip(data, device="cpu")
    return benchmark, items


def drawn(item: Item, image: Image.Image) -> Answer:
    """A picture in answer to a sample; pictures without bytes cannot be loaded."""
    picture = Picture.from_image(image)
    shelf = {one.id: one.data for one in (*item.pictures, picture)}

    def load(key: str) -> Image.Image:
        if not shelf[key]:
            raise DatasetError("the image is missing from the dataset row")
        return Image.open(io.BytesIO(shelf[key])).convert("RGB")

    parts = (ImagePart(picture.id),)
    output = Output(id="o", sample=item.sample.uid, draw=0, seed=0, decoding="d", parts=parts)
    return Answer(item.sample, output, load)


def marked(
    benchmark: Benchmark, answers: Sequence[Answer], judge: Judge | None, protocol: str
) -> list[dict[str, MetricValue]]:
    """The marks of every answer by metric."""
    scored = benchmark.score(answers, protocol=protocol, judge=judge)
    return [{mark.metric: mark for mark in marks} for marks in scored]
