"""From the name of an experiment to its table: do what is left, then write."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pairuni_eval.errors import UserError
from pairuni_train.experiments.jobs import Setting, last_words, run_all, trials
from pairuni_train.experiments.spec import BASE, Experiment
from pairuni_train.experiments.table import make_table
from pairuni_train.experiments.write import write_table


class Reproduced(NamedTuple):
    """Where the table is, and how many trials failed."""

    page: Path
    failed: int


def reproduce(
    experiment: Experiment, setting: Setting, out: Path, console: Console, *, command: str
) -> Reproduced:
    """Run what an experiment still lacks and write its table.

    Raises:
        UserError: if nothing at all could be run; it names the log of the first failure.
    """
    experiment = experiment.on(tiny=setting.tiny)
    arms = sum(arm.recipe != BASE for arm in experiment.arms)
    total = arms + len(trials(experiment, setting))
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        bar = progress.add_task(experiment.name, total=total)
        failures = run_all(
            experiment,
            setting,
            lambda what: progress.update(bar, advance=1, description=what),
        )
    for failure in failures:
        console.print(f"[yellow]failed:[/yellow] {last_words(failure.log)}  ({failure.log})")
    if len(failures) == len(trials(experiment, setting)):
        first = failures[0]
        raise UserError(
            f"Every trial failed, the first with: {last_words(first.log)}",
            hint=f"Read {first.log}, then run the same command again.",
        )
    page = write_table(make_table(experiment, setting), out, command=command)
    return Reproduced(page, len(failures))
