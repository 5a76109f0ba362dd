"""A table of arms by columns: what is measured of each arm, and what each is against others.

Goes in: the runs of every arm on every benchmark, and the place of every column. Comes out: a cell
for every arm and column, the mean over training seeds with its 95 % interval, and a difference for
every column of the arms that are compared, over the same units, and from three seeds on over
training again as well (see `arms`).

What a reader looks for first is the arm in question: the p values of its whole benchmarks, against
every arm that it is compared with, are one family, and those of all other arms another; groups are
corrected under their benchmark, by `compare_arms`. Where no arm is in question, whoever reads the
table looks for the best of many, and all arms are one family.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pairuni_eval.analysis.arms import Arm, arm_row, compare_arms
from pairuni_eval.analysis.compare import Difference, Place, corrected_together
from pairuni_eval.analysis.intervals import Estimate
from pairuni_eval.cards import MetricSpec


class ArmColumn(NamedTuple):
    """One column: its title, and where its number stands; no place where nothing is measured."""

    title: str
    place: Place | None

    @property
    def address(self) -> str | None:
        """The benchmark and protocol that it reads."""
        return None if self.place is None else f"{self.place.benchmark}@{self.place.protocol}"


class ArmCell(NamedTuple):
    """One number: the mean over seeds, and the number of each seed."""

    spec: MetricSpec
    estimate: Estimate
    by_seed: tuple[float, ...]


class TableRow(NamedTuple):
    """One arm.

    Attributes:
        seeds: Seeds that are there in every column.
        wanted: Seeds that were asked for; 0 where nothing is trained.
        cells: None where there is no number: no run, or nothing that the column reads.
        trained_on: The recipe, the pair set and what differs, in words.
    """

    name: str
    seeds: int
    wanted: int
    cells: tuple[ArmCell | None, ...]
    trained_on: str


class Entrant(NamedTuple):
    """An arm that enters the table: its runs by benchmark, and of what is printed the rest."""

    name: str
    sides: Mapping[str, Arm]
    wanted: int
    trained_on: str


class ArmPair(NamedTuple):
    """One arm against another: a difference by the number of its column, where one was made."""

    ours: str
    theirs: str
    rows: Mapping[int, Difference]


class ArmTable(NamedTuple):
    """Everything that a table of arms prints.

    Attributes:
        method: The arm in question, if one is.
        versus: Every two arms that are compared, once.
        missing: Runs that are not there, of how many.
        few: Trained arms of too few seeds to say anything about training again.
    """

    columns: tuple[ArmColumn, ...]
    rows: tuple[TableRow, ...]
    method: str | None
    versus: tuple[ArmPair, ...]
    missing: tuple[int, int]
    few: tuple[str, ...]

    @property
    def addresses(self) -> list[str]:
        """What the columns read, each once."""
        return list(dict.fromkeys(one.address for one in self.columns if one.address))

    def verdicts(self, row: TableRow, column: int) -> list[tuple[str, Difference]]:
        """What may be said beside a number: only of an arm in question, of another arm nothing.

        That is the method; where none is named, every trained arm.
        """
        if not row.wanted or self.method not in (None, row.name):
            return []
        found = [(one.theirs, one.rows.get(column)) for one in self.versus if one.ours == row.name]
        return [(name, row) for name, row in found if row is not None]


def arm_table(
    columns: Sequence[ArmColumn],
    entries: Sequence[Entrant],
    pairs: Iterable[tuple[str, str]],
    *,
    method: str | None,
) -> ArmTable:
    """The table of some arms.

    Args:
        columns: Left to right; each place stands in some run of its benchmark.
        entries: Top to bottom.
        pairs: Ours and theirs of every comparison, by the names of their entries.
        method: The arm in question, if one is.
    """
    sides = {entry.name: entry.sides for entry in entries}
    versus = [
        ArmPair(ours, theirs, _compared(columns, sides[ours], sides[theirs]))
        for ours, theirs in pairs
    ]
    every = [side for entry in entries for side in entry.sides.values()]
    wanted = sum(max(1, entry.wanted) * len(entry.sides) for entry in entries)
    return ArmTable(
        columns=tuple(columns),
        rows=tuple(_row(entry, columns) for entry in entries),
        method=method,
        versus=_corrected(versus, method),
        missing=(wanted - sum(len(side.runs) for side in every), wanted),
        few=tuple(dict.fromkeys(side.name for side in every if side.few)),
    )


def _row(entry: Entrant, columns: Sequence[ArmColumn]) -> TableRow:
    return TableRow(
        name=entry.name,
        seeds=min(len(side.runs) for side in entry.sides.values()),
        wanted=entry.wanted,
        cells=tuple(_cell(entry.sides, column.place) for column in columns),
        trained_on=entry.trained_on,
    )


def _cell(sides: Mapping[str, Arm], place: Place | None) -> ArmCell | None:
    if place is None or not sides[place.benchmark].runs:
        return None
    found = arm_row(sides[place.benchmark], place)
    return ArmCell(place.spec, found.estimate, found.by_seed)


def _compared(
    columns: Sequence[ArmColumn], ours: Mapping[str, Arm], theirs: Mapping[str, Arm]
) -> dict[int, Difference]:
    """The difference of each column, by its number."""
    found: dict[int, Difference] = {}
    comparisons = {
        benchmark: compare_arms(ours[benchmark], theirs[benchmark])
        for benchmark in ours
        if ours[benchmark].runs and theirs[benchmark].runs
    }
    for number, column in enumerate(columns):
        if column.place is not None and column.place.benchmark in comparisons:
            comparison = comparisons[column.place.benchmark]
            rows = comparison.groups if column.place.group else comparison.differences
            row = next((one for one in rows if _is_of(one, column.place)), None)
            if row is not None:
                found[number] = row
    return found


def _is_of(row: Difference, place: Place) -> bool:
    """Whether a difference is of a column; groups are those of the headline."""
    if (row.protocol, row.group) != (place.protocol, place.group):
        return False
    return place.group is not None or row.spec.name == place.spec.name


def _corrected(versus: Sequence[ArmPair], method: str | None) -> tuple[ArmPair, ...]:
    """The differences with those of whole benchmarks corrected together; see the module."""
    found = [dict(one.rows) for one in versus]
    for asked in (True, False):
        places = [
            (pair, column)
            for pair, one in enumerate(versus)
            for column, row in one.rows.items()
            if row.group is None and (method in (None, one.ours)) is asked
        ]
        rows = corrected_together([found[pair][column] for pair, column in places])
        for (pair, column), row in zip(places, rows, strict=True):
            found[pair][column] = row
    return tuple(one._replace(rows=rows) for one, rows in zip(versus, found, strict=True))
