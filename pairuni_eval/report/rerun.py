"""How to run everything again that a report rests on: commands with their headings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.records import RunCard
from pairuni_eval.report.versus import Versus
from pairuni_eval.store.training import Settings, read_settings


class Rerun(NamedTuple):
    """A command and what it makes again."""

    title: str
    command: str


def reruns(
    run: RunCard,
    baselines: Sequence[Versus],
    arms: Mapping[str, Sequence[Path]],
    *,
    pairs: bool,
) -> tuple[Rerun, ...]:
    """The commands of the run, the baselines, the trainings and the page.

    Args:
        run: The reported run.
        baselines: The runs it is compared with.
        arms: Training folders by name.
        pairs: Whether a pair set was looked through.

    Raises:
        UserError: for settings of a training that cannot be read.
    """
    return (
        Rerun("This run", run.command),
        *(Rerun(f"The baseline {one.name}", one.card.command) for one in baselines),
        *_trainings(arms),
        Rerun("This page, from the runs' folders", _page(baselines, arms, pairs=pairs)),
    )


def _trainings(arms: Mapping[str, Sequence[Path]]) -> list[Rerun]:
    """The training commands of the arms whose settings are at hand, one a seed."""
    found = [(arm, read_settings(folder)) for arm, folders in arms.items() for folder in folders]
    return [Rerun(f"The training of {arm}", _training(one)) for arm, one in found if one]


def _training(settings: Settings) -> str:
    parts = [
        *("--recipe", settings.recipe.name, "--backbone", settings.backbone.name),
        *("--steps", str(settings.backbone.steps), "--seed", str(settings.seed)),
    ]
    return f"pairuni-train run {shlex.join(parts)} --pairs PAIRS"


def _page(baselines: Sequence[Versus], arms: Mapping[str, Sequence[Path]], *, pairs: bool) -> str:
    parts = [part for one in baselines for part in ("--baseline", f"{one.name}=FOLDER")]
    named = [name for name, folders in arms.items() for _ in folders]
    parts += [part for name in named for part in ("--training", f"{name}=FOLDER")]
    parts += ["--pairs", "PAIRS.parquet"] if pairs else []
    return f"pairuni-eval report RUN {shlex.join(parts)}".rstrip()
