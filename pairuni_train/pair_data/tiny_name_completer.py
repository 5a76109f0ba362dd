"""Writes the other half of a half about made-up names, about the same name.

A question gets a prompt that names what it asks for, and perhaps one more thing of the picture; a
prompt gets a question about one of its names. So a name that only one source knows reaches both
tasks. Who asks for a name that is not there cannot get a prompt for it, since a prompt is true of
the picture: it gets one that names what is there instead. Only names that the half's source knows
are used, and only prompts that no suite holds out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from pairuni_eval.api.tiny import (
    NameKind,
    Scene,
    ask_about,
    name_row,
    names_in,
    read_names,
    split_of_prompt,
)
from pairuni_train.pair_data.complete import Declined, Draft, NewPrompt, NewQuestion
from pairuni_train.pair_data.record import Half, Understanding
from pairuni_train.pair_data.tiny_name_rows import prompt_facts

# What a question about a prompt's picture asks, as often as in a source of questions.
_KINDS: dict[NameKind, int] = {
    "name_exists": 4,
    "name_color": 1,
    "name_shape": 1,
    "name_choice": 2,
}


def complete_names(rng: random.Random, half: Half, scene: Scene) -> Draft | Declined:
    """The missing half of one that is about names.

    Args:
        rng: Draws the free choices.
        half: With `concepts` and `names` among its facts.
        scene: What its picture shows.
    """
    known = read_names(half.facts["names"])
    if isinstance(half, Understanding):
        return _write_prompt(rng, half, scene, known)
    return _write_question(rng, half, scene, known)


def _write_prompt(
    rng: random.Random, half: Understanding, scene: Scene, known: Sequence[str]
) -> Draft | Declined:
    (asked,) = half.facts["concepts"]
    there = [name for name in names_in(scene) if name in known]
    if not there:
        return Declined("the picture shows no name that the source knows")
    named = asked if asked in there else rng.choice(there)
    pairs = [rng.sample((named, other), 2) for other in there if other != named]
    rows = [row for row in (name_row(*pair) for pair in pairs) if _trains(row)]
    row = rng.choice(rows) if rows and rng.random() < 0.5 else name_row(named)
    return Draft(NewPrompt(row["prompt"]), prompt_facts(row) | {"names": half.facts["names"]})


def _write_question(
    rng: random.Random, half: Half, scene: Scene, known: Sequence[str]
) -> Draft | Declined:
    (kind,) = rng.choices(list(_KINDS), weights=list(_KINDS.values()))
    name = rng.choice(half.facts["concepts"])
    if kind == "name_exists" and rng.random() < 0.5:
        absent = [one for one in known if one not in names_in(scene)]
        name = rng.choice(absent)
    asked = ask_about(rng, scene, name, kind, known=known)
    if asked is None:
        return Declined("the picture shows too many of the names that the source knows")
    facts = asked.facts | {"names": half.facts["names"]}
    return Draft(NewQuestion(asked.text, asked.answer), facts)


def _trains(row: dict[str, object]) -> bool:
    return split_of_prompt(row) == "training"
