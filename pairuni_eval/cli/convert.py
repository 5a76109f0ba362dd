"""`pairuni-eval convert`: a checkpoint in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairuni_eval.cli.options import folder_to_write
from pairuni_eval.commands import as_typed
from pairuni_eval.models.formats import CheckpointFormat


def convert(
    source: Annotated[
        str, typer.Argument(help="Folder, hub id or BASE+WEIGHTS.", show_default=False)
    ],
    folder: Annotated[
        Path,
        typer.Argument(parser=folder_to_write, metavar="DST", help="Folder to write; a new one."),
    ],
    checkpoint_format: Annotated[
        CheckpointFormat | None,
        typer.Option(
            "--format",
            help="transformers, or original: as DeepSeek publishes Janus. Default: the other one.",
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16, float16; auto keeps the checkpoint's.")
    ] = "auto",
) -> None:
    """Write a Janus checkpoint in transformers' format or in DeepSeek's original one."""
    from rich.console import Console

    from pairuni_eval.adapters import find_adapter
    from pairuni_eval.models.janus.conversion import convert as write
    from pairuni_eval.progress import waiting

    find_adapter(source, "janus")
    with waiting(Console(stderr=True), f"converting {source}"):
        chosen = write(source, folder, checkpoint_format, dtype=dtype)
    typer.echo(f"Written to {folder}, in the {chosen} format")
    typer.echo(f"Next: {as_typed('pairuni-eval', 'run', '--checkpoint', folder)}")
