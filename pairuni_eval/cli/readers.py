"""`pairuni-eval readers`: who sees how much in whose pictures, over runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pairuni_eval.cli.options import Json, say_notes
from pairuni_eval.named_runs import opened


def readers(
    runs: Annotated[list[Path], typer.Argument(help="Runs of `self:` benchmarks.")],
    as_json: Json = False,
) -> None:
    """Show how far every reader sees what every painter drew, as matrices of J with intervals."""
    from rich.console import Console

    from pairuni_eval.report import readers_output

    found_runs = [opened(run) for run in runs]
    say_notes(*found_runs)
    found = readers_output.readings(found_runs)
    if as_json:
        typer.echo(json.dumps(readers_output.as_json(found), ensure_ascii=False, allow_nan=False))
        return
    for table in readers_output.as_tables(found):
        Console().print(table)
