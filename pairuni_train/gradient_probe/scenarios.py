"""What an offline probe pairs with what, at the same weights and with the same rollouts.

A scenario is an arm's pair set, cut into batches by the same seed. One of them is derived: `random`
re-pairs the halves of `pairug` where that set is at hand, so that its batches hold the very
questions of pairug's with other prompts; else it is read like the others.

Every half is addressed by its source and id, and so are the seeds of its rollouts: a half that two
scenarios share has the same rollouts, rewards and gradient in both, in whatever batch it stands.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from pairuni_eval.toolkit import UserError, as_typed, seed_for, unknown_name
from pairuni_eval.toolkit.models import Task
from pairuni_train.pair_data.config import PAIR_ARMS
from pairuni_train.pair_data.dataset import read_pairs
from pairuni_train.pair_data.record import Generation, Kind, Pair, Understanding

FIGURE_8 = ("pairug", "retrieved", "low_similarity", "g_only", "u_only", "random")
_PAIRED, _REPAIRED = "pairug", "random"


class Scenario(NamedTuple):
    """A name, its pairs, and where they come from."""

    name: str
    pairs: list[Pair]
    origin: str


def read_scenario(
    name: str, folder: Path, seed: int, *, read: Callable[[Path], list[Pair]] = read_pairs
) -> Scenario:
    """The pairs of a scenario.

    Args:
        name: An arm of `pairuni-train pairs build`.
        folder: What that wrote.
        seed: Of the re-pairing.
        read: Reads a pair set; e.g. without its images.

    Raises:
        UserError: for an unknown name, or a pair set that is not there.
    """
    if name not in PAIR_ARMS:
        raise unknown_name("scenario", name, PAIR_ARMS, list_command="pairuni-train probe --help")
    paired = folder / f"{_PAIRED}.parquet"
    if name == _REPAIRED and paired.is_file():
        return Scenario(name, repaired(read(paired), seed), f"{paired.name}, re-paired")
    file = folder / f"{name}.parquet"
    if not file.is_file():
        words = ("--arms", name, "--out", folder, "--preset", "PRESET")
        raise UserError(
            f"There is no pair set {file}.",
            hint=as_typed("pairuni-train", "pairs", "build", *words),
        )
    return Scenario(name, read(file), file.name)


def repaired(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """The same halves, each understanding half with the generation half of another pair."""
    order = list(range(len(pairs)))
    random.Random(seed_for(seed, "pairs", 0, "re-pairing")).shuffle(order)
    # A cycle through all pairs gives everyone the half of another.
    partner = {order[i]: order[(i + 1) % len(order)] for i in range(len(order))}
    return [
        msgspec.structs.replace(
            pair,
            kind=Kind.RANDOM,
            generation=pairs[partner[place]].generation,
            similarity=None,
            completed=None,
        )
        for place, pair in enumerate(pairs)
    ]


def addressed(pairs: Sequence[Pair], task: Task) -> list[Pair]:
    """Pairs whose id is that of the half which a task answers; those without one are left out."""
    found = []
    for pair in pairs:
        half: Understanding | Generation | None
        half = pair.understanding if task == "und" else pair.generation
        if half is not None:
            found.append(msgspec.structs.replace(pair, id=f"{half.source}/{half.id}"))
    return found
