"""Knowledge prompts in WISE's form: pictures of the tiny world that a prompt only hints at.

A fact ties words to a color or a shape: "the color of a ripe banana", "a shape with three sides".
Plain prompts state one fact about one thing; the tiny model was taught all of them. Composed
prompts put facts of a category into a picture that it was never taught: a shape and a color that
are both hinted at, several things of a hinted color, a hinted shape beside or in relation to
another thing, two things of which one has a hinted color. Every row carries WISE's five fields;
beside it lies what the picture must show, as a GenEval row's `include` and `exclude`, so that a
machine can check it. Ids lie in WISE's ranges, so that rules which tell the category from the id
work on them. The prompts are our own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

from pairuni_eval.scorers.facts import with_article
from pairuni_eval.tiny.prompts import COUNTS, NUMBERS, PLURALS, RELATIONS, Row, facts_held
from pairuni_eval.tiny.world import COLORS, SHAPES, Detection


class KnowledgePrompt(NamedTuple):
    """A row in WISE's schema and, kept beside it, what a machine can check.

    Attributes:
        wanted: `include` and perhaps `exclude` as in a GenEval row.
        kind: "plain", or the kind of composition.
    """

    row: Row
    wanted: Row
    kind: str


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


class _Draft(NamedTuple):
    """A prompt before it has an id: its subcategory, words, what they mean, what must be shown."""

    sub: str
    words: str
    meaning: str
    wanted: Row


# Plain prompts: one fact about one thing


def _plain(category: str) -> Iterator[_Draft]:
    for sub, source, color in _colors_of(category):
        for shape in SHAPES:
            meaning = f"the color {color}: {with_article(f'{color} {shape}')}"
            words = f"a {shape} in the color of {source}"
            yield _Draft(sub, words, meaning, _show(_entry(shape, color)))
    for sub, phrase, shape in _shapes_of(category):
        yield _Draft(sub, f"a {phrase}", with_article(shape), _show(_entry(shape)))
        for color in COLORS:
            words, meaning = f"{color} {phrase}", with_article(f"{color} {shape}")
            yield _Draft(sub, with_article(words), meaning, _show(_entry(shape, color)))


def _colors_of(category: str) -> list[tuple[str, str, str]]:
    return [(sub, source, color) for name, sub, source, color in _COLOR_FACTS if name == category]


def _shapes_of(category: str) -> list[tuple[str, str, str]]:
    return [(sub, phrase, shape) for name, sub, phrase, shape in _SHAPE_FACTS if name == category]


def _entry(shape: str, color: str | None = None, count: int = 1) -> Row:
    entry: Row = {"class": shape, "count": count}
    return entry if color is None else entry | {"color": color}


def _show(*entries: Row) -> Row:
    """What must be shown; of a thing that is asked for more than once, no more than that."""
    barred = [_entry(e["class"], count=e["count"] + 1) for e in entries if e["count"] > 1]
    return {"include": list(entries)} | ({"exclude": barred} if barred else {})


# Composed prompts: facts of a category in one picture


def _hinted_twice(category: str) -> Iterator[_Draft]:
    """A shape and its color, both hinted at."""
    for (_, phrase, shape), (sub, source, color) in product(
        _shapes_of(category), _colors_of(category)
    ):
        meaning = with_article(f"{color} {shape}")
        words = f"a {phrase} in the color of {source}"
        yield _Draft(sub, words, meaning, _show(_entry(shape, color)))


def _counted(category: str) -> Iterator[_Draft]:
    """Two to four things of a hinted color."""
    for (sub, source, color), shape, count in product(_colors_of(category), SHAPES, COUNTS):
        words = f"{NUMBERS[count]} {PLURALS[shape]} in the color of {source}"
        meaning = f"the color {color}: {NUMBERS[count]} {color} {PLURALS[shape]}"
        yield _Draft(sub, words, meaning, _show(_entry(shape, color, count)))


def _beside(category: str) -> Iterator[_Draft]:
    """A hinted shape and another thing, in both orders."""
    for (sub, phrase, shape), other in product(_shapes_of(category), SHAPES):
        if other != shape:
            wanted = _show(_entry(shape), _entry(other))
            for form in ("a {} and a {other}", "a {other} and a {}"):
                words, meaning = form.format(phrase, other=other), form.format(shape, other=other)
                yield _Draft(sub, words, meaning, wanted)


def _related(category: str) -> Iterator[_Draft]:
    """A hinted shape in relation to another thing."""
    for (sub, phrase, shape), other, relation in product(_shapes_of(category), SHAPES, RELATIONS):
        if other != shape:
            placed = _entry(shape) | {"position": [relation, 0]}
            words, meaning = (f"a {name} {relation} a {other}" for name in (phrase, shape))
            yield _Draft(sub, words, meaning, _show(_entry(other), placed))


def _two_colors(category: str) -> Iterator[_Draft]:
    """A thing of a named color and one of a hinted color."""
    for (sub, source, color), named, shape, other in product(
        _colors_of(category), COLORS, SHAPES, SHAPES
    ):
        if named != color and other != shape:
            first, second = with_article(f"{named} {other}"), with_article(f"{color} {shape}")
            words = f"{first} and a {shape} in the color of {source}"
            meaning = f"the color {color}: {first} and {second}"
            wanted = _show(_entry(other, named), _entry(shape, color))
            yield _Draft(sub, words, meaning, wanted)


_COMPOSERS: dict[str, Callable[[str], Iterator[_Draft]]] = {
    "hinted twice": _hinted_twice,
    "counted": _counted,
    "beside": _beside,
    "related": _related,
    "two colors": _two_colors,
}
KINDS: tuple[str, ...] = tuple(_COMPOSERS)


# Rows


def plain_prompts(category: str | None = None) -> list[KnowledgePrompt]:
    """Every plain prompt, or those of one of the six categories, in order of `prompt_id`.

    Raises:
        ValueError: an unknown category.
    """
    if category is not None and category not in CATEGORIES:
        raise ValueError(f"unknown category {category!r}; WISE has {', '.join(CATEGORIES)}")
    names = [name for name in CATEGORIES if category in (None, name)]
    return [
        prompt
        for name in names
        for prompt in _numbered(name, 0, (("plain", draft) for draft in _plain(name)))
    ]


def knowledge_benchmark(*, per_kind: int = 10, seed: int = 0) -> list[KnowledgePrompt]:
    """`per_kind` composed prompts of every kind in every category, drawn without repeats.

    Their ids follow those of the category's plain prompts.
    """
    rng = random.Random(f"knowledge:{seed}")
    chosen: list[KnowledgePrompt] = []
    for name in CATEGORIES:
        drafts = [
            (kind, draft)
            for kind, compose in _COMPOSERS.items()
            for draft in rng.sample(list(compose(name)), per_kind)
        ]
        chosen += _numbered(name, len(plain_prompts(name)), drafts)
    return chosen


def _numbered(
    category: str, after: int, drafts: Iterable[tuple[str, _Draft]]
) -> list[KnowledgePrompt]:
    label, first = CATEGORIES[category]
    rows = []
    for prompt_id, (kind, draft) in enumerate(drafts, start=first + after):
        values = (draft.words, f"This refers to {draft.meaning}", label, draft.sub, prompt_id)
        row = dict(zip(_WISE_FIELDS, values, strict=True))
        rows.append(KnowledgePrompt(row, draft.wanted, kind))
    return rows


_WISE_FIELDS = ("Prompt", "Explanation", "Category", "Subcategory", "prompt_id")


def shape_phrases() -> list[tuple[str, str]]:
    """Every (phrase, shape) of the shape facts, such as ("shape with three sides", "triangle")."""
    return [(phrase, shape) for _, _, phrase, shape in _SHAPE_FACTS]


def knowledge_score(wanted: Row, detections: Sequence[Detection]) -> float:
    """The share of the asked facts that a picture holds, 0 to 1."""
    held = facts_held(wanted, detections)
    return sum(held) / len(held)


def wordings() -> Iterator[str]:
    """Every plain prompt; composed ones add no words."""
    yield from (prompt.row["Prompt"] for prompt in plain_prompts())
