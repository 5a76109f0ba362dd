"""Edit instructions for scenes of the tiny world, and the exact verdict on a result.

An `Edit` is one of add, remove, replace and adjust (a change of color; the names are ImgEdit's
edit types). `satisfied` asks for the change and for nothing else; `grade` takes the verdict apart
into pieces in [0, 1] from which a judge can make ImgEdit's three scores of 1 to 5.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from PIL import Image

from pairuni_eval.scorers.facts import with_article
from pairuni_eval.tiny.questions import unique_things
from pairuni_eval.tiny.world import (
    CELLS,
    COLORS,
    GRID,
    MAX_THINGS,
    SHAPES,
    Scene,
    Thing,
    cell_residuals,
    random_scene,
    states_of,
)

EDIT_TYPES: tuple[str, ...] = ("add", "remove", "replace", "adjust")


@dataclass(frozen=True)
class Edit:
    """An instruction and what it means.

    `old` is the thing it speaks of (None for add). `new` is the thing that must be there after it
    (None for remove); for add the cell of `new` is only an example, any free cell will do.
    """

    edit_type: str
    prompt: str
    old: Thing | None
    new: Thing | None

    @property
    def row(self) -> dict[str, Any]:
        """The instruction in ImgEdit's schema, without `id`, which names the source picture."""
        return {"prompt": self.prompt, "edit_type": self.edit_type}


class EditGrade(NamedTuple):
    """The pieces of a verdict, each in [0, 1], 1 best.

    followed: what was asked happened (half a point if the right cell has only the right shape or
    only the right color). preserved: share of the other 15 cells that show what they showed; a
    garbled cell shows nothing, and an edit that removes must leave its cell empty.
    clean: one minus four times the worst cell's distance from its template, 0 at the least.
    """

    followed: float
    preserved: float
    clean: float


# Making edits


def _add(rng: random.Random, scene: Scene) -> Edit | None:
    if len(scene.things) >= MAX_THINGS:
        return None
    new = Thing(rng.choice(SHAPES), rng.choice(COLORS), *rng.choice(scene.free_cells()))
    return Edit("add", f"add {with_article(new.name)}", None, new)


def _remove(rng: random.Random, scene: Scene) -> Edit | None:
    named = unique_things(scene)
    if not named:
        return None
    words, old = rng.choice(named)
    return Edit("remove", f"remove {words}", old, None)


def _replace(rng: random.Random, scene: Scene) -> Edit | None:
    named = unique_things(scene)
    if not named:
        return None
    words, old = rng.choice(named)
    shape = rng.choice([shape for shape in SHAPES if shape != old.shape])
    new = replace(old, shape=shape, color=rng.choice(COLORS))
    return Edit("replace", f"replace {words} with {with_article(new.name)}", old, new)


def _adjust(rng: random.Random, scene: Scene) -> Edit | None:
    named = unique_things(scene)
    if not named:
        return None
    words, old = rng.choice(named)
    new = replace(old, color=rng.choice([color for color in COLORS if color != old.color]))
    return Edit("adjust", f"make {words} {new.color}", old, new)


_MAKERS: dict[str, Callable[[random.Random, Scene], Edit | None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "adjust": _adjust,
}


def make_edit(rng: random.Random, scene: Scene, edit_type: str) -> Edit | None:
    """An edit of a type for a scene; None if the scene allows none.

    Raises:
        ValueError: an unknown type.
    """
    if edit_type not in _MAKERS:
        raise ValueError(f"unknown edit type {edit_type!r}; there are {', '.join(EDIT_TYPES)}")
    return _MAKERS[edit_type](rng, scene)


def random_edit(
    rng: random.Random, edit_type: str | None = None, *, held: bool | None = None
) -> tuple[Scene, Edit]:
    """A random scene and an edit for it; the type is drawn evenly when none is given.

    `held` is that of `world.random_scene`.
    """
    edit_type = edit_type or rng.choice(EDIT_TYPES)
    while True:
        scene = random_scene(rng, held=held)
        edit = make_edit(rng, scene, edit_type)
        if edit is not None:
            return scene, edit


def apply_edit(scene: Scene, edit: Edit) -> Scene:
    """The scene after the edit, an added thing in the cell that `edit.new` names."""
    if edit.new is not None:
        return scene.with_thing(edit.new)
    return scene if edit.old is None else scene.without(*edit.old.cell)


# Judging results


def _changed_cell(source: Scene, result: Scene, edit: Edit) -> int | None:
    """The cell that the edit is about; for add the free cell that looks most like the answer."""
    if edit.old is not None:
        return edit.old.row * GRID + edit.old.col
    cells = [cell for cell in source.free_cells() if result.at(*cell) is not None]
    if not cells:
        return None
    row, col = max(cells, key=lambda cell: _likeness(result.at(*cell), edit.new))
    return row * GRID + col


def _likeness(shown: Thing | None, wanted: Thing | None) -> float:
    if shown is None or wanted is None:
        return float(shown is wanted)
    return ((shown.shape == wanted.shape) + (shown.color == wanted.color)) / 2


def _followed(cell: int | None, result: Scene, edit: Edit) -> float:
    if cell is None or divmod(cell, GRID) in result.garbled:
        return 0.0
    shown = result.at(*divmod(cell, GRID))
    if edit.old is not None and shown is not None and shown.name == edit.old.name:
        return 0.0
    return _likeness(shown, edit.new)


def _preserved(cell: int | None, source: Scene, result: Scene) -> float:
    same_N = states_of(source) == states_of(result)
    others = [bool(same_N[i]) for i in range(CELLS) if i != cell]
    return sum(others) / len(others)


def satisfied(source_scene: Scene, result_scene: Scene, edit: Edit) -> bool:
    """Whether the asked change happened and every other cell is untouched."""
    cell = _changed_cell(source_scene, result_scene, edit)
    followed = _followed(cell, result_scene, edit)
    return followed == 1.0 and _preserved(cell, source_scene, result_scene) == 1.0


def grade(
    source_scene: Scene, result_scene: Scene, edit: Edit, *, result: Image.Image | None = None
) -> EditGrade:
    """The pieces of the verdict; without the picture itself, `clean` is 1."""
    cell = _changed_cell(source_scene, result_scene, edit)
    worst = 0.0 if result is None else float(cell_residuals(result).max())
    return EditGrade(
        _followed(cell, result_scene, edit),
        _preserved(cell, source_scene, result_scene),
        max(0.0, 1.0 - 4.0 * worst),
    )


# Rows in ImgEdit's schema


class EditRow(NamedTuple):
    """A row of ImgEdit's `basic_edit.json` with its key, the source scene and the meaning."""

    key: str
    row: dict[str, Any]
    scene: Scene
    edit: Edit


def imgedit_rows(rng: random.Random, *, per_type: int = 24) -> list[EditRow]:
    """Rows in ImgEdit's schema, `per_type` of each of the four types, on held-out scenes."""
    rows: list[EditRow] = []
    for edit_type in EDIT_TYPES:
        for _ in range(per_type):
            scene, edit = random_edit(rng, edit_type, held=True)
            key = str(len(rows) + 1)
            row = {"id": f"tiny/{int(key):06d}.png", **edit.row}
            rows.append(EditRow(key, row, scene, edit))
    return rows


def wordings() -> Iterator[str]:
    """Every fixed wording that an instruction can hold beside the names of shapes and colors."""
    yield "add a an remove the replace with make shape"
