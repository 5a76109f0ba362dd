"""Rows about made-up names, the raw material of pairs whose sources differ.

An understanding source asks only about the names that it knows, a generation source draws only
those; so what one knows and the other does not reaches the other task by completion alone. In every
eight questions there are two with yes and two with no, one for a color, one for a shape and two
choices; prompts name one thing or two by turns, and their pictures show further things, as
photographs do, unless a source is exact: then a prompt names all that is there. All scenes and
prompts are of the training split (`splits`), which holds for the share of rows about shapes and
colors as well. A row depends on the seed and its number alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from pairuni_eval.api import Picture
from pairuni_eval.api.tiny import (
    TAGS,
    NameKind,
    NameQuestion,
    Row,
    Scene,
    ask,
    ask_about,
    geneval_rows,
    name_row,
    name_scene,
    names_of,
    read_names,
    render,
    sample_scene,
    scene_with,
    scene_without,
    split_of_prompt,
    split_of_scene,
    world,
)
from pairuni_eval.toolkit import seed_for
from pairuni_train.pair_data.record import Generation, Understanding
from pairuni_train.pair_data.tiny_rows import LICENSE

DRAWING = "drawing"  # the form of every prompt
# What eight questions in a row ask, and whether it is there.
_TURNS: tuple[tuple[NameKind, bool], ...] = (
    ("name_exists", True),
    ("name_exists", False),
    ("name_color", True),
    ("name_choice", True),
    ("name_exists", True),
    ("name_exists", False),
    ("name_shape", True),
    ("name_choice", True),
)
_EXTRAS = {1: (1, 2, 3), 2: (0, 1, 2)}  # further things in a prompt's picture, by its names


class AboutNames(NamedTuple):
    """What the rows of a source are about.

    Attributes:
        names: Which names, as `read_names` takes them.
        common: Share of rows about shapes and colors in their place.
        exact: Prompts name all that their pictures show.
    """

    names: str
    common: float
    exact: bool = False


def understanding_rows(count: int, seed: int, about: AboutNames) -> Iterator[Understanding]:
    """Questions about the names of a setting.

    Args:
        count: How many.
        seed: Of every draw.
        about: What they are about. Rows of an exact source say so: a prompt that is written for one
            of their pictures names all of it.
    """
    exact = {"exact": True} if about.exact else {}
    for number in range(count):
        rng = random.Random(seed_for(seed, f"tiny name question {number}", 0, "pair source"))
        if rng.random() < about.common:
            half = _common_question(rng, number)
            yield msgspec.structs.replace(half, facts=half.facts | exact)
            continue
        scene, asked = _question(rng, number, read_names(about.names))
        yield Understanding(
            id=f"n{number:05d}",
            source=f"tiny/{asked.kind}",
            licence=LICENSE,
            image=Picture.from_image(render(scene)).data,
            question=asked.text,
            answer=asked.answer,
            facts={**asked.facts, "names": about.names, **exact},
        )


def generation_rows(count: int, seed: int, about: AboutNames) -> Iterator[Generation]:
    """Prompts for the names of a setting, each with a picture that shows them.

    Args: as those of `understanding_rows`.
    """
    for number in range(count):
        rng = random.Random(seed_for(seed, f"tiny name prompt {number}", 0, "pair source"))
        if rng.random() < about.common:
            yield _common_prompt(rng, number)
            continue
        row = _row(rng, number, read_names(about.names))
        yield Generation(
            id=f"n{number:05d}",
            source=f"tiny/{row['tag']}",
            licence=LICENSE,
            prompt=row["prompt"],
            image=Picture.from_image(render(_picture_of(rng, row, about))).data,
            facts={**prompt_facts(row), "names": about.names},
        )


def prompt_facts(row: Row) -> dict[str, Any]:
    """What a checker and a comparison of halves need to know of a prompt.

    The row stands under a key of its own: GenEval's rule, which reads `row`, is not made for it.
    """
    concepts = list(names_of(row))
    facts: dict[str, Any] = {"form": DRAWING, "kind": row["tag"], "concepts": concepts}
    return facts | ({"exactly": row} if concepts else {"exactly": row, "row": row})


def _question(
    rng: random.Random, number: int, known: tuple[str, ...]
) -> tuple[Scene, NameQuestion]:
    kind, there = _TURNS[number % len(_TURNS)]
    while True:
        name = rng.choice(known)
        scene = (
            scene_with(rng, name, "training")
            if there
            else scene_without(rng, name, "training", known=known)
        )
        asked = ask_about(rng, scene, name, kind, known=known)
        if asked is not None:
            return scene, asked


def _row(rng: random.Random, number: int, known: tuple[str, ...]) -> Row:
    while True:
        row = name_row(*rng.sample(known, 1 + number % 2))
        if split_of_prompt(row) == "training":
            return row


def _picture_of(rng: random.Random, row: Row, about: AboutNames) -> Scene:
    names = names_of(row)
    while True:
        extra = 0 if about.exact else rng.choice(_EXTRAS[len(names)])
        scene = name_scene(rng, names, extra=extra)
        if split_of_scene(scene) == "training":
            return scene


# Rows about shapes and colors


def _common_question(rng: random.Random, number: int) -> Understanding:
    scene = world.random_scene(rng, held=False)
    asked = ask(rng, scene)
    return Understanding(
        id=f"n{number:05d}",
        source=f"tiny/{asked.form}",
        licence=LICENSE,
        image=Picture.from_image(render(scene)).data,
        question=asked.text,
        answer=asked.answer,
        facts={"form": asked.form, "kind": asked.kind, "concepts": []},
    )


def _common_prompt(rng: random.Random, number: int) -> Generation:
    rows = [row for row in geneval_rows(TAGS[number % len(TAGS)]) if _trains(row)]
    row = rng.choice(rows)
    scene = sample_scene(rng, row)
    while split_of_scene(scene) != "training":
        scene = sample_scene(rng, row)
    return Generation(
        id=f"n{number:05d}",
        source=f"tiny/{row['tag']}",
        licence=LICENSE,
        prompt=row["prompt"],
        image=Picture.from_image(render(scene)).data,
        facts=prompt_facts(row),
    )


def _trains(row: Row) -> bool:
    return split_of_prompt(row) == "training"
