"""Which file an arm trains on: the one given, the arm's in a folder given, or one built on demand.

A recipe may name a preset of pair sets. What a run builds from it lies in a cache folder that is
named by the configuration and the version, so that it never has to be made anew or thrown away;
runs that start together wait for the one that builds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec
from filelock import FileLock

from pairuni_eval.toolkit import UserError, __version__, as_typed, stable_hash, writing
from pairuni_eval.toolkit.store import cache_folder


class PairsOnDemand(Protocol):
    """A recipe, as far as its pairs go."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def pairs(self) -> str | None:
        """The preset that a run without pair sets builds."""
        ...


_REAL = "orsta-blip3o"  # the preset of the paper's pairs


def check_pairs(given: Path | None, arm: str, recipe: PairsOnDemand) -> None:
    """Raise where `find_pairs` would, without building anything."""
    if given is not None:
        find_pairs(given, arm, recipe)
    elif recipe.pairs is None:
        raise _no_pairs(arm, recipe)


def find_pairs(given: Path | None, arm: str, recipe: PairsOnDemand) -> Path:
    """The file of an arm's pair set.

    Args:
        given: A file, a folder that `pairs build` wrote, or None.
        arm: The arm, as `pairs build` names it.
        recipe: May name a preset to build from.

    Raises:
        UserError: if there is none, with the command that builds it.
    """
    if given is None:
        return _built(arm, recipe)
    file = given / f"{arm}.parquet" if given.is_dir() else given
    if not file.is_file():
        raise UserError(
            f"There is no pair set {file}.",
            hint=_building(
                recipe.pairs or _REAL, arm, given if given.suffix != ".parquet" else given.parent
            ),
        )
    return file


def _built(arm: str, recipe: PairsOnDemand) -> Path:
    if recipe.pairs is None:
        raise _no_pairs(arm, recipe)
    from pairuni_train.pair_data.config import check_arms, find_preset

    read = find_preset(recipe.pairs)
    digest = stable_hash(__version__, msgspec.to_builtins(read.config))[:12]
    folder = cache_folder() / "pairs" / f"{recipe.pairs}-{digest}"
    arms = check_arms((arm,))
    file = folder / f"{arm}.parquet"
    if file.is_file():
        return file
    from pairuni_train.pair_data.build import build

    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".run.lock"):
        if not file.is_file():
            build(read, folder, arms=arms)
    return file


def _no_pairs(arm: str, recipe: PairsOnDemand) -> UserError:
    return UserError(
        f"The recipe {recipe.name} trains on pairs that you build: give them with --pairs.",
        hint=_building(_REAL, arm, "DIR"),
    )


def _building(preset: str, arm: str, out: Path | str) -> str:
    words = ("pairs", "build", "--preset", preset, "--arms", arm, "--out", out)
    return as_typed("pairuni-train", *words)
