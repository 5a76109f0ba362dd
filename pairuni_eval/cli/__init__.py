"""The command line `pairuni-eval`. Every command imports what it needs when it runs."""

from __future__ import annotations

import sys

import typer

from pairuni_eval.cli.data import fetch, validate
from pairuni_eval.cli.grade import grade
from pairuni_eval.cli.listing import list_command, version
from pairuni_eval.cli.measure import run
from pairuni_eval.cli.report import compare, report
from pairuni_eval.cli.show import show
from pairuni_eval.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure a unified vision-language model: understanding, drawing and editing.",
)
app.command()(run)
app.command()(grade)
app.command()(report)
app.command()(compare)
app.command()(show)
app.command(name="list")(list_command)
app.command()(validate)
app.command()(fetch)
app.command()(version)

_INTERRUPTED = 130
_STOPPED = "\nInterrupted. What was finished is kept; the same command continues."


def main() -> None:
    """Entry point of `pairuni-eval`."""
    run_app(app)


def run_app(commands: typer.Typer) -> None:
    """Run a command line, printing user errors and interruptions without a traceback."""
    try:
        commands()
    except UserError as error:
        typer.echo(f"Error: {error.message}", err=True)
        if error.hint:
            typer.echo(f"Next:  {error.hint}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo(_STOPPED, err=True)
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # how typer passes an interruption on
            typer.echo(_STOPPED, err=True)
        raise
