"""Prompts that ask for pictures of the tiny world, and words for its scenes.

GenEval prompts follow the six kinds and the metadata schema of GenEval's
`evaluation_metadata.jsonl`: `tag`, `include`, for counting also `exclude`, `prompt`; counts are
two to four and the two things of a prompt differ in class, as there. `satisfies` is GenEval's
own rule on what the world's checker finds, `facts_held` tells which of the asked facts a picture
holds. The prompts are our own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import permutations
from typing import Any

from pairuni_eval.scorers.facts import plural, with_article
from pairuni_eval.scorers.objects import (
    CountedObject,
    Objects,
    Observation,
    evaluate,
    keep,
    relative_position,
)
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
PLURALS: dict[str, str] = {shape: plural(shape) for shape in SHAPES}


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


def counted_color_rows() -> list[Row]:
    """Every prompt that asks for two to four things of one shape and one color: 72 rows."""
    return [
        {
            "tag": "counting",
            "include": [{"class": shape, "count": count, "color": color}],
            "exclude": [{"class": shape, "count": count + 1}],
            "prompt": f"a photo of {NUMBERS[count]} {color} {PLURALS[shape]}",
        }
        for shape in SHAPES
        for count in COUNTS
        for color in COLORS
    ]


def further_rows(known: Sequence[Row], *, per_tag: int, seed: int) -> list[Row]:
    """Prompts of every kind that are not among the known ones, at most `per_tag` of each kind.

    Those that ask for several things of one color join the kind `counting`, of which the rest are
    few.
    """
    rng, said = random.Random(f"further:{seed}"), {row["prompt"] for row in known}
    chosen: list[Row] = []
    for tag in TAGS:
        rows = [row for row in geneval_rows(tag) if row["prompt"] not in said]
        if tag == "counting":
            rows += rng.sample(counted_color_rows(), per_tag - len(rows))
        chosen += rows if len(rows) <= per_tag else rng.sample(rows, per_tag)
    return chosen


def random_row(rng: random.Random, tag: str | None = None) -> Row:
    """One prompt row; the kind is drawn evenly when no tag is given."""
    return rng.choice(geneval_rows(tag or rng.choice(TAGS)))


# GenEval's rule


def observed(detections: Sequence[Detection]) -> Observation:
    """What the world's checker found in a picture, in the form of GenEval's detector."""
    by_shape: dict[str, list[Detection]] = {}
    for one in detections:
        by_shape.setdefault(one.shape, []).append(one)

    def color_of(shape: str, found: Sequence[CountedObject]) -> list[str]:
        return [by_shape[shape][one.place].color for one in found]

    rows = {shape: [(*one.box, one.score) for one in them] for shape, them in by_shape.items()}
    return Observation(rows, color_of)


def satisfies(row: Row, detections: Sequence[Detection]) -> bool:
    """GenEval's verdict (`scorers.objects`) on what the world's checker found."""
    return bool(satisfied_rows([row], detections))


def satisfied_rows(rows: Iterable[Row], detections: Sequence[Detection]) -> list[Row]:
    """The rows that a picture satisfies, in order; what was found is sorted once for all."""
    seen = observed(detections)
    sorted_for: dict[bool, Objects] = {}  # counting has a threshold of its own
    satisfied = []
    for row in rows:
        tag = row.get("tag", "")  # rows of knowledge prompts have none
        counts = tag == "counting"
        if counts not in sorted_for:
            sorted_for[counts] = keep(seen.detections, tag=tag)
        if evaluate(row, sorted_for[counts], seen.color_of).correct:
            satisfied.append(row)
    return satisfied


def facts_held(row: Row, detections: Sequence[Detection]) -> list[bool]:
    """Which of what a row asks a picture holds, fact by fact, for judges that give part of a score.

    For every entry: the class is there; where the row bars one more, the count is exact; the
    colors of the `count` best are right; the position is. An absent class holds none of its facts.
    """
    seen = observed(detections)
    objects = keep(seen.detections, tag="")
    exact = {barred["class"] for barred in row.get("exclude", [])}
    held: list[bool] = []
    groups: list[Sequence[CountedObject]] = []
    for wanted in row["include"]:
        name = wanted["class"]
        of_class = objects.get(name, [])
        found = of_class[: wanted["count"]]
        held.append(bool(found))
        if name in exact:
            held.append(len(of_class) == wanted["count"])
        if "color" in wanted:
            colors = seen.color_of(name, found)
            held.append(bool(found) and all(color == wanted["color"] for color in colors))
        if "position" in wanted:
            relation, index = wanted["position"]
            held.append(bool(found) and _stand(relation, found, groups[index]))
        groups.append(found)
    return held


def _stand(relation: str, found: Sequence[CountedObject], anchors: Sequence[CountedObject]) -> bool:
    return bool(anchors) and all(
        relation in relative_position(one.box, anchor.box) for one in found for anchor in anchors
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
