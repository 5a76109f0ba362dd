"""From the name of an experiment to its table or figure: do what is left, then write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.progress import Progress
from pairuni_train.study.curves import make_curves
from pairuni_train.study.flagship import make_flagship
from pairuni_train.study.flagship_jobs import plan_flagship, run_flagship, work_of
from pairuni_train.study.flagship_page import write_flagship
from pairuni_train.study.gradients import make_gradients
from pairuni_train.study.jobs import StudyOptions, run_all, train_jobs
from pairuni_train.study.pages import write_curves, write_gradients, write_table
from pairuni_train.study.probes import plan_probes, run_probes
from pairuni_train.study.processes import Failure, last_words
from pairuni_train.study.registration import registration_of
from pairuni_train.study.spec import Experiment, experiments
from pairuni_train.study.table import make_table


class Reproduced(NamedTuple):
    """Where the table or figure is, and how many jobs or probes failed."""

    page: Path
    failed: int


class Placed(NamedTuple):
    """What of a flagship is done: a base, some overlaps, other numbers of seeds than its file's."""

    base: int = 0
    overlaps: tuple[float, ...] = ()
    seeds: int | None = None


_WHOLE = Placed()


class _StudyWork(NamedTuple):
    """What an experiment of one kind does.

    Attributes:
        sets: Pair sets that are built.
        jobs: Jobs or probes.
        run: Does what is left; hears of every pair set and every job.
        write: Writes what the jobs have found, into a folder, under the command that does it
            again, and with figures for papers.
    """

    sets: int
    jobs: int
    run: Callable[[Callable[[str], None]], list[Failure]]
    write: Callable[..., Path]


def reproduce(
    experiment: Experiment,
    options: StudyOptions,
    out: Path,
    console: Console,
    *,
    command: str,
    batches: int | None = None,
    figures: Sequence[str] = ("svg",),
    placed: Placed = _WHOLE,
) -> Reproduced:
    """Run what an experiment still lacks and write its table or figure.

    Args:
        experiment: What is reproduced.
        options: How.
        out: Folder of the table or figure.
        console: Where progress is shown.
        command: What does the same again; it is printed on the page.
        batches: Of each scenario, instead of the experiment's; for gradients only.
        figures: Formats that the charts are drawn in for papers: pdf, svg, png.
        placed: What of a flagship is done.

    Raises:
        UserError: if nothing at all could be run; it names the log of the first failure.
    """
    work = _work(experiment.on(tiny=options.tiny), options, batches, placed)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        bar = progress.add_task(experiment.name, total=work.sets + work.jobs)
        failures = work.run(lambda what: progress.update(bar, advance=1, description=what))
    for failure in failures:
        console.print(f"[yellow]failed:[/yellow] {last_words(failure.log)}  ({failure.log})")
    if len(failures) == work.jobs:
        first = failures[0]
        raise UserError(
            f"Everything failed, the first with: {last_words(first.log)}",
            hint=f"Read {first.log}, then run the same command again.",
        )
    return Reproduced(work.write(out, command=command, figures=figures), len(failures))


def _work(
    experiment: Experiment, options: StudyOptions, batches: int | None, placed: Placed
) -> _StudyWork:
    if experiment.kind == "gradients":
        probes = plan_probes(experiment, options, batches)
        return _StudyWork(
            len(probes.scenarios),
            options.seeds,
            partial(run_probes, probes),
            lambda out, **page: write_gradients(make_gradients(probes), out, **page),
        )
    if batches is not None:
        raise UserError(f"{experiment.name} probes no gradients: it has no --batches.")
    if experiment.kind == "flagship":
        return _flagship_work(experiment, options, placed)
    return _StudyWork(
        sum(arm.trained for arm in experiment.arms),
        len(train_jobs(experiment, options)),
        partial(run_all, experiment, options),
        partial(_write_arms, experiment, options),
    )


def _flagship_work(experiment: Experiment, options: StudyOptions, placed: Placed) -> _StudyWork:
    file = registration_of(experiments()[experiment.name], experiment.name)
    flagship = plan_flagship(experiment, options, file, **placed._asdict())
    return _StudyWork(
        *work_of(flagship),
        partial(run_flagship, flagship),
        lambda out, **page: write_flagship(make_flagship(flagship), out, **page),
    )


def _write_arms(experiment: Experiment, options: StudyOptions, out: Path, **page: Any) -> Path:
    if experiment.kind == "curves":
        return write_curves(make_curves(experiment, options), out, **page)
    table, steps = make_table(experiment, options), options.recipe.steps
    return write_table(table, experiment, out, tiny=options.tiny, steps=steps, **page)
