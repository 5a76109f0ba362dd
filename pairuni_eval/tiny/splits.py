"""Which scenes and prompts are for training, for choosing settings, and held out: one rule.

A unit belongs to the split that a hash of what it means gives it, so that both sides ask the same
rule and no list has to be kept:

- a scene by its 16 cells: `world.held_out` keeps a tenth from training; of that a quarter is for
  tuning. The benchmarks of the suite `tiny` ask on the whole tenth.
- a prompt by what it asks for: two things in either order are one unit, and so are "a circle left
  of a square" and "a square right of a circle". Three units in ten are held out, one is for tuning.
- the prompt of a single name is always for training, for there are only 24 names to learn.

Sources of names and their completer keep to the training split; the sources of the pair preset
`tiny` and the lessons of the first base are older than the rule and draw every prompt of the six
kinds.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Literal

from pairuni_eval.tiny.name_prompts import ONE_NAME, names_of
from pairuni_eval.tiny.prompts import Row
from pairuni_eval.tiny.world import Scene, held_out, states_of

Split = Literal["training", "heldout", "tuning"]

_TUNING_SCENES = 4  # one held-out scene in so many
_PARTS, _HELD, _TUNING = 10, 3, 1  # of the units of prompts
_SALT = "split 544"  # of 600 the one that spreads all kinds of prompts best
_MIRROR = {"right of": "left of", "below": "above"}


def split_of_scene(scene: Scene) -> Split:
    """The split of a scene, by its cells."""
    if not held_out(scene):
        return "training"
    rest = _hash(f"scene {states_of(scene).tolist()}")
    return "tuning" if rest % _TUNING_SCENES == 0 else "heldout"


def split_of_prompt(row: Row) -> Split:
    """The split of a prompt, by what its row asks for."""
    if row.get("tag") == ONE_NAME:
        return "training"
    part = _hash(unit_of_prompt(row)) % _PARTS
    if part < _HELD:
        return "heldout"
    return "tuning" if part < _HELD + _TUNING else "training"


def unit_of_prompt(row: Row) -> str:
    """What prompts that mean the same have in common: names or things as a set, and their place."""
    if names := names_of(row):
        return f"names {' '.join(sorted(names))}"
    include: Sequence[dict[str, Any]] = row["include"]
    things = [" ".join(_words(entry)) for entry in include]
    placed = [
        (things[at], *entry["position"]) for at, entry in enumerate(include) if "position" in entry
    ]
    if not placed:
        return f"things {', '.join(sorted(things))}"
    return "; ".join(
        _relation(thing, relation, things[anchor]) for thing, relation, anchor in placed
    )


def _words(entry: dict[str, Any]) -> tuple[str, ...]:
    return str(entry["count"]), entry.get("color", "any"), entry["class"]


def _relation(thing: str, relation: str, anchor: str) -> str:
    if relation in _MIRROR:
        thing, relation, anchor = anchor, _MIRROR[relation], thing
    return f"{thing} {relation} {anchor}"


def _hash(text: str) -> int:
    return zlib.crc32(f"{_SALT} {text}".encode())
