"""The output of `pairuni-eval readers`: who sees how much in whose pictures.

A line is a reader, the checkpoint that answered; a column is a painter, the run whose pictures were
asked about. A cell is the headline of a `self:` benchmark, J with its interval, over all facts but
whether an object is there, or over those of one kind. On the diagonal models read themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import UserError
from pairuni_eval.foreign_text import clean
from pairuni_eval.report.text import interval, number
from pairuni_eval.stats.intervals import Estimate
from pairuni_eval.stats.tables import Tables, bare, metric_row
from pairuni_eval.store.read import StoredRun

_SELF = "self:"
_ALL = "all"
_ORIGIN = "pictures of "


class Reading(NamedTuple):
    """What one run says of one painter's pictures.

    Attributes:
        j: J by kind of fact, over all of them first.
    """

    benchmark: str
    reader: str
    painter: str
    run: str
    spec: MetricSpec
    j: dict[str, Estimate]


def readings(runs: Iterable[StoredRun]) -> list[Reading]:
    """Every reading among these runs, by benchmark, reader and painter.

    Raises:
        UserError: if no run has a `self:` benchmark.
    """
    given = list(runs)
    found = [
        _reading(Tables(run), name)
        for run in given
        for name in run.card.benchmarks
        if name.startswith(_SELF)
    ]
    if not found:
        names = ", ".join(str(run.folder) for run in given)
        raise UserError(
            f"None of these runs asks a model about drawn pictures: {names}.",
            hint="Make one: pairuni-eval run --checkpoint MODEL --benchmarks self:tiny-geneval",
        )
    return sorted(found, key=lambda one: (one.benchmark, one.reader, one.painter, one.run))


def _reading(tables: Tables, benchmark: str) -> Reading:
    card = tables.run.card
    part = card.benchmarks[benchmark]
    protocol = bare(part.protocols[0])
    rule = tables.spec(benchmark, protocol)
    row = metric_row(tables, benchmark, protocol, rule.metric(rule.headline))
    return Reading(
        benchmark=benchmark,
        reader=card.checkpoint.name,
        painter=part.origin.removeprefix(_ORIGIN).partition(", control")[0],
        run=tables.run.printed_name,
        spec=row.spec,
        j={_ALL: row.estimate, **{group.name: group.estimate for group in row.groups}},
    )


def as_tables(found: Sequence[Reading]) -> list[Table]:
    """A matrix for each benchmark and kind of fact."""
    made = []
    for benchmark in dict.fromkeys(one.benchmark for one in found):
        mine = [one for one in found if one.benchmark == benchmark]
        kinds = dict.fromkeys(kind for one in mine for kind in one.j)
        made += [_matrix(mine, benchmark, kind) for kind in kinds]
    return made


def _matrix(found: Sequence[Reading], benchmark: str, kind: str) -> Table:
    painters = list(dict.fromkeys(one.painter for one in found))
    table = Table(
        title=f"J, {kind} facts ({clean(benchmark)})", box=SIMPLE_HEAD, title_justify="left"
    )
    table.add_column("reader")
    for painter in painters:
        table.add_column(Text(f"pictures of {clean(painter)}"), justify="right")
    for reader in dict.fromkeys(one.reader for one in found):
        cells = [
            "\n".join(_cell(one, kind) for one in found if (one.reader, one.painter) == (reader, p))
            for p in painters
        ]
        table.add_row(Text(clean(reader)), *cells)
    return table


def _cell(one: Reading, kind: str) -> str:
    estimate = one.j.get(kind)
    if estimate is None or estimate.value is None:
        return "no value"
    return f"{number(estimate.value, one.spec)} {interval(estimate.interval, one.spec)}"


def as_json(found: Sequence[Reading]) -> dict[str, object]:
    """The same for programs; values are unscaled."""
    lines = [
        {
            "benchmark": one.benchmark,
            "reader": one.reader,
            "painter": one.painter,
            "run": one.run,
            "j": {
                kind: {
                    "value": each.value,
                    "interval": list(each.interval) if each.interval else None,
                    "clusters": each.clusters,
                }
                for kind, each in one.j.items()
            },
        }
        for one in found
    ]
    return {"readings": lines}
