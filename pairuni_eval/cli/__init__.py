"""The command line `pairuni-eval`. Every command imports what it needs when it runs."""

from __future__ import annotations

from pairuni_eval.cli.application import make_app, run_app
from pairuni_eval.cli.board import board
from pairuni_eval.cli.bridge import bridge
from pairuni_eval.cli.convert import convert
from pairuni_eval.cli.data import fetch_command, validate_command
from pairuni_eval.cli.follow import follow
from pairuni_eval.cli.grade import grade
from pairuni_eval.cli.listing import list_command, version
from pairuni_eval.cli.lmms_flags import RunCommand
from pairuni_eval.cli.measure import run
from pairuni_eval.cli.push import push
from pairuni_eval.cli.readers import readers
from pairuni_eval.cli.report import compare, report
from pairuni_eval.cli.show import show
from pairuni_eval.cli.timeline import timeline

app = make_app("Measure a unified vision-language model: understanding, drawing and editing.")
app.command(cls=RunCommand)(run)
app.command()(grade)
app.command()(report)
app.command()(compare)
app.command()(readers)
app.command()(board)
app.command()(timeline)
app.command()(follow)
app.command()(show)
app.command()(push)
app.command()(convert)
app.command()(bridge)
app.command(name="list")(list_command)
app.command(name="validate")(validate_command)
app.command(name="fetch")(fetch_command)
app.command()(version)


def main() -> None:
    """Entry point of `pairuni-eval`."""
    run_app(app)
