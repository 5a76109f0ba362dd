"""`pairuni-eval show`: one sample of a run in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairuni_eval.cli.options import say_notes, split_names
from pairuni_eval.commands import as_typed
from pairuni_eval.named_runs import located


def show(
    run: Annotated[Path, typer.Argument(help="A complete run folder, or a packed run.")],
    sample: Annotated[str, typer.Argument(help="The sample's key or uid, or how it begins.")],
    protocol: Annotated[
        str | None, typer.Option(help="Scores of these protocols only, comma-separated.")
    ] = None,
) -> None:
    """Show one sample of a run: what was asked, what came back, every score with its reason."""
    from pairuni_eval.report.sample import find_sample, sample_lines
    from pairuni_eval.store.read import StoredRun

    stored = StoredRun(located(run))
    say_notes(stored)
    uid = find_sample(stored, sample)
    lines = list(sample_lines(stored, uid, split_names(protocol, "--protocol")))
    typer.echo("\n".join(lines))
    typer.echo(f"Next: {as_typed('pairuni-eval', 'report', run)}", err=True)
