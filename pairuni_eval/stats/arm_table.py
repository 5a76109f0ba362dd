"""A table of arms by columns: what is measured of each arm, and what each is against others.

Goes in: the runs of every arm on every benchmark, and the place of every column. Comes out: a cell
for every arm and column, the mean over training seeds with its 95 % interval, and a difference for
every column of the arms that are compared, over the same units, and from three seeds on over
training again as well (see `arms`).

What a reader looks for first is the arm in question: its comparisons with every arm that it is
compared with are one page of tests, as `families` corrects them, and those of all other arms
another. Where no arm is in question, whoever reads the table looks for the best of many, and all
arms are one page. Only what is a column is tested; columns of whole benchmarks are its headlines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.arms import ArmRuns, arm_row
from pairuni_eval.stats.compare import TIE_MARGIN, Comparison, Difference, Place, find_differences
from pairuni_eval.stats.families import UncorrectedComparison, together
from pairuni_eval.stats.intervals import Estimate
from pairuni_eval.stats.scope import NOBODY


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
    sides: Mapping[str, ArmRuns]
    wanted: int
    trained_on: str


class ArmPair(NamedTuple):
    """One arm against another.

    Attributes:
        asked: Whether ours is in question: the method, or any arm where none is.
        rows: The difference by the number of its column, where one was made.
        comparison: All that was compared.
    """

    ours: str
    theirs: str
    asked: bool
    rows: Mapping[int, Difference]
    comparison: Comparison


class ArmTable(NamedTuple):
    """Everything that a table of arms prints.

    Attributes:
        method: The arm in question, if one is.
        pairs: Every two arms that are compared, once.
        missing: Runs that are not there, of how many.
    """

    columns: tuple[ArmColumn, ...]
    rows: tuple[TableRow, ...]
    method: str | None
    pairs: tuple[ArmPair, ...]
    missing: tuple[int, int]

    @property
    def addresses(self) -> list[str]:
        """What the columns read, each once."""
        return list(dict.fromkeys(one.address for one in self.columns if one.address))

    def verdicts(self, row: TableRow, column: int) -> list[tuple[str, Difference]]:
        """What may be said beside a number, by the name of the other arm.

        Only a trained arm in question is spoken of: beside any other number stands no word.
        """
        return [
            (one.theirs, one.rows[column])
            for one in self.pairs
            if row.wanted and one.asked and one.ours == row.name and column in one.rows
        ]


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
    found = {
        (ours, theirs): _findings(columns, sides[ours], sides[theirs]) for ours, theirs in pairs
    }
    every = [side for entry in entries for side in entry.sides.values()]
    wanted = sum(max(1, entry.wanted) * len(entry.sides) for entry in entries)
    return ArmTable(
        columns=tuple(columns),
        rows=tuple(_row(entry, columns) for entry in entries),
        method=method,
        pairs=_corrected(columns, found, method),
        missing=(wanted - sum(len(side.runs) for side in every), wanted),
    )


def _row(entry: Entrant, columns: Sequence[ArmColumn]) -> TableRow:
    return TableRow(
        name=entry.name,
        seeds=min(len(side.runs) for side in entry.sides.values()),
        wanted=entry.wanted,
        cells=tuple(_cell(entry.sides, column.place) for column in columns),
        trained_on=entry.trained_on,
    )


def _cell(sides: Mapping[str, ArmRuns], place: Place | None) -> ArmCell | None:
    if place is None or not sides[place.benchmark].runs:
        return None
    found = arm_row(sides[place.benchmark], place)
    return ArmCell(place.spec, found.estimate, found.by_seed)


def _findings(
    columns: Sequence[ArmColumn], ours: Mapping[str, ArmRuns], theirs: Mapping[str, ArmRuns]
) -> UncorrectedComparison:
    """What two arms show in the columns, over all benchmarks that both have a run of."""
    places = [column.place for column in columns if column.place is not None]
    rows: list[Difference] = []
    about = NOBODY
    for benchmark in ours:
        if ours[benchmark].runs and theirs[benchmark].runs:
            sides = ours[benchmark].named, theirs[benchmark].named
            found = find_differences(*sides, margin=TIE_MARGIN)
            rows += [
                row
                for row in (*found.rows, *found.groups)
                if any(_is_of(row, place) for place in places)
            ]
            about = found.about if found.about.scope or about is NOBODY else about
    whole = tuple(row._replace(headline=True) for row in rows if row.group is None)
    return UncorrectedComparison(
        whole, tuple(row for row in rows if row.group is not None), (), about
    )


def _is_of(row: Difference, place: Place) -> bool:
    """Whether a difference is of a column; groups are those of the headline."""
    if (row.benchmark, row.protocol, row.group) != (place.benchmark, place.protocol, place.group):
        return False
    return place.group is not None or row.spec.name == place.spec.name


def _corrected(
    columns: Sequence[ArmColumn],
    found: Mapping[tuple[str, str], UncorrectedComparison],
    method: str | None,
) -> tuple[ArmPair, ...]:
    """Every two arms with their words; see the module docstring for what is corrected together."""
    pairs = {}
    for asked in (True, False):
        names = {
            f"{ours} against {theirs}": (ours, theirs)
            for ours, theirs in found
            if (method in (None, ours)) is asked
        }
        compared = together({name: found[pair] for name, pair in names.items()})
        for name, one in compared.items():
            rows = (*one.differences, *one.groups)
            by_column = {
                number: row
                for number, column in enumerate(columns)
                for row in rows
                if column.place is not None and _is_of(row, column.place)
            }
            pairs[names[name]] = ArmPair(*names[name], asked, by_column, one)
    return tuple(pairs[pair] for pair in found)
