"""Prompts that ask for pictures of the tiny world, and captions of its scenes.

GenEval prompts follow the six kinds and the metadata schema of GenEval's
`evaluation_metadata.jsonl`: `tag`, `include`, for counting also `exclude`, `prompt`; counts are
two to four and the two things of a prompt differ in class, as there. `satisfies` is GenEval's
rule on detections. Knowledge prompts carry WISE's five fields; beside each row lies a `Target`
that a machine can check. Their ids start where WISE's ranges start, so that rules which tell the
category from the id work on them. The prompts are our own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, NamedTuple

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

    Offset of the centres, each axis shortened by 0.1 of the two sizes, divided by the length of
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
        if len(found) < wanted["count"] or not _meets(wanted, found, groups):
            return False
        groups.append(found)
    return all(
        len(_of_class(detections, barred["class"])) < barred["count"]
        for barred in row.get("exclude", [])
    )


def _of_class(detections: Sequence[Detection], name: str) -> list[Detection]:
    return sorted((d for d in detections if d.shape == name), key=lambda d: -d.score)


def _meets(wanted: Row, found: list[Detection], groups: list[list[Detection]]) -> bool:
    if "color" in wanted and any(d.color != wanted["color"] for d in found):
        return False
    if "position" not in wanted:
        return True
    relation, index = wanted["position"]
    return all(relation in relative_position(d, a) for d in found for a in groups[index])


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


# Knowledge prompts


@dataclass(frozen=True)
class Target:
    """What a knowledge prompt asks for: one thing of this shape and this color; None is free."""

    shape: str | None
    color: str | None


class KnowledgePrompt(NamedTuple):
    """A row in WISE's schema and, kept beside it, the answer a machine can check."""

    row: Row
    target: Target


# WISE's name of each category in its rows, and the first id of its range.
CATEGORIES: dict[str, tuple[str, int]] = {
    "CULTURE": ("Cultural knowledge", 1),
    "TIME": ("time", 401),
    "SPACE": ("Space", 568),
    "BIOLOGY": ("Biology", 701),
    "PHYSICS": ("Physical Knowledge", 801),
    "CHEMISTRY": ("Chemistry", 901),
}

# (category, subcategory, what the prompt names, the color it has)
_COLOR_FACTS: tuple[tuple[str, str, str, str], ...] = (
    ("CULTURE", "Construction", "a stop sign", "red"),
    ("CULTURE", "Life", "an american school bus", "yellow"),
    ("CULTURE", "Festival", "a halloween pumpkin", "orange"),
    ("CULTURE", "Plant", "a christmas tree", "green"),
    ("CULTURE", "Life", "the robe of a roman emperor", "purple"),
    ("TIME", "Longitudinal time", "young leaves in spring", "green"),
    ("TIME", "Longitudinal time", "a wheat field before harvest", "yellow"),
    ("TIME", "Horizontal time", "a cloudless sky at noon", "blue"),
    ("TIME", "Horizontal time", "the sky at sunset", "orange"),
    ("TIME", "Longitudinal time", "a strawberry in june", "red"),
    ("SPACE", "geographical location", "the planet mars", "red"),
    ("SPACE", "perspective scaling", "the ocean seen from a plane", "blue"),
    ("SPACE", "perspective scaling", "a rain forest seen from above", "green"),
    ("SPACE", "geographical location", "the sand of the sahara", "yellow"),
    ("SPACE", "Attribute inference", "a lavender field in provence", "purple"),
    ("BIOLOGY", "State", "a ripe banana", "yellow"),
    ("BIOLOGY", "State", "fresh grass", "green"),
    ("BIOLOGY", "State", "a ripe tomato", "red"),
    ("BIOLOGY", "State", "a carrot", "orange"),
    ("BIOLOGY", "State", "an eggplant", "purple"),
    ("PHYSICS", "Optics", "visible light of the longest wavelength", "red"),
    ("PHYSICS", "Optics", "visible light of the shortest wavelength", "purple"),
    ("PHYSICS", "Optics", "sunlight scattered by the sky", "blue"),
    ("PHYSICS", "Physical Properties", "red paint mixed with yellow paint", "orange"),
    ("PHYSICS", "Physical Properties", "blue paint mixed with yellow paint", "green"),
    ("CHEMISTRY", "Chemical Properties", "sulfur powder", "yellow"),
    ("CHEMISTRY", "Solution Chemical Reaction", "copper sulfate dissolved in water", "blue"),
    ("CHEMISTRY", "Metal Corrosion", "rust on iron", "orange"),
    ("CHEMISTRY", "Solution Chemical Reaction", "litmus paper in acid", "red"),
    ("CHEMISTRY", "Combustion", "a potassium flame", "purple"),
)

# (category, subcategory, a noun phrase for the shape without its article, the shape)
_SHAPE_FACTS: tuple[tuple[str, str, str, str], ...] = (
    ("CULTURE", "Construction", "shape like an egyptian pyramid", "triangle"),
    ("CULTURE", "Religion", "shape on the top of a church", "cross"),
    ("TIME", "Horizontal time", "shape like a wall clock", "circle"),
    ("TIME", "Horizontal time", "shape like a page of a calendar", "square"),
    ("SPACE", "perspective scaling", "shape like the full moon", "circle"),
    ("SPACE", "different view", "shape like a mountain seen from afar", "triangle"),
    ("BIOLOGY", "State", "shape like the pupil of an eye", "circle"),
    ("BIOLOGY", "State", "shape like a fir tree", "triangle"),
    ("PHYSICS", "Mechanics", "shape with three sides", "triangle"),
    ("PHYSICS", "Mechanics", "shape with four equal sides", "square"),
    ("PHYSICS", "Mechanics", "shape without corners", "circle"),
    ("CHEMISTRY", "Chemical Properties", "shape like the sign of a positive charge", "cross"),
    ("CHEMISTRY", "Chemical Properties", "shape like a face of a salt crystal", "square"),
)


def _facts() -> Iterator[tuple[str, str, str, str, Target]]:
    for category, sub, source, color in _COLOR_FACTS:
        for shape in SHAPES:
            prompt = f"a {shape} in the color of {source}"
            meaning = f"This refers to the color {color}: {with_article(f'{color} {shape}')}"
            yield category, sub, prompt, meaning, Target(shape, color)
    for category, sub, phrase, shape in _SHAPE_FACTS:
        meaning = f"This refers to {with_article(shape)}"
        yield category, sub, f"a {phrase}", meaning, Target(shape, None)
        for color in COLORS:
            meaning = f"This refers to {with_article(f'{color} {shape}')}"
            yield category, sub, with_article(f"{color} {phrase}"), meaning, Target(shape, color)


def knowledge_prompts(category: str | None = None) -> list[KnowledgePrompt]:
    """Every knowledge prompt, or those of one of the six categories, in order of `prompt_id`.

    Raises:
        ValueError: an unknown category.
    """
    if category is not None and category not in CATEGORIES:
        raise ValueError(f"unknown category {category!r}; WISE has {', '.join(CATEGORIES)}")
    found: list[KnowledgePrompt] = []
    for name, (label, first) in CATEGORIES.items():
        facts = [fact for fact in _facts() if fact[0] == name]
        for prompt_id, (_, sub, prompt, meaning, target) in enumerate(facts, start=first):
            row = dict(zip(_WISE_FIELDS, (prompt, meaning, label, sub, prompt_id), strict=True))
            if category in (None, name):
                found.append(KnowledgePrompt(row, target))
    return found


_WISE_FIELDS = ("Prompt", "Explanation", "Category", "Subcategory", "prompt_id")


def shape_phrases() -> list[tuple[str, str]]:
    """Every (phrase, shape) of the shape facts, such as ("shape with three sides", "triangle")."""
    return [(phrase, shape) for _, _, phrase, shape in _SHAPE_FACTS]


def knowledge_score(target: Target, detections: Sequence[Detection]) -> float:
    """How far a picture shows the target: the share of asked attributes of the best thing, 0..1."""
    asked = [v for v in (target.shape, target.color) if v is not None]
    hits = [(target.shape == d.shape) + (target.color == d.color) for d in detections]
    return max(hits, default=0) / len(asked)


def sample_target_scene(rng: random.Random, target: Target) -> Scene:
    """A scene of one thing that shows the target, in a random cell."""
    shape, color = target.shape or rng.choice(SHAPES), target.color or rng.choice(COLORS)
    return Scene((Thing(shape, color, rng.randrange(GRID), rng.randrange(GRID)),))


# Captions


def short_caption(scene: Scene) -> str:
    """The things in raster order: "a red circle, a blue cross and an orange square"."""
    names = [with_article(thing.name) for thing in scene.things]
    if not names:
        return "an empty picture"
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def full_caption(scene: Scene) -> str:
    """Row by row, every cell named: "row one: red circle, empty, ..."; the scene can be rebuilt."""
    lines = []
    for row in range(GRID):
        things = [scene.at(row, col) for col in range(GRID)]
        cells = ", ".join(thing.name if thing else "empty" for thing in things)
        lines.append(f"row {NUMBERS[row + 1]}: {cells}")
    return ". ".join(lines)


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
    yield from (prompt.row["Prompt"] for prompt in knowledge_prompts())
    yield from NUMBERS
    yield "an empty picture, row one: empty. a red and"
