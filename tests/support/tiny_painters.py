"""Painters and readers of the tiny world whose faults are known, as models of the product."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from PIL import Image

from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.records import Capability, ModelIdentity
from pairuni_eval.tiny.prompts import (
    PLURALS,
    TAGS,
    Row,
    counted_color_rows,
    geneval_rows,
    sample_scene,
)
from pairuni_eval.tiny.questions import sides
from pairuni_eval.tiny.world import COLORS, Scene, Thing, read, render

Reader = Callable[[Scene, str], bool]
"""Whether a question about a scene is answered with yes."""

_ROWS = {row["prompt"]: row for tag in TAGS for row in geneval_rows(tag)} | {
    row["prompt"]: row for row in counted_color_rows()
}
_SINGULAR = {word: shape for shape, word in PLURALS.items()}


class FaultyPainter(Model):
    """Draws what a prompt asks in the share `right` of pictures, else another count, color, place.

    Reads with `reader`, so that one model does both.
    """

    capabilities = frozenset({Capability.UNDERSTAND, Capability.GENERATE})

    def __init__(self, name: str, reader: Reader, *, right: float = 0.6) -> None:
        self.identity = ModelIdentity(adapter="painter", name=name, weights=f"{name} {right}")
        self._reader = reader
        self._right = right

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> FaultyPainter:
        raise NotImplementedError

    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(image=self._drawn(one)) for one in requests]

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(text=said(self._reader, one)) for one in requests]

    def _drawn(self, request: Request) -> Image.Image:
        rng, row = random.Random(request.seed), _ROWS[request.text]
        scene = sample_scene(rng, row)
        return render(scene if rng.random() < self._right else spoiled(rng, row, scene))


def said(reader: Reader, request: Request) -> str:
    """The answer to a request with one picture."""
    assert isinstance(request.parts[0], Image.Image)
    return "yes" if reader(read(request.parts[0]), request.text) else "no"


def spoiled(rng: random.Random, row: Row, scene: Scene) -> Scene:
    """A scene that misses one thing that a row asks."""
    thing = scene.things[0]
    if row["tag"] == "counting":
        if rng.random() < 0.5:
            return scene.without(*thing.cell)
        return scene.with_thing(Thing(thing.shape, thing.color, *rng.choice(scene.free_cells())))
    if row["tag"] in ("colors", "color_attr"):
        others = [color for color in COLORS if color != thing.color]
        beside = [one.color for one in scene.things[1:]] if rng.random() < 0.5 else []
        other = rng.choice(beside or others)
        return scene.with_thing(Thing(thing.shape, other, *thing.cell))
    if row["tag"] == "position":  # mirrored at the middle of both axes
        return Scene(tuple(Thing(t.shape, t.color, 3 - t.row, 3 - t.col) for t in scene.things))
    free = rng.choice(scene.without(*thing.cell).free_cells())
    shape = next(s for s in PLURALS if s not in {one.shape for one in scene.things})
    return scene.without(*thing.cell).with_thing(Thing(shape, thing.color, *free))


_ASKS: tuple[tuple[re.Pattern[str], Callable[[Scene, re.Match[str]], bool]], ...] = (
    (
        re.compile(r"Is there an? (\w+) in the image"),
        lambda scene, asked: bool(scene.select(shape=asked[1])),
    ),
    (
        re.compile(r"Is the number of (\w+) in the image (\d+)"),
        lambda scene, asked: len(scene.select(shape=_SINGULAR[asked[1]])) == int(asked[2]),
    ),
    (
        re.compile(r"Is the (\w+) (left|right|above|below)(?: of)? the (\w+)"),
        lambda scene, asked: any(
            asked[2] in sides(one, anchor)
            for one in scene.select(shape=asked[1])
            for anchor in scene.select(shape=asked[3])
        ),
    ),
    (
        re.compile(r"Is the (\w+) (\w+)\?"),
        lambda scene, asked: bool(scene.select(asked[1], asked[2])),
    ),
)


def oracle(scene: Scene, question: str) -> bool:
    """Answers every question by what the scene holds."""
    for pattern, answer in _ASKS:
        asked = pattern.match(question)
        if asked:
            return answer(scene, asked)
    raise AssertionError(f"no such question: {question}")


def red_for_green(scene: Scene, question: str) -> bool:
    """The oracle who takes green things for red ones."""
    taken = [
        Thing(t.shape, "red" if t.color == "green" else t.color, *t.cell) for t in scene.things
    ]
    return oracle(Scene(tuple(taken)), question)
