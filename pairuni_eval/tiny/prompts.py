"""Prompts that ask for pictures of the tiny world, and words for its scenes.

GenEval prompts follow the six kinds and the metadata schema of GenEval's
`evaluation_metadata.jsonl`: `tag`, `include`, for counting also `exclude`, `prompt`; counts are
two to four and the two things of a prompt differ in class, as there. `satisfies` is GenEval's
rule on detections, `facts_held` the same rule taken apart. The prompts are our own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import Any

from pairuni_eval.tiny.world import (
    CELLS,
    COLORS,
    GRID,
    SHAPES,
    Detection,
    Scene,
    Thing,
    detections_of,
)

Row = dict[str, Any]

TAGS: tuple[str, ...] = (
    "single_object",
    "two_object",
    "counting",
    "colors",
    "position",
    "color_attr",
)
RELATIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
NUMBERS: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five", "six")
COUNTS: tuple[int, ...] = (2, 3, 4)
PLURALS: dict[str, str] = {shape: f"{shape}s" for shape in SHAPES} | {"cross": "crosses"}


def with_article(words: str) -> str:
    """The words with "a" or "an" before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


# GenEval rows: every prompt of a kind, in a fixed order


def _single_object() -> Iterator[Row]:
    for shape in SHAPES:
        yield {
            "tag": "single_object",
            "include": [{"class": shape, "count": 1}],
            "prompt": f"a photo of {with_article(shape)}",
        }


def _two_object() -> Iterator[Row]:
    for first, second in permutations(SHAPES, 2):
        yield {
            "tag": "two_object",
            "include": [{"class": first, "count": 1}, {"class": second, "count": 1}],
            "prompt": f"a photo of {with_article(first)} and {with_article(second)}",
        }


def _counting() -> Iterator[Row]:
    for shape in SHAPES:
        for count in COUNTS:
            yield {
                "tag": "counting",
                "include": [{"class": shape, "count": count}],
                "exclude": [{"class": shape, "count": count + 1}],
                "prompt": f"a photo of {NUMBERS[count]} {PLURALS[shape]}",
            }


def _colors() -> Iterator[Row]:
    for shape in SHAPES:
        for color in COLORS:
            yield {
                "tag": "colors",
                "include": [{"class": shape, "count": 1, "color": color}],
                "prompt": f"a photo of {with_article(f'{color} {shape}')}",
            }


def _position() -> Iterator[Row]:
    for anchor, shape in permutations(SHAPES, 2):
        for relation in RELATIONS:
            yield {
                "tag": "position",
                "include": [
                    {"class": anchor, "count": 1},
                    {"class": shape, "count": 1, "position": [relation, 0]},
                ],
                "prompt": f"a photo of {with_article(shape)} {relation} {with_article(anchor)}",
            }


def _color_attr() -> Iterator[Row]:
    for first, second in permutations(SHAPES, 2):
        for color_1, color_2 in permutations(COLORS, 2):
            one, two = with_article(f"{color_1} {first}"), with_article(f"{color_2} {second}")
            yield {
                "tag": "color_attr",
                "include": [
                    {"class": first, "count": 1, "color": color_1},
                    {"class": second, "count": 1, "color": color_2},
                ],
                "prompt": f"a photo of {one} and {two}",
            }


_MAKERS: dict[str, Callable[[], Iterator[Row]]] = {
    "single_object": _single_object,
    "two_object": _two_object,
    "counting": _counting,
    "colors": _colors,
    "position": _position,
    "color_attr": _color_attr,
}


def geneval_rows(tag: str) -> list[Row]:
    """Every prompt of a kind: 4, 12, 12, 24, 48 and 360 rows in the order of `TAGS`.

    Raises:
        ValueError: an unknown tag.
    """
    if tag not in _MAKERS:
        raise ValueError(f"unknown tag {tag!r}; GenEval has {', '.join(TAGS)}")
    return list(_MAKERS[tag]())


def geneval_benchmark(*, per_tag: int = 24, seed: int = 0) -> list[Row]:
    """At most `per_tag` rows of every kind in the order of `TAGS`, drawn without repeats."""
    rng = random.Random(f"geneval:{seed}")
    chosen: list[Row] = []
    for tag in TAGS:
        rows = geneval_rows(tag)
        chosen += rows if len(rows) <= per_tag else rng.sample(rows, per_tag)
    return chosen


def random_row(rng: random.Random, tag: str | None = None) -> Row:
    """One prompt row; the kind is drawn evenly when no tag is given."""
    return rng.choice(geneval_rows(tag or rng.choice(TAGS)))


# GenEval's rule


def relative_position(target: Detection, anchor: Detection) -> frozenset[str]:
    """The relations in which `target` stands to `anchor`, by GenEval's geometry.

    Offset of the centers, each axis shortened by 0.1 of the two sizes, divided by the length of
    the whole offset; a component above 0.5 counts.
    """
    x, y = _revised_offset(target.box, anchor.box)
    names = (("left of", -x), ("right of", x), ("above", -y), ("below", y))
    return frozenset(name for name, component in names if component > 0.5)


def _revised_offset(a: Sequence[int], b: Sequence[int]) -> tuple[float, float]:
    offsets = [(a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1)]
    sizes = [(a[i + 2] - a[i]) + (b[i + 2] - b[i]) for i in (0, 1)]
    norm = sum(offset * offset for offset in offsets) ** 0.5
    if norm == 0:
        return 0.0, 0.0
    revised = [
        max(abs(o) - 0.1 * size, 0.0) * (1 if o > 0 else -1)
        for o, size in zip(offsets, sizes, strict=True)
    ]
    return revised[0] / norm, revised[1] / norm


def satisfies(row: Row, detections: Sequence[Detection]) -> bool:
    """GenEval's verdict: only the `count` best objects of a class are looked at."""
    groups: list[list[Detection]] = []
    for wanted in row["include"]:
        found = _of_class(detections, wanted["class"])[: wanted["count"]]
        if len(found) < wanted["count"] or not (
            _colored(wanted, found) and _placed(wanted, found, groups)
        ):
            return False
        groups.append(found)
    return all(
        len(_of_class(detections, barred["class"])) < barred["count"]
        for barred in row.get("exclude", [])
    )


def facts_held(row: Row, detections: Sequence[Detection]) -> list[bool]:
    """GenEval's rule fact by fact: which of what a row asks a picture holds.

    For every entry: the class is there; where the row bars one more, the count is exact; the
    colors of the `count` best are right; the position is. An absent class holds none of its facts.
    """
    exact = {barred["class"] for barred in row.get("exclude", [])}
    held: list[bool] = []
    groups: list[list[Detection]] = []
    for wanted in row["include"]:
        of_class = _of_class(detections, wanted["class"])
        found = of_class[: wanted["count"]]
        held.append(bool(found))
        if wanted["class"] in exact:
            held.append(len(of_class) == wanted["count"])
        if "color" in wanted:
            held.append(bool(found) and _colored(wanted, found))
        if "position" in wanted:
            held.append(bool(found) and _placed(wanted, found, groups))
        groups.append(found)
    return held


def _of_class(detections: Sequence[Detection], name: str) -> list[Detection]:
    return sorted((d for d in detections if d.shape == name), key=lambda d: -d.score)


def _colored(wanted: Row, found: list[Detection]) -> bool:
    return "color" not in wanted or all(d.color == wanted["color"] for d in found)


def _placed(wanted: Row, found: list[Detection], groups: list[list[Detection]]) -> bool:
    if "position" not in wanted:
        return True
    relation, index = wanted["position"]
    anchors = groups[index]
    return bool(anchors) and all(
        relation in relative_position(d, a) for d in found for a in anchors
    )


def sample_scene(rng: random.Random, row: Row, *, extra: int = 0) -> Scene:
    """A scene that satisfies a row: its things in random cells, free attributes drawn evenly.

    `extra` more things of other classes are put into free cells; an extra thing never shares a
    class with the row, so the verdict cannot hang on which of two counts as the best.
    """
    while True:
        scene = _scene_of_row(rng, row)
        if satisfies(row, detections_of(scene)):
            break
    others = [s for s in SHAPES if s not in {wanted["class"] for wanted in row["include"]}]
    for cell in rng.sample(scene.free_cells(), extra if others else 0):
        scene = scene.with_thing(Thing(rng.choice(others), rng.choice(COLORS), *cell))
    return scene


def _scene_of_row(rng: random.Random, row: Row) -> Scene:
    wanted = [entry for entry in row["include"] for _ in range(entry["count"])]
    cells = rng.sample(range(CELLS), len(wanted))
    return Scene(
        tuple(
            Thing(entry["class"], entry.get("color") or rng.choice(COLORS), *divmod(cell, GRID))
            for entry, cell in zip(wanted, cells, strict=True)
        )
    )


# Words for scenes


def grid_words(scene: Scene, attribute: str) -> str:
    """16 words in raster order: the "color" or the "shape" of each cell, or "empty".

    Raises:
        ValueError: another attribute.
    """
    if attribute not in ("color", "shape"):
        raise ValueError(f"attribute must be 'color' or 'shape', not {attribute!r}")
    things = [scene.at(*divmod(cell, GRID)) for cell in range(CELLS)]
    return " ".join(str(getattr(thing, attribute)) if thing else "empty" for thing in things)


def wordings() -> Iterator[str]:
    """Every wording that a prompt or a caption of this module can hold."""
    yield from (row["prompt"] for tag in TAGS for row in geneval_rows(tag))
    yield from NUMBERS
    yield "an empty picture, row one: empty. a red and"
