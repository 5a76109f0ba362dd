"""The output of `pairuni-train pairs transfer`: a table and sentences, or JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pairuni_eval.foreign_text import clean
from pairuni_eval.report.baseline_comparison import NOT_COMPARED, difference_entry
from pairuni_eval.report.beside_words import interval_words
from pairuni_eval.report.text import number, p_value, signed
from pairuni_eval.stats.concept_matrix import NOT, ConceptCell, ConceptMatrix
from pairuni_eval.stats.difference import gathered

_FORMAT = "pairuni-concept-matrix/1"


def as_tables(matrix: ConceptMatrix) -> Iterator[Table]:
    """The cells of each benchmark, those off the diagonal marked."""
    for benchmark, cells in groupby(matrix.cells, lambda cell: cell.row.benchmark):
        title = Text(clean(benchmark), "bold")
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
        table.add_column("taught by")
        for head in ("n", "before", "after", "difference"):
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column("")
        for cell in cells:
            table.add_row(*_cells(cell))
        yield table


def _cells(cell: ConceptCell) -> Iterator[Text]:
    row = cell.row
    yield Text((row.group or "").removeprefix("concepts ").removeprefix("taught by "))
    yield Text(f"{row.shared:,}")
    if row.reason is not None:
        yield from (Text(""), Text(""), Text(""), Text(NOT_COMPARED))
    else:
        yield Text(number(row.theirs, row.spec))
        yield Text(number(row.ours, row.spec))
        yield Text(f"{signed(row.value, row.spec)}\n{interval_words(row)}")
        mark = f"{row.word}{', transfer' * cell.transfer}"
        yield Text(f"{mark}\n{p_value(row.p_beside)}")


def as_lines(matrix: ConceptMatrix) -> Iterator[str]:
    """What may be said of transfer, with its control, and what could not be compared."""
    for cell in matrix.transfers:
        yield f"{clean(cell.row.sentence or cell.row.reason or '')}."
        yield from (f"  Control: {clean(one.row.sentence)}." for one in controls(matrix, cell))
    if not matrix.transfers:
        yield "No concept was taught in one task alone and measured in the other."
    yield from (f"Not compared: {clean(one)}." for one in gathered(matrix.refusals))
    yield matrix.family.sentence


def controls(matrix: ConceptMatrix, cell: ConceptCell) -> Iterator[ConceptCell]:
    """The concepts that were not taught at all, in the same benchmark."""
    for one in matrix.cells:
        if one.row.benchmark == cell.row.benchmark and one.row.group == NOT:
            yield one


def as_json(matrix: ConceptMatrix) -> dict[str, Any]:
    """All cells, unscaled."""
    cells = [
        {
            "measured_by": "drawings" if cell.drawn else "questions",
            "transfer": cell.transfer,
            **difference_entry(cell.row),
        }
        for cell in matrix.cells
    ]
    return {"format": _FORMAT, "cells": cells, "family": matrix.family.sentence}
