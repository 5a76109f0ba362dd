"""An experiment's table: our arms with intervals and verdicts, the paper's rows in their own block.

A cell is the mean over training seeds with its 95 % interval; a verdict compares an arm with each
arm named in `against`, over the same units, and from three seeds on over training again as well.
What the experiment shows is said in sentences made from the verdicts, whatever they are. Numbers of
the tiny world are called tiny in the heading of every column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.analysis.arms import Arm as Side
from pairuni_eval.analysis.arms import arm_row, compare_arms
from pairuni_eval.analysis.compare import Comparison, Difference, Place
from pairuni_eval.analysis.intervals import Estimate
from pairuni_eval.analysis.paired import narrowed
from pairuni_eval.analysis.tables import Tables
from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import UserError, unknown_name
from pairuni_eval.report.text import arrows
from pairuni_eval.store.read import StoredRun
from pairuni_train.experiments.jobs import Setting, Trial, run_folder
from pairuni_train.experiments.spec import BASE, Arm, Column, Experiment


class Verdict(NamedTuple):
    """What one arm is against another in one column; `difference` is None where none was made."""

    against: str
    difference: Difference | None


class Cell(NamedTuple):
    """One number: mean over seeds, the number of each seed, and its verdicts."""

    spec: MetricSpec
    estimate: Estimate
    by_seed: tuple[float, ...]
    verdicts: tuple[Verdict, ...]


class Row(NamedTuple):
    """One arm."""

    name: str
    seeds: int
    cells: tuple[Cell | None, ...]


class Heading(NamedTuple):
    """One column: its title, and the benchmark and protocol that it reads."""

    title: str
    address: str


class Table(NamedTuple):
    """Everything that is printed.

    Attributes:
        findings: What the experiment shows, a sentence each.
        notes: What the verdicts do not cover.
    """

    experiment: Experiment
    tiny: bool
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]


Runs = Mapping[tuple[str, str], tuple[Tables, ...]]
"""The runs of an arm on a benchmark, one a seed."""


def make_table(experiment: Experiment, setting: Setting) -> Table:
    """Read the runs of every arm and compare them.

    Raises:
        UserError: if no arm has a finished run on some benchmark, or a column names a metric that
            its benchmark does not have.
    """
    runs = {
        (arm.name, benchmark): _runs(arm, benchmark, setting)
        for arm in experiment.arms
        for benchmark in experiment.benchmarks(tiny=setting.tiny)
    }
    compared = {
        (arm.name, other, benchmark): _compared(arm.name, other, benchmark, experiment, runs)
        for arm in experiment.arms
        for other in experiment.against
        for benchmark in experiment.benchmarks(tiny=setting.tiny)
        if arm.name != other
    }
    places = [_place(column, runs, setting) for column in experiment.columns]
    rows = tuple(
        Row(
            arm.name,
            max(len(runs[arm.name, place.benchmark]) for place in places),
            tuple(_cell(arm, place, experiment, runs, compared) for place in places),
        )
        for arm in experiment.arms
    )
    headings = tuple(
        Heading(
            f"tiny {column.title}" if setting.tiny else column.title,
            f"{place.benchmark}@{place.protocol}",
        )
        for column, place in zip(experiment.columns, places, strict=True)
    )
    sides = (
        _side(arm.name, place.benchmark, experiment, runs)
        for arm in experiment.arms
        for place in places
    )
    notes = dict.fromkeys(side.note for side in sides if side.runs and side.note)
    return Table(
        experiment, setting.tiny, headings, rows, _findings(experiment, compared), tuple(notes)
    )


def _runs(arm: Arm, benchmark: str, setting: Setting) -> tuple[Tables, ...]:
    seeds = 1 if arm.recipe == BASE else setting.seeds
    folders = [run_folder(Trial(arm, seed), benchmark, setting) for seed in range(seeds)]
    return tuple(Tables(StoredRun(folder)) for folder in folders if _complete(folder))


def _complete(folder: Path) -> bool:
    return (folder / "COMPLETE").exists()


def _side(name: str, benchmark: str, experiment: Experiment, runs: Runs) -> Side:
    recipe = next(arm.recipe for arm in experiment.arms if arm.name == name)
    return Side(name, runs[name, benchmark], trained=recipe != BASE)


def _compared(
    ours: str, theirs: str, benchmark: str, experiment: Experiment, runs: Runs
) -> Comparison | None:
    """Two arms on one benchmark; None while one of them has no run."""
    if not runs[ours, benchmark] or not runs[theirs, benchmark]:
        return None
    return compare_arms(
        _side(ours, benchmark, experiment, runs), _side(theirs, benchmark, experiment, runs)
    )


def _place(column: Column, runs: Runs, setting: Setting) -> Place:
    """Where a column's number stands in the runs."""
    benchmark = column.benchmark
    found = next(
        (tables for (_, name), tables in runs.items() if tables and _stands_for(name, benchmark)),
        None,
    )
    if found is None:
        raise UserError(
            f"No arm has a finished run for the column '{column.title}'.",
            hint=f"Look into {setting.root / 'logs'}.",
        )
    tables = found[0]
    name = next(iter(tables.run.cards))
    protocol = column.protocol or tables.protocols(name)[0]
    spec = tables.spec(name, protocol)
    wanted = (column.tiny_metric if setting.tiny else None) or column.metric or spec.headline
    known = [metric.name for metric in spec.metrics]
    if wanted not in known:
        raise unknown_name(f"metric of {name}@{protocol}", wanted, known, list_command="")
    metric = spec.metric(wanted)
    group = (column.tiny_group if setting.tiny else None) or column.group
    headline = group is None and wanted == spec.headline
    return Place(
        name, protocol, metric if group is None else narrowed(metric, group), headline, group
    )


def _stands_for(name: str, benchmark: str) -> bool:
    return name in (benchmark, f"tiny-{benchmark}")


def _cell(
    arm: Arm,
    place: Place,
    experiment: Experiment,
    runs: Runs,
    compared: Mapping[tuple[str, str, str], Comparison | None],
) -> Cell | None:
    if not runs[arm.name, place.benchmark]:
        return None
    found = arm_row(_side(arm.name, place.benchmark, experiment, runs), place)
    verdicts = tuple(
        Verdict(other, _difference(compared[arm.name, other, place.benchmark], place))
        for other in experiment.against
        if other != arm.name
    )
    return Cell(place.spec, found.estimate, found.by_seed, verdicts)


def _difference(comparison: Comparison | None, place: Place) -> Difference | None:
    if comparison is None:
        return None
    rows = comparison.differences if place.group is None else comparison.groups
    for row in rows:
        if (row.protocol, row.group) == (place.protocol, place.group) and (
            place.group is not None or row.spec.name == place.spec.name
        ):
            return row
    return None


def _findings(
    experiment: Experiment, compared: Mapping[tuple[str, str, str], Comparison | None]
) -> tuple[str, ...]:
    """What the last arm, the method in question, is against each other arm that is named."""
    method = experiment.arms[-1].name
    found = []
    for other in experiment.against:
        if other == method:
            continue
        for (ours, theirs, _), comparison in compared.items():
            if (ours, theirs) == (method, other) and comparison is not None:
                found += [
                    f"{method} against {other}: {arrows(row.sentence)}."
                    for row in comparison.headlines
                ]
    return tuple(found)


def addresses(table: Table) -> list[str]:
    """What the columns read, each once."""
    return list(dict.fromkeys(heading.address for heading in table.headings))


def headline_rows(table: Table) -> Sequence[tuple[str, Cell]]:
    """The last column of every arm that has one: what the picture shows."""
    return [(row.name, row.cells[-1]) for row in table.rows if row.cells[-1] is not None]
