"""Gathers what an experiment's table is made of: the runs of its arms and the place of its columns.

The numbers and verdicts are `stats.arm_table`'s. Numbers of the tiny world are called tiny in
the heading of every column.
"""

from __future__ import annotations

from pathlib import Path

from pairuni_eval.toolkit import UserError, unknown_name
from pairuni_eval.toolkit.data import assignment
from pairuni_eval.toolkit.stats import (
    ArmColumn,
    ArmRuns,
    ArmTable,
    Entrant,
    Place,
    Tables,
    arm_table,
    narrowed,
)
from pairuni_eval.toolkit.store import StoredRun
from pairuni_train.config import find_arm
from pairuni_train.pair_data.record import Kind
from pairuni_train.pair_data.stats import read_stats
from pairuni_train.study.jobs import StudyOptions, is_finished, jobs_of, pair_file, run_folder
from pairuni_train.study.spec import Column, Experiment, StudyArm


def make_table(experiment: Experiment, options: StudyOptions) -> ArmTable:
    """Read the runs of every arm and compare them.

    Raises:
        UserError: if no arm has a finished run on some benchmark, or a column names a metric that
            its benchmark does not have.
    """
    experiment = experiment.on(tiny=options.tiny)
    benchmarks = experiment.benchmarks(tiny=options.tiny)
    entries = [_entry(arm, benchmarks, options) for arm in experiment.arms]
    columns = [_column(one, experiment, entries, options) for one in experiment.columns]
    return arm_table(columns, entries, experiment.comparisons, method=experiment.method)


def measured_columns(experiment: Experiment, options: StudyOptions) -> tuple[Column, ...]:
    """The columns for which some arm has a finished run."""
    return tuple(
        column
        for column in experiment.columns
        if (benchmark := experiment.benchmark_of(column, tiny=options.tiny)) is not None
        and any(_side(arm, benchmark, options).runs for arm in experiment.arms)
    )


def _entry(arm: StudyArm, benchmarks: tuple[str, ...], options: StudyOptions) -> Entrant:
    sides = {name: _side(arm, name, options) for name in benchmarks}
    wanted = options.seeds if arm.trained else 0
    return Entrant(arm.name, sides, wanted, _trained_on(arm, options))


def _side(arm: StudyArm, benchmark: str, options: StudyOptions) -> ArmRuns:
    folders = [run_folder(job, benchmark, options) for job in jobs_of(arm, options)]
    runs = tuple(Tables(StoredRun(folder)) for folder in folders if is_finished(folder))
    return ArmRuns(arm.name, runs, trained=arm.trained)


def _column(
    column: Column, experiment: Experiment, entries: list[Entrant], options: StudyOptions
) -> ArmColumn:
    """A column with the place of its number in the runs of its benchmark."""
    name = experiment.benchmark_of(column, tiny=options.tiny)
    if name is None:
        return ArmColumn(column.title, None)
    tables = next((entry.sides[name].runs[0] for entry in entries if entry.sides[name].runs), None)
    if tables is None:
        raise UserError(
            f"No arm has a finished run for the column '{column.title}'.",
            hint=f"Look into {options.root / 'logs'}.",
        )
    title = f"tiny {column.title}" if options.tiny else column.title
    return ArmColumn(title, _place(column, name, tables, tiny=options.tiny))


def _place(column: Column, name: str, tables: Tables, *, tiny: bool) -> Place:
    protocol = column.protocol or tables.protocols(name)[0]
    spec = tables.spec(name, protocol)
    wanted = (column.tiny_metric if tiny else None) or column.metric or spec.headline
    known = [metric.name for metric in spec.metrics]
    if wanted not in known:
        raise unknown_name(
            "metric",
            wanted,
            known,
            of=f"{name}@{protocol}",
            hint=f"Name one of them in the experiment's column '{column.title}'.",
        )
    metric = spec.metric(wanted)
    group = (column.tiny_group if tiny else None) or column.group
    if group is not None:
        return Place(name, protocol, narrowed(metric, group), group=group)
    return Place(name, protocol, metric, headline=wanted == spec.headline)


def _trained_on(arm: StudyArm, options: StudyOptions) -> str:
    """E.g. "pairuni: 256 rows (80 aligned, 176 retrieved), weighting sqrt"."""
    if not arm.trained:
        return "nothing: the checkpoint that training starts from"
    trained = find_arm(arm.trained_as)
    words = [f"{trained.name}: {_pairs_words(pair_file(arm, options))}"]
    words += [f"weighting {trained.weighting}"] if trained.weighting != "none" else []
    words += [assignment(key, value) for key, value in (arm.changes | arm.settings).items()]
    return ", ".join(words)


def _pairs_words(path: Path) -> str:
    if not path.is_file():
        return "its pair set is not there"
    stats = read_stats(path)
    kinds = [
        f"{stats.kinds[kind]} {kind.replace('_', ' ')}" for kind in Kind if kind in stats.kinds
    ]
    return f"{stats.rows} rows ({', '.join(kinds)})"
