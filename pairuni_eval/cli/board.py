"""`pairuni-eval board`: one page over all runs of a folder. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairuni_eval.cli.options import folder_to_write
from pairuni_eval.commands import as_typed


def board(
    runs: Annotated[Path, typer.Argument(help="The folder that holds the run folders.")],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder_to_write,
            metavar="PATH",
            help="Folder of the page; default: reports/NAME-board.",
        ),
    ] = None,
    reports: Annotated[
        Path,
        typer.Option(help="Folder with the reports of these runs, for what they compare already."),
    ] = Path("reports"),
) -> None:
    """One page over all runs of a folder: sort, filter, and compare two by a click."""
    from rich.console import Console

    from pairuni_eval.progress import Progress
    from pairuni_eval.report.board import build_board

    place = out or Path("reports") / f"{runs.resolve().name}-board"
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("runs", total=None)

        def tell(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of)

        page = build_board(runs, place, reports, tell=tell)
    typer.echo(f"Board: {page}")
    typer.echo(f"Next:  {as_typed('pairuni-eval', *_next(runs))}", err=True)


def _next(runs: Path) -> tuple[object, ...]:
    """The last two runs that are finished, compared; of one its report."""
    from pairuni_eval.store import layout
    from pairuni_eval.store.run_folders import find_runs

    found = find_runs(runs).runs
    done = [one for one in found if (one / layout.COMPLETE).is_file()]
    return ("compare", *done[-2:]) if len(done) > 1 else ("report", (done or found)[0])
