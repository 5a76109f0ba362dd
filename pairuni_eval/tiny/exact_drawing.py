"""The strict rule for drawings: a picture shows exactly what a prompt asks for.

GenEval's rule looks for what was asked and lets everything else pass. Here the picture holds as
many things as the prompt asks for and no others, every one of them fills a part of the prompt, and
no cell is garbled. Things that share a class are told apart by their colors, so the rule also holds
for two names of one shape; where a prompt leaves a color free, any will do. Positions are GenEval's
(`questions.sides`). It is defined for every row of `prompts`, `name_prompts` and `knowledge`; what
a row bars (`exclude`) needs no look, for a count is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import permutations
from typing import TYPE_CHECKING, Any

from pairuni_eval.tiny.name_prompts import name_rows
from pairuni_eval.tiny.prompts import TAGS, Row, geneval_rows
from pairuni_eval.tiny.questions import sides
from pairuni_eval.tiny.world import Scene, Thing, read_all

if TYPE_CHECKING:
    from PIL.Image import Image


def exact_flaw(row: Row, scene: Scene) -> str | None:
    """Why a scene is not exactly what a row asks for; None if it is.

    Args:
        row: A row with GenEval's `include`: classes, counts, perhaps colors and positions.
        scene: What a picture shows, garbled cells included.
    """
    asked = sum(entry["count"] for entry in row["include"])
    if scene.garbled:
        return f"garbled cells: {len(scene.garbled)}"
    if len(scene.things) != asked:
        return f"{len(scene.things)} things, {asked} asked for"
    entries = [place for place, entry in enumerate(row["include"]) for _ in range(entry["count"])]
    if any(_fills(row["include"], entries, order) for order in permutations(scene.things)):
        return None
    return f"not what was asked for: {', '.join(thing.name for thing in scene.things)}"


@cache
def _rows() -> dict[str, Row]:
    plain = {row["prompt"]: row for tag in TAGS for row in geneval_rows(tag)}
    return plain | name_rows()


def prompt_row(prompt: str) -> Row | None:
    """The row of a prompt of GenEval's six kinds or of names; None for other words."""
    return _rows().get(prompt)


def drawing_flaws(rows: Sequence[Row], pictures: Sequence[Image]) -> list[str | None]:
    """`exact_flaw` of what each picture shows."""
    return [exact_flaw(row, scene) for row, scene in zip(rows, read_all(pictures), strict=True)]


def _fills(
    include: Sequence[dict[str, Any]], entries: Sequence[int], things: Sequence[Thing]
) -> bool:
    """Whether things in this order are what the entries ask for, one after the other."""
    if not all(
        thing.shape == include[place]["class"]
        and include[place].get("color", thing.color) == thing.color
        for place, thing in zip(entries, things, strict=True)
    ):
        return False
    filled = list(zip(entries, things, strict=True))
    return all(
        _stands(include[place]["position"], thing, filled)
        for place, thing in filled
        if "position" in include[place]
    )


def _stands(position: Sequence[Any], thing: Thing, filled: Sequence[tuple[int, Thing]]) -> bool:
    """Whether a thing stands as asked to every thing of the entry that it is placed by."""
    relation, anchor = position
    side = relation.removesuffix(" of")
    return all(side in sides(thing, other) for place, other in filled if place == anchor)
