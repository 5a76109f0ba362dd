"""Questions about named things, in the forms that the benchmarks give to questions.

Whether there is a NAME in the image (POPE's and MME's form, as often yes as no), its color and its
shape (MMMU's open form), and which of four names is in the image (MMMU's and MMStar's choices).
Each carries the thought that leads to its answer: color and shape of what is asked for, so of the
right option where names are to choose from. Color and shape of a name can be told without looking;
whether it is there cannot. Everything is drawn from the generator that the caller hands over.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pairuni_eval import prompts as forms
from pairuni_eval.tiny import question_rows
from pairuni_eval.tiny.names import (
    NAMES,
    color_of,
    name_of,
    named,
    names_in,
    shape_of,
    thought_of,
)
from pairuni_eval.tiny.questions import LETTERS, Choice, Statement
from pairuni_eval.tiny.splits import Split, split_of_scene
from pairuni_eval.tiny.world import COLORS, SHAPES, Scene, Thing, random_scene

NameKind = Literal["name_exists", "name_color", "name_shape", "name_choice"]
NAME_KINDS: tuple[NameKind, ...] = ("name_exists", "name_color", "name_shape", "name_choice")
OPEN = "open"  # MMMU's form without options
MIN_THINGS, MAX_THINGS = 2, 4  # of a scene that names are asked about


class NameQuestion(NamedTuple):
    """A question about a name, as a model reads it.

    Attributes:
        form: "pope", "mme", "open", "mmmu" or "mmstar".
        kind: What it asks for.
        text: What a model reads.
        answer: A letter, a word, or yes or no.
        name: The name that it asks about; of a choice the right one.
    """

    form: str
    kind: NameKind
    text: str
    answer: str
    name: str

    @property
    def facts(self) -> dict[str, Any]:
        """What a checker, a lesson and a comparison of halves need to know of it."""
        return {
            "form": self.form,
            "kind": self.kind,
            "concepts": [self.name],
            "thought": thought_of(self.name),
        }


def ask_about(
    rng: random.Random, scene: Scene, name: str, kind: NameKind, *, known: Sequence[str] = NAMES
) -> NameQuestion | None:
    """A question of a kind about a name; None if this scene does not allow it.

    Color and shape are asked of a thing that is there once. A choice has three names beside the
    right one, none of them in the scene, all of them known.

    Args:
        rng: Draws form and options.
        scene: What the picture shows.
        name: What is asked about.
        kind: What is asked.
        known: The names that the question may use.
    """
    count = sum(name_of(thing) == name for thing in scene.things)
    if kind == "name_exists":
        return _exists(rng, name, "yes" if count else "no")
    if count != 1:
        return None
    if kind == "name_choice":
        return _choice(rng, scene, name, known)
    word = color_of(name) if kind == "name_color" else shape_of(name)
    text = f"What {kind.removeprefix('name_')} is the {name}?"
    return NameQuestion(OPEN, kind, forms.mmmu_prompt(text, ()), word, name)


def _exists(rng: random.Random, name: str, answer: str) -> NameQuestion:
    text = question_rows.pope_text(name)
    if rng.random() < 0.5:
        return NameQuestion("pope", "name_exists", forms.pope_prompt(text), answer, name)
    said = question_rows.mme_text(Statement("name_exists", text, answer))
    return NameQuestion("mme", "name_exists", forms.mme_prompt(said), answer, name)


def _choice(
    rng: random.Random, scene: Scene, name: str, known: Sequence[str]
) -> NameQuestion | None:
    absent = [one for one in known if one not in names_in(scene)]
    if len(absent) < len(LETTERS) - 1:
        return None
    options = sorted([name, *rng.sample(absent, len(LETTERS) - 1)], key=NAMES.index)
    letter = LETTERS[options.index(name)]
    first, second, third = (one for one in options if one != name)
    one = Choice(
        "name_choice", "Which shape is in the image?", name, (first, second, third), letter
    )
    if rng.random() < 0.5:
        text = forms.mmmu_prompt(one.text, one.options(letter))
        return NameQuestion("mmmu", "name_choice", text, letter, name)
    text = forms.mmstar_prompt(question_rows.mmstar_text(one, letter))
    return NameQuestion("mmstar", "name_choice", text, letter, name)


# Scenes to ask about


def scene_with(rng: random.Random, name: str, split: Split) -> Scene:
    """A scene of two to four things of a split, one of which has the name."""
    while True:
        scene = random_scene(rng, min_things=MIN_THINGS, max_things=MAX_THINGS)
        scene = scene.with_thing(named(name, *rng.choice(scene.things).cell))
        once = len(scene.select(shape_of(name), color_of(name))) == 1
        if once and split_of_scene(scene) == split:
            return scene


def scene_without(
    rng: random.Random, name: str, split: Split, *, known: Sequence[str] = NAMES
) -> Scene:
    """A scene of two to four things of a split, none of which has the name.

    One of them has a known name, so that there is something to say about it. Every other scene has
    the color of the name and its shape, though not in one thing, so that looking for one of them
    does not do.

    Raises:
        ValueError: if no other name is known.
    """
    if not set(known) - {name}:
        raise ValueError(f"a scene without {name} needs another known name")
    near = rng.random() < 0.5
    while True:
        scene = random_scene(rng, min_things=MIN_THINGS, max_things=MAX_THINGS)
        if near:
            scene = _nearly(rng, scene, name)
        found = names_in(scene)
        if name not in found and set(found) & set(known) and split_of_scene(scene) == split:
            return scene


def _nearly(rng: random.Random, scene: Scene, name: str) -> Scene:
    """The scene with two of its things replaced: one in the name's color, one of its shape."""
    first, second = rng.sample(scene.things, 2)
    shape = rng.choice([shape for shape in SHAPES if shape != shape_of(name)])
    color = rng.choice([color for color in COLORS if color != color_of(name)])
    scene = scene.with_thing(Thing(shape, color_of(name), *first.cell))
    return scene.with_thing(Thing(shape_of(name), color, *second.cell))
