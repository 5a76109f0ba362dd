"""The command line `pairuni-train`. Every command imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairuni_eval import __version__
from pairuni_eval.cli import run_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train a unified vision-language model.",
)


@app.command(name="pretrain-tiny")
def pretrain_tiny(
    out: Annotated[Path, typer.Option(help="Folder to write checkpoints to.")],
    steps: Annotated[
        int | None, typer.Option(help="Training steps; default: the recipe's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    resume: Annotated[Path | None, typer.Option(help="Checkpoint folder to go on from.")] = None,
) -> None:
    """Train the tiny model from nothing: VQ first, then vision tower and language model."""
    from dataclasses import replace

    from pairuni_train.pretrain_tiny import PretrainConfig, pretrain

    config = PretrainConfig(seed=seed)
    pretrain(config if steps is None else replace(config, steps=steps), out, resume=resume)
    typer.echo(f"Checkpoint: {out}")
    typer.echo(f"Next:       pairuni-eval run --checkpoint {out}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point: runs a command and prints user errors without a traceback."""
    run_app(app)


if __name__ == "__main__":
    main()
