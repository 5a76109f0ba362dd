"""An experiment's table: our arms with intervals and verdicts, the paper's rows in their own block.

A cell is the mean over training seeds with its 95 % interval; a verdict compares an arm with each
arm named in `against`, over the same units, and from three seeds on over training again as well.
The p values of two arms are corrected by Holm together: over the columns that are whole benchmarks,
and over the groups of one benchmark. Where the experiment is about no arm in particular, whoever
reads it looks for the best of many, and whole benchmarks are corrected over all arms as well.
Numbers of the tiny world are called tiny in the heading of every column.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.analysis.arms import Arm as Side
from pairuni_eval.analysis.arms import arm_row, compare_arms
from pairuni_eval.analysis.compare import Difference, Place, corrected_together
from pairuni_eval.analysis.intervals import Estimate
from pairuni_eval.analysis.paired import narrowed
from pairuni_eval.analysis.tables import Tables
from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import UserError, unknown_name
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun
from pairuni_train.experiments.changes import assignment
from pairuni_train.experiments.jobs import Setting, Trial, pair_file, run_folder
from pairuni_train.experiments.spec import BASE, Arm, Column, Experiment
from pairuni_train.pairs.record import Kind
from pairuni_train.pairs.stats import read_stats
from pairuni_train.recipe import find_recipe


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
    """One arm.

    Attributes:
        seeds: Seeds that are there in every column.
        wanted: Seeds that were asked for; 0 where nothing is trained.
        cells: None where there is no number: no run, or a column that tiny arms have not.
        trained_on: The recipe, the pair set and what differs, in words.
    """

    name: str
    seeds: int
    wanted: int
    cells: tuple[Cell | None, ...]
    trained_on: str


class Heading(NamedTuple):
    """One column: its title, and the benchmark and protocol that it reads; None if none does."""

    title: str
    address: str | None


class Table(NamedTuple):
    """Everything that is printed.

    Attributes:
        compared: By arm and other arm, the verdict of every column that has one.
        missing: Runs that are not there, of how many.
        few: Trained arms of too few seeds to say anything about training again.
    """

    experiment: Experiment
    tiny: bool
    steps: int
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    compared: Mapping[tuple[str, str], tuple[Difference, ...]]
    missing: tuple[int, int]
    few: tuple[str, ...]

    @property
    def addresses(self) -> list[str]:
        """What the columns read, each once."""
        return list(dict.fromkeys(one.address for one in self.headings if one.address))


Sides = Mapping[tuple[str, str], Side]
"""Every arm on every benchmark, with the runs that are there."""
Compared = Mapping[tuple[str, str], Mapping[int, Difference]]
"""By arm and other arm: the verdicts by the number of their column."""


def make_table(experiment: Experiment, setting: Setting) -> Table:
    """Read the runs of every arm and compare them.

    Raises:
        UserError: if no arm has a finished run on some benchmark, or a column names a metric that
            its benchmark does not have.
    """
    experiment = experiment.on(tiny=setting.tiny)
    benchmarks = experiment.benchmarks(tiny=setting.tiny)
    sides = {
        (arm.name, benchmark): _side(arm, benchmark, setting)
        for arm in experiment.arms
        for benchmark in benchmarks
    }
    places = [
        None if name is None else _place(column, name, sides, setting)
        for column in experiment.columns
        for name in (_benchmark(column, experiment, setting),)
    ]
    compared = _corrected(
        {
            (arm.name, other): _compared(arm.name, other, places, sides)
            for arm in experiment.arms
            for other in experiment.against
            if arm.name != other
        },
        over_arms=experiment.method is None,
    )
    rows = tuple(_row(arm, places, sides, compared, setting) for arm in experiment.arms)
    wanted = sum(max(1, row.wanted) for row in rows) * len(benchmarks)
    return Table(
        experiment=experiment,
        tiny=setting.tiny,
        steps=setting.backbone.steps,
        headings=_headings(experiment, places, tiny=setting.tiny),
        rows=rows,
        compared={pair: tuple(of.values()) for pair, of in compared.items()},
        missing=(wanted - sum(len(side.runs) for side in sides.values()), wanted),
        few=tuple(dict.fromkeys(name for (name, _), side in sides.items() if side.few)),
    )


def measured_columns(experiment: Experiment, setting: Setting) -> tuple[Column, ...]:
    """The columns for which some arm has a finished run."""
    return tuple(
        column
        for column in experiment.columns
        if (benchmark := _benchmark(column, experiment, setting)) is not None
        and any(_side(arm, benchmark, setting).runs for arm in experiment.arms)
    )


def _headings(
    experiment: Experiment, places: list[Place | None], *, tiny: bool
) -> tuple[Heading, ...]:
    return tuple(
        Heading(column.title, None)
        if place is None
        else Heading(
            f"tiny {column.title}" if tiny else column.title, f"{place.benchmark}@{place.protocol}"
        )
        for column, place in zip(experiment.columns, places, strict=True)
    )


def _side(arm: Arm, benchmark: str, setting: Setting) -> Side:
    seeds = 1 if arm.recipe == BASE else setting.seeds
    folders = [run_folder(Trial(arm, seed), benchmark, setting) for seed in range(seeds)]
    runs = tuple(Tables(StoredRun(folder)) for folder in folders if _complete(folder))
    return Side(arm.name, runs, trained=arm.recipe != BASE)


def _complete(folder: Path) -> bool:
    return (folder / layout.COMPLETE).exists()


# Columns


def _benchmark(column: Column, experiment: Experiment, setting: Setting) -> str | None:
    """What stands for a column's benchmark; None where nothing does."""
    if not setting.tiny:
        return column.benchmark
    return None if column.only == "real" else experiment.sisters[column.benchmark]


def _place(column: Column, name: str, sides: Sides, setting: Setting) -> Place:
    """Where a column's number stands in the runs of its benchmark."""
    tables = next(
        (side.runs[0] for (_, of), side in sides.items() if side.runs and of == name), None
    )
    if tables is None:
        raise UserError(
            f"No arm has a finished run for the column '{column.title}'.",
            hint=f"Look into {setting.root / 'logs'}.",
        )
    protocol = column.protocol or tables.protocols(name)[0]
    spec = tables.spec(name, protocol)
    wanted = (column.tiny_metric if setting.tiny else None) or column.metric or spec.headline
    known = [metric.name for metric in spec.metrics]
    if wanted not in known:
        raise unknown_name(f"metric of {name}@{protocol}", wanted, known, list_command="")
    metric = spec.metric(wanted)
    group = (column.tiny_group if setting.tiny else None) or column.group
    if group is not None:
        return Place(name, protocol, narrowed(metric, group), group=group)
    return Place(name, protocol, metric, headline=wanted == spec.headline)


# Rows


def _compared(
    ours: str, theirs: str, places: list[Place | None], sides: Sides
) -> dict[int, Difference]:
    """The verdict of each column, by its number."""
    comparisons = {
        benchmark: compare_arms(sides[ours, benchmark], sides[theirs, benchmark])
        for benchmark in dict.fromkeys(place.benchmark for place in places if place)
        if sides[ours, benchmark].runs and sides[theirs, benchmark].runs
    }
    found: dict[int, Difference] = {}
    for number, place in enumerate(places):
        if place is not None and place.benchmark in comparisons:
            comparison = comparisons[place.benchmark]
            rows = comparison.differences if place.group is None else comparison.groups
            row = next((one for one in rows if _is_of(one, place)), None)
            if row is not None:
                found[number] = row
    return found


def _corrected(compared: Compared, *, over_arms: bool) -> Compared:
    """The verdicts with those of whole benchmarks corrected together."""
    families: dict[tuple[str, str], list[tuple[tuple[str, str], int]]] = {}
    for (ours, theirs), of in compared.items():
        family = families.setdefault(("" if over_arms else ours, theirs), [])
        family += [((ours, theirs), number) for number, row in of.items() if row.group is None]
    found = {pair: dict(of) for pair, of in compared.items()}
    for places in families.values():
        rows = corrected_together([compared[pair][number] for pair, number in places])
        for (pair, number), row in zip(places, rows, strict=True):
            found[pair][number] = row
    return found


def _is_of(row: Difference, place: Place) -> bool:
    """Whether a difference is of a column; groups are those of the headline."""
    if (row.protocol, row.group) != (place.protocol, place.group):
        return False
    return place.group is not None or row.spec.name == place.spec.name


def _row(
    arm: Arm,
    places: list[Place | None],
    sides: Sides,
    compared: Compared,
    setting: Setting,
) -> Row:
    others = {other: of for (name, other), of in compared.items() if name == arm.name}
    cells = tuple(
        _cell(
            sides[arm.name, place.benchmark],
            place,
            tuple(Verdict(other, of.get(number)) for other, of in others.items()),
        )
        if place is not None
        else None
        for number, place in enumerate(places)
    )
    wanted = 0 if arm.recipe == BASE else setting.seeds
    seeds = min(len(side.runs) for (name, _), side in sides.items() if name == arm.name)
    return Row(arm.name, seeds, wanted, cells, _trained_on(arm, setting))


def _cell(side: Side, place: Place, verdicts: tuple[Verdict, ...]) -> Cell | None:
    if not side.runs:
        return None
    found = arm_row(side, place)
    return Cell(place.spec, found.estimate, found.by_seed, verdicts)


def _trained_on(arm: Arm, setting: Setting) -> str:
    """E.g. "pairuni: 256 rows (80 aligned, 176 retrieved), weighting sqrt"."""
    if arm.recipe == BASE:
        return "nothing: the checkpoint that training starts from"
    recipe = find_recipe(arm.recipe)
    words = [f"{recipe.name}: {_pairs_words(pair_file(arm, setting))}"]
    words += [f"weighting {recipe.weighting}"] if recipe.weighting != "none" else []
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
