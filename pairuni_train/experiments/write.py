"""Writes an experiment's table: Markdown, a picture, and CSV for whoever computes on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from pairuni_eval.report import text
from pairuni_train.experiments.table import Cell, Table, addresses, headline_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FOLDER = Path(__file__).parent / "templates"


def write_table(table: Table, folder: Path, *, command: str) -> Path:
    """Write `table.md`, `table.svg` and `table.csv`; returns the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    _draw(table, folder / "table.svg")
    _write_csv(table, folder / "table.csv")
    page = folder / "table.md"
    page.write_text(markdown(table, command=command), encoding="utf-8")
    return page


def markdown(table: Table, *, command: str) -> str:
    """The table as Markdown."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown: `md` escapes what people wrote
    )
    environment.filters["md"] = text.escape_markdown
    environment.filters["number"] = _number
    page = environment.get_template("table.md.j2")
    return page.render(table=table, addresses=addresses(table), command=command)


def _number(cell: Cell) -> str:
    value = text.printed(cell.estimate.value, cell.spec)
    return f"{value} {text.interval(cell.estimate.interval, cell.spec)}".rstrip()


def _write_csv(table: Table, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["arm", "seeds", "column", "address", "value", "low", "high", "by_seed"])
        for row in table.rows:
            for heading, cell in zip(table.headings, row.cells, strict=True):
                if cell is not None:
                    bounds = cell.estimate.interval or ("", "")
                    seeds = " ".join(f"{value:.6g}" for value in cell.by_seed)
                    writer.writerow(
                        [row.name, row.seeds, *heading, cell.estimate.value, *bounds, seeds]
                    )


def _draw(table: Table, path: Path) -> None:
    """The last column: a point and an interval for every arm, the number of each seed beside it."""
    from matplotlib.figure import Figure

    rows = headline_rows(table)
    figure = Figure(figsize=(7, 0.5 * len(rows) + 1.2), layout="constrained")
    axes: Axes = figure.subplots()
    for height, (_, cell) in enumerate(reversed(rows)):
        if cell.estimate.value is None:
            continue
        if cell.estimate.interval is not None:
            axes.plot(list(cell.estimate.interval), [height] * 2, color="#4464ad", linewidth=2)
        axes.plot(list(cell.by_seed), [height] * len(cell.by_seed), "|", color="#888888")
        axes.plot([cell.estimate.value], [height], "o", color="#4464ad")
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    axes.set_xlabel(table.headings[-1].title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
