"""`pairuni-eval timeline`: the checkpoints of trainings over their steps. Needs no torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from pairuni_eval.cli.options import folder_to_write
from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError


def timeline(
    named: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUNS...",
            help="Runs of checkpoints, folders that hold such runs, or training folders.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder_to_write,
            metavar="PATH",
            help="Folder of the page; default: reports/NAME-timeline.",
        ),
    ] = None,
    watch: Annotated[
        float | None,
        typer.Option(
            min=1.0, help="Build it again whenever runs have ended, looking every so many seconds."
        ),
    ] = None,
) -> None:
    """What the checkpoints of trainings measure, over their steps, last against first."""
    from rich.console import Console

    from pairuni_eval.named_runs import located
    from pairuni_eval.progress import waiting
    from pairuni_eval.report.timeline import build_timeline, state_of

    place = out or Path("reports") / f"{named[0].resolve().name}-timeline"
    named = [located(one) for one in named]
    seen = state_of(named)
    try:
        with waiting(Console(stderr=True), "reading the runs"):
            page = build_timeline(named, place)
        typer.echo(f"Timeline: {page}")
    except UserError:
        if watch is None:
            raise
        typer.echo("Waiting for the first run that has ended.", err=True)
    while watch is not None:
        time.sleep(watch)
        now = state_of(named)
        if now == seen:
            continue
        seen = now
        try:
            typer.echo(f"Timeline: {build_timeline(named, place)}")
        except UserError as failure:  # e.g. a run that is being copied: the next look may read it
            typer.echo(f"Not built: {failure.message}", err=True)
    typer.echo(
        f"Next:     {as_typed('pairuni-eval', 'board', _folder_of_runs(named[0]))}", err=True
    )


def _folder_of_runs(named: Path) -> Path:
    """The folder that a board can be of: what is named, unless it is a run or a training."""
    from pairuni_eval.store import layout
    from pairuni_eval.store.evaluations import EVALUATIONS

    if (named / layout.RUN_FILE).is_file():
        return named.parent
    evaluations = named / EVALUATIONS
    return evaluations if evaluations.is_dir() else named
