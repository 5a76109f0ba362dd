"""Writes an experiment's table for whoever reads it, quotes it or computes on.

table.md, table.html    answers, the table, the paper's rows, what each arm trained on
table.tex               the table alone, booktabs
table.svg               a panel per column: every arm with its interval and its seeds
table.csv, verdicts.csv numbers, and differences with their tests
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairuni_eval.analysis.verdict import Word, p_words
from pairuni_eval.report import text
from pairuni_eval.report.export import escape_latex
from pairuni_train.experiments.findings import find
from pairuni_train.experiments.table import Cell, Row, Table

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.axes import Axes

_FOLDER = Path(__file__).parent / "templates"
_VERDICT = (
    *("word", "difference", "low", "high", "p", "corrected_p"),
    *("shared_outputs", "units", "test", "reason"),
)
_INK, _FAINT = "#4464ad", "#888888"


def write_table(table: Table, folder: Path, *, command: str) -> Path:
    """Write all files; returns the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    _draw(table, folder / "table.svg")
    _write_csv(folder / "table.csv", _numbers(table))
    _write_csv(folder / "verdicts.csv", _verdicts(table))
    for name in ("table.md", "table.html", "table.tex"):
        (folder / name).write_text(rendered(name, table, command=command), encoding="utf-8")
    return folder / "table.md"


def rendered(name: str, table: Table, *, command: str) -> str:
    """One of the pages, by the name of its template without ".j2"."""
    page = _environment(name).get_template(f"{name}.j2")
    return page.render(
        table=table,
        found=find(table),
        differences=tuple(_lines(table)),
        printed=tuple(_printed(table)),
        command=command,
        dash=text.NOTHING,
    )


def _environment(name: str) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    escapes = {"table.md": text.escape_markdown, "table.tex": escape_latex}
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=name not in escapes,  # there `say` escapes what people wrote
    )
    environment.filters |= {
        "say": escapes.get(name, str),
        "number": _number,
        "value": _value,
        "interval": _interval,
        "seeds": _seeds,
        "words": _words,
    }
    return environment


def _number(cell: Cell) -> str:
    return f"{_value(cell)} {_interval(cell)}".rstrip()


def _value(cell: Cell) -> str:
    return text.printed(cell.estimate.value, cell.spec)


def _interval(cell: Cell) -> str:
    return text.interval(cell.estimate.interval, cell.spec)


def _seeds(row: Row) -> str:
    if not row.wanted:
        return text.NOTHING
    return str(row.seeds) if row.seeds == row.wanted else f"{row.seeds} of {row.wanted}"


def _words(cell: Cell) -> list[tuple[Word, str]]:
    """The verdicts of a cell: each word with the arms that it is said of."""
    found: dict[Word, list[str]] = {}
    for against, one in cell.verdicts:
        if one is not None:
            found.setdefault(one.word, []).append(against)
    return [(word, ", ".join(names)) for word, names in found.items()]


def _printed(table: Table) -> Iterator[tuple[str, list[str]]]:
    """The paper's rows, the numbers of a column with as many decimals as its longest."""
    rows = table.experiment.printed
    columns = zip(*(row.cells for row in rows), strict=True)
    decimals = [
        max((len(str(cell).partition(".")[2]) for cell in column if cell != "-"), default=0)
        for column in columns
    ]
    for row in rows:
        yield (
            row.row,
            [
                cell if isinstance(cell, str) else f"{cell:.{places}f}"
                for cell, places in zip(row.cells, decimals, strict=True)
            ],
        )


class Line(NamedTuple):
    """One arm against another: for every column with numbers difference, interval and word."""

    name: str
    against: str
    cells: tuple[tuple[str, ...], ...]


def _lines(table: Table) -> Iterator[Line]:
    for row in table.rows:
        for other in table.experiment.against:
            if table.experiment.compares(row.name, other):
                cells = (
                    _difference(cell, other)
                    for heading, cell in zip(table.headings, row.cells, strict=True)
                    if heading.address
                )
                yield Line(row.name, other, tuple(cells))


def _difference(cell: Cell | None, other: str) -> tuple[str, ...]:
    """E.g. ("-0.008", "[-0.041, 0.021]", "p = .81, cannot tell"); why, where no test was made."""
    found = (
        next((v.difference for v in cell.verdicts if v.against == other), None) if cell else None
    )
    if found is None:
        return (text.NOTHING,)
    if found.reason is not None:
        return (f"not compared: {found.reason}",)
    value = text.signed(found.value, found.spec)
    if found.interval is None:
        return (value, "", str(found.word))
    p = found.p if found.corrected is None else found.corrected
    return (value, text.interval(found.interval, found.spec), f"{p_words(p)}, {found.word}")


# For whoever computes on


def _write_csv(path: Path, lines: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(lines)


def _numbers(table: Table) -> Iterable[Sequence[Any]]:
    yield ("arm", "seeds", "column", "address", "value", "low", "high", "by_seed")
    for row in table.rows:
        for heading, cell in zip(table.headings, row.cells, strict=True):
            if cell is not None:
                seeds = " ".join(f"{value:.6g}" for value in cell.by_seed)
                bounds = cell.estimate.interval or ("", "")
                yield (row.name, row.seeds, *heading, cell.estimate.value, *bounds, seeds)


def _verdicts(table: Table) -> Iterable[Sequence[Any]]:
    yield ("arm", "against", "column", "address", *_VERDICT)
    for row in table.rows:
        for heading, cell in zip(table.headings, row.cells, strict=True):
            for against, one in cell.verdicts if cell else ():
                if one is not None:
                    yield (
                        *(row.name, against, *heading, str(one.word), one.value),
                        *(one.interval or ("", "")),
                        *(one.p, one.corrected, one.shared, one.clusters, one.test, one.reason),
                    )


# The picture


def _draw(table: Table, path: Path) -> None:
    """A panel per column that has numbers: each arm's point, interval and seeds (ticks)."""
    from matplotlib.figure import Figure

    numbers = [number for number, heading in enumerate(table.headings) if heading.address]
    height = 0.4 * len(table.rows) + 1.0
    figure = Figure(figsize=(1.6 + 2.1 * len(numbers), height), layout="constrained")
    panels = figure.subplots(1, len(numbers), sharey=True, squeeze=False)[0]
    for axes, number in zip(panels, numbers, strict=True):
        cells = [row.cells[number] for row in reversed(table.rows)]
        _panel(axes, cells)
        unit = next((text.unit(cell.spec) for cell in cells if cell), "")
        axes.set_xlabel(", ".join(filter(None, (table.headings[number].title, unit))))
    names = [row.name for row in reversed(table.rows)]
    panels[0].set_yticks(range(len(names)), names)
    figure.savefig(path, metadata={"Date": None})


def _panel(axes: Axes, cells: Sequence[Cell | None]) -> None:
    for height, cell in enumerate(cells):
        if cell is None or cell.estimate.value is None:
            continue
        scale = cell.spec.scale
        if cell.estimate.interval is not None:
            ends = [end * scale for end in cell.estimate.interval]
            axes.plot(ends, [height] * 2, color=_INK, linewidth=2)
        if len(cell.by_seed) > 1:
            seeds = [value * scale for value in cell.by_seed]
            axes.plot(seeds, [height] * len(seeds), "|", color=_FAINT)
        axes.plot([cell.estimate.value * scale], [height], "o", color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
