"""`pairuni-eval bridge`: a script that serves a model from the environment that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairuni_eval.commands import as_typed


def bridge(
    write: Annotated[
        Path, typer.Option(metavar="FILE", help="The script to write, e.g. serve_model.py.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a script by which a model in an environment of its own is measured."""
    from pairuni_eval.models.endpoint.bridge import write_script

    write_script(write, force=force)
    typer.echo(f"Written to {write}")
    typer.echo("Fill in its first part, and start it with the Python that your model needs:")
    typer.echo(f"  {as_typed('python', write, '--port', 8765)}")
    typer.echo('Then a file model.toml with base_url = "http://127.0.0.1:8765/v1", and')
    command = ("pairuni-eval", "run", "--checkpoint", "endpoint:model.toml", "--limit", 8)
    typer.echo(f"Next: {as_typed(*command)}")
