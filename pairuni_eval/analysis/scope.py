"""Whom a verdict is about: these checkpoints, or the recipes that they were trained by.

Training again with another seed moves a score by points, which one checkpoint cannot show. So a
verdict is about a recipe from three training seeds on each side on; with fewer it is about the
checkpoints that were measured, and says so. The parent that a side was trained from is not trained
again: it has no seeds to draw. Only against its parent did a checkpoint get better or worse;
against any other it is better or worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pairuni_eval.analysis.comparable import Side
from pairuni_eval.errors import UserError
from pairuni_eval.records import ModelIdentity
from pairuni_eval.store.read import StoredRun

ENOUGH_SEEDS = 3
_COUNTS = {1: "one", 2: "two"}


class About(NamedTuple):
    """Whom a verdict is about.

    Attributes:
        other: The other side, as it is printed; "" where nobody printed it.
        parent: Whether the other side is the parent of ours.
        same_weights: Whether both sides are the same weights.
        scope: What a verdict holds for, where it is less than the recipe: "this checkpoint, one
            seed".
        needed: What would let it say more: "three seeds of each arm".
        note: What the verdicts do not cover, in sentences.
    """

    other: str = ""
    parent: bool = False
    same_weights: bool = False
    scope: str | None = None
    needed: str | None = None
    note: str | None = None

    @property
    def warning(self) -> str | None:
        """The scope with what it means and what would help, in one phrase."""
        if self.scope is None:
            return None
        return f"{self.scope}: training again may give another word; {self.needed} would tell"


NOBODY = About()


class Named(NamedTuple):
    """A side with its name and whether it is a recipe that can be trained again."""

    name: str
    side: Side
    trained: bool = True

    @property
    def few(self) -> bool:
        """Whether there are too few seeds to say anything about training again."""
        return self.trained and len(self.side) < ENOUGH_SEEDS

    @property
    def note(self) -> str:
        """What its numbers do not cover."""
        one = len(self.side) == 1
        seeds = f"{_COUNTS.get(len(self.side), 'no')} training seed{'s' * (not one)}"
        return (
            f"{self.name} has {seeds}: what is said about it holds for "
            f"{'this checkpoint' if one else 'these checkpoints'}, not for training it again."
        )


def identities(side: Side) -> list[ModelIdentity]:
    """The weights behind a side."""
    return [tables.run.card.checkpoint for tables in side]


def is_parent(of: Side, other: Side) -> bool:
    """Whether every run of one side was trained from the one checkpoint that the other side is."""
    theirs = {(one.weights, one.name) for one in identities(other)}
    return len(theirs) == 1 and all(
        one.parent is not None and one.parent in next(iter(theirs)) for one in identities(of)
    )


def same_weights(ours: Side, theirs: Side) -> bool:
    """Whether both sides are one and the same weights."""
    return len({one.weights for one in identities((*ours, *theirs))}) == 1


def checked_seeds(name: str, runs: Sequence[StoredRun]) -> None:
    """Refuse a side whose runs are not of different weights.

    Raises:
        UserError: if two runs are of the same weights: they are no two training seeds.
    """
    seen: dict[str, str] = {}
    for run in runs:
        weights, folder = run.card.checkpoint.weights, str(run.folder)
        if weights in seen:
            raise UserError(
                f"{seen[weights]} and {folder} are given as training seeds of {name}, but are runs "
                f"of the same weights ({weights[:12]}).",
                hint="Give one run of each seed: train with another --seed, then measure it.",
            )
        seen[weights] = folder


def about(ours: Named, theirs: Named) -> About:
    """Whom the verdicts of two sides are about."""
    parent = is_parent(ours.side, theirs.side)
    if same_weights(ours.side, theirs.side):
        note = "Both are the same weights."
        return About(theirs.name, parent, same_weights=True, note=note)
    fixed = (is_parent(theirs.side, ours.side), parent)
    sides = [
        one._replace(trained=one.trained and not no)
        for one, no in zip((ours, theirs), fixed, strict=True)
    ]
    few = [one for one in sides if one.few]
    if not few:
        return About(theirs.name, parent)
    notes = " ".join(one.note for one in few)
    return About(theirs.name, parent, False, _scope(few[0], ours), _needed(few, sides), notes)


def _needed(few: Sequence[Named], sides: Sequence[Named]) -> str:
    """What would let a verdict say more."""
    if all(one.trained for one in sides):
        return "three seeds of each arm" if len(few) > 1 else f"three seeds of {few[0].name}"
    return "three seeds"


def _scope(few: Named, ours: Named) -> str:
    one = len(few.side) == 1
    seeds = f"{_COUNTS[len(few.side)]} seed{'s' * (not one)}"
    if few.name == ours.name and few.side is ours.side:
        return f"{'this checkpoint' if one else 'these checkpoints'}, {seeds}"
    return f"{few.name} by {seeds}"
