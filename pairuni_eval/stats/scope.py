"""The scope of a verdict: these checkpoints, or the arms that they were trained by.

Training again with another seed moves a score by points, which one checkpoint cannot show. So a
verdict is about an arm from three training seeds on each side on; with fewer it is about the
checkpoints that were measured, and says so. The parent that a side was trained from is not trained
again: it has no seeds to draw. Only against its parent did a checkpoint get better or worse;
against any other it is better or worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.records import ModelIdentity
from pairuni_eval.stats.comparable import Side
from pairuni_eval.store.read import StoredRun
from pairuni_eval.training_record import trained

ENOUGH_SEEDS = 3
_COUNTS = {1: "one", 2: "two"}


class Few(NamedTuple):
    """A side with too few training seeds to say anything about training again."""

    name: str
    seeds: int


class Scope(NamedTuple):
    """Whom a verdict is about.

    Attributes:
        other: The other side, as it is printed; "" where nobody printed it.
        parent: Whether the other side is the parent of ours.
        same_weights: Whether both sides are the same weights.
        scope: What a verdict holds for, where it is less than the arm: "this checkpoint, one
            seed".
        needed: What would let it say more: "three training seeds a side".
        note: What the verdicts do not cover, in sentences.
        few: The sides with too few training seeds.
        seeds: Runs on our side and on the other.
    """

    other: str = ""
    parent: bool = False
    same_weights: bool = False
    scope: str | None = None
    needed: str | None = None
    note: str | None = None
    few: tuple[Few, ...] = ()
    seeds: tuple[int, int] = (1, 1)

    @property
    def holds_for(self) -> str | None:
        """What a sentence says of its scope: it, or the seeds that speak about the arm."""
        ours, theirs = self.seeds
        if self.scope is not None or ours == theirs == 1:
            return self.scope
        if theirs == 1 or ours == 1:
            return f"{max(ours, theirs)} seeds, about the arm"
        each = f"{ours} seeds a side" if ours == theirs else f"{ours} and {theirs} seeds"
        return f"{each}, about the arm"


NOBODY = Scope()


class NamedSide(NamedTuple):
    """A side with its name and whether it is an arm that can be trained again."""

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
    """Refuse a side whose runs are not of different weights and one arm.

    Raises:
        UserError: if two runs are of the same weights, or say that they were trained as different
            arms: they are not two training seeds.
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
    arms = {trained(run.card.checkpoint).arm: str(run.folder) for run in runs}
    arms.pop(None, None)
    if len(arms) > 1:
        (arm, folder), (other, elsewhere), *_ = arms.items()
        raise UserError(
            f"{folder} and {elsewhere} are given as training seeds of {name}, but were trained as "
            f"'{arm}' and as '{other}'.",
            hint="Give the runs of one arm; another arm is a --baseline of its own.",
        )


def check_apart(ours: NamedSide, theirs: NamedSide) -> None:
    """Refuse sides of several runs that have a checkpoint in common.

    Its outputs would be compared with themselves. One run against one of the same weights is a
    comparison like any other: it says so.

    Raises:
        UserError: naming the run that stands on both sides.
    """
    if len(ours.side) == len(theirs.side) == 1:
        return
    mine = {tables.run.card.checkpoint.weights: tables.run.folder for tables in ours.side}
    for tables in theirs.side:
        weights = tables.run.card.checkpoint.weights
        if weights in mine:
            raise UserError(
                f"{mine[weights]} and {tables.run.folder} are the same weights ({weights[:12]}), "
                f"and are given as seeds of {ours.name} and of {theirs.name}.",
                hint="Give each checkpoint on one side: --sibling RUN is a further seed of this "
                "run's arm, --baseline NAME=RUN one of another.",
            )


def about(ours: NamedSide, theirs: NamedSide) -> Scope:
    """Whom the verdicts of two sides are about."""
    parent = is_parent(ours.side, theirs.side)
    seeds = len(ours.side), len(theirs.side)
    if same_weights(ours.side, theirs.side):
        note = "Both are the same weights."
        return Scope(theirs.name, parent, same_weights=True, note=note, seeds=seeds)
    fixed = (is_parent(theirs.side, ours.side), parent)
    sides = [
        one._replace(trained=one.trained and not no)
        for one, no in zip((ours, theirs), fixed, strict=True)
    ]
    few = [one for one in sides if one.few]
    if not few:
        return Scope(theirs.name, parent, seeds=seeds)
    return Scope(
        other=theirs.name,
        parent=parent,
        scope=_scope(few[0], ours),
        needed=_needed(few, sides),
        note=" ".join(one.note for one in few),
        few=tuple(Few(one.name, len(one.side)) for one in few),
        seeds=seeds,
    )


def _needed(few: Sequence[NamedSide], sides: Sequence[NamedSide]) -> str:
    """What would let a verdict say more; a parent is not trained again."""
    trained = all(one.trained for one in sides)
    return f"three training seeds {'a side' if trained else f'of {few[0].name}'}"


def seeds_warning(found: Sequence[Scope]) -> str | None:
    """E.g. "GRPO is one training seed; another seed could change the verdict"; None if none could.

    Args:
        found: Whom the verdicts of one page are about; every side is named once.
    """
    by_seeds: dict[int, list[str]] = {}
    for one in dict.fromkeys(few for each in found for few in each.few):
        by_seeds.setdefault(one.seeds, []).append(one.name)
    if not by_seeds:
        return None
    said = [_are_seeds(names, seeds) for seeds, names in sorted(by_seeds.items())]
    return f"{' and '.join(said)}; another seed could change the verdict"


def _are_seeds(names: Sequence[str], seeds: int) -> str:
    """E.g. "ours and GRPO are one training seed each"."""
    count = f"{_COUNTS[seeds]} training seed{'s' * (seeds != 1)}"
    if len(names) == 1:
        return f"{names[0]} is {count}"
    return f"{', '.join(names[:-1])} and {names[-1]} are {count} each"


def _scope(few: NamedSide, ours: NamedSide) -> str:
    one = len(few.side) == 1
    seeds = f"{_COUNTS[len(few.side)]} seed{'s' * (not one)}"
    if few.name == ours.name and few.side is ours.side:
        return f"{'this checkpoint' if one else 'these checkpoints'}, {seeds}"
    return f"{seeds} of {few.name}"
