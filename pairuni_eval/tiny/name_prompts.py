"""Prompts that ask for named things: "a photo of a NAME", "a photo of a NAME and a NAME".

A row has the schema of `prompts`, with tags of its own and the name in each entry. Two names may
share a class, and for that GenEval's rule is not made: it looks at the best object of a class, and
a red and a green circle are two. `exact_drawing` is the rule for these rows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import permutations
from typing import Any

from pairuni_eval.scorers.facts import with_article
from pairuni_eval.tiny.names import NAMES, color_of, name_of, named, names_in, shape_of
from pairuni_eval.tiny.prompts import Row
from pairuni_eval.tiny.world import CELLS, COLORS, GRID, SHAPES, Scene, Thing

ONE_NAME, TWO_NAMES = "one_name", "two_names"


def name_row(*names: str) -> Row:
    """The row of one name or of two different ones, in this order.

    Raises:
        ValueError: for another number of names, or the same twice.
    """
    if len(names) not in (1, 2) or len(set(names)) < len(names):
        raise ValueError(f"one name, or two different ones, not {names}")
    return {
        "tag": ONE_NAME if len(names) == 1 else TWO_NAMES,
        "include": [_entry(name) for name in names],
        "prompt": f"a photo of {' and '.join(map(with_article, names))}",
    }


def _entry(name: str) -> dict[str, Any]:
    return {"class": shape_of(name), "count": 1, "color": color_of(name), "name": name}


@cache
def name_rows() -> dict[str, Row]:
    """Every row by its prompt, 24 of one name and 552 of two; do not write into the result."""
    rows = [name_row(name) for name in NAMES]
    rows += [name_row(*pair) for pair in permutations(NAMES, 2)]
    return {row["prompt"]: row for row in rows}


def names_of(row: Row) -> tuple[str, ...]:
    """The names that a row asks for, in its order; none for a row without names."""
    return tuple(entry["name"] for entry in row["include"] if "name" in entry)


def holds_names(row: Row, scene: Scene) -> bool:
    """Whether a scene has what a row names, whatever else it has."""
    return set(names_of(row)) <= set(names_in(scene))


def name_scene(rng: random.Random, names: Sequence[str], *, extra: int = 0) -> Scene:
    """One thing of each name in random cells, and `extra` things that none of them names."""
    cells = [divmod(cell, GRID) for cell in rng.sample(range(CELLS), len(names) + extra)]
    things = [named(name, *cell) for name, cell in zip(names, cells, strict=False)]
    for cell in cells[len(names) :]:
        things.append(_other_thing(rng, names, cell))
    return Scene(tuple(things))


def _other_thing(rng: random.Random, names: Sequence[str], cell: tuple[int, int]) -> Thing:
    while True:
        thing = Thing(rng.choice(SHAPES), rng.choice(COLORS), *cell)
        if name_of(thing) not in names:
            return thing
