"""What both command lines share: how one is made, and how its errors are printed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pairuni_eval import __version__
from pairuni_eval.errors import UserError
from pairuni_eval.foreign_text import under

_INTERRUPTED = 130
_STOPPED = "\nInterrupted. What was finished is kept; the same command continues."


def make_app(words: str) -> typer.Typer:
    """A command line with `--version`, `-h` and completion, described in a few words."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help=words,
    )
    app.callback()(_whole)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


def _whole(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def run_app(commands: typer.Typer) -> None:
    """Run a command line, printing user errors and interruptions without a traceback."""
    try:
        commands()
    except UserError as error:
        typer.echo(under("Error: ", error.message), err=True)
        if error.hint:
            typer.echo(under("Next:  ", error.hint), err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo(_STOPPED, err=True)
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # how typer passes an interruption on
            typer.echo(_STOPPED, err=True)
        raise
