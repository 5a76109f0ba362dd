"""A table of arms as a page says it: answers, numbers, every difference, files.

Goes in: `analysis.arm_table`. Comes out: sentences, parts of a `study` page, a LaTeX table and CSV.
No number is made here. A word stands beside a number only of an arm in question; every comparison
that was made stands among the differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pairuni_eval.analysis.arm_table import ArmCell, ArmPair, ArmTable, TableRow
from pairuni_eval.analysis.compare import Difference, Word
from pairuni_eval.report import text
from pairuni_eval.report.charts import IntervalChart, Span, interval_chart
from pairuni_eval.report.export import latex, sheet
from pairuni_eval.report.study import Finding, Grid, GridCell, GridRow, Part
from pairuni_eval.report.versus import difference_entry, told

FILES = {
    "table.tex": "the table for LaTeX, with booktabs",
    "table.csv": "every number, unscaled",
    "verdicts.csv": "every difference with its test, unscaled",
}
_ASKED, _OTHER = 0, 5  # colors of arms
_VERDICTS = (
    *("arm", "against", "column", "benchmark", "protocol", "metric", "group", "headline"),
    *("ours", "theirs", "difference", "low", "high", "p", "p_holm", "detectable", "word"),
    *("shared", "clusters", "test", "reason"),
)
_NUMBERS = ("arm", "seeds", "column", "address", "value", "low", "high", "by_seed")


def findings(table: ArmTable, question: str) -> tuple[Finding, ...]:
    """What the arm in question is against each other arm, then what the other arms are.

    Where no arm is in question all are told in one answer.
    """
    asked = [one for one in table.versus if table.method in (None, one.ours)]
    others = [one for one in table.versus if table.method not in (None, one.ours)]
    nothing = "Nothing can be said yet: no two arms have finished."
    found = [Finding(question, tuple(_told(asked)) or (nothing,))]
    if said := tuple(_told(others)):
        found.append(Finding("And the other arms?", said))
    return tuple(found)


def _told(pairs: Sequence[ArmPair]) -> Iterator[str]:
    """A sentence for every two arms of which something can be told, and one for all others."""
    silent: dict[str, list[str]] = {}
    for one in pairs:
        rows = list(one.rows.values())
        if any(row.word is not Word.CANNOT_TELL for row in rows):
            yield f"{one.ours} against {one.theirs}: {told(one.theirs, rows, ())}"
        elif rows:
            silent.setdefault(one.theirs, []).append(one.ours)
    for theirs, ours in silent.items():
        yield f"{text.listed(ours)} against {theirs}: cannot tell, in any column."


def limits(table: ArmTable) -> Iterator[str]:
    """What the verdicts do not cover."""
    if table.few:
        trained = [row.name for row in table.rows if row.wanted]
        who = "Every trained arm" if list(table.few) == trained else text.listed(table.few)
        yield (
            f"{who}: fewer than three training seeds. What is said holds for these checkpoints, "
            "not for training again; --seeds 3 says more."
        )


def partial(table: ArmTable) -> str:
    """What is missing, in a sentence; "" if nothing is."""
    missing, wanted = table.missing
    left = f"{missing} of {wanted} runs are not there. The command below goes on with them."
    return left if missing else ""


def parts(table: ArmTable, *, tiny: bool, steps: int) -> tuple[Part, ...]:
    """The numbers, the differences, and what each arm trained on."""
    trained = tuple(f"{row.name}: {row.trained_on}" for row in table.rows)
    return (
        _results(table, tiny=tiny, steps=steps),
        _differences(table),
        Part("trained", "What each arm trained on", points=trained),
    )


def _results(table: ArmTable, *, tiny: bool, steps: int) -> Part:
    heads = ("arm", "seeds", *(column.title for column in table.columns))
    rows = tuple(GridRow(row.name, tuple(_cells(row, table))) for row in table.rows)
    lacking = any(column.place is None for column in table.columns)
    facts = (
        f"Mean over training seeds after {steps} steps, with its 95 % interval; ticks are seeds. "
        f"Columns read {', '.join(table.addresses)}"
        f"{'; the tiny world has nothing that stands for a column of dashes' * (tiny and lacking)}."
    )
    caption = (
        "A word stands beside the arm in question, with the simultaneous interval of its "
        "difference and its corrected p; “cannot tell” is not “equal”."
    )
    charts = (_levels(table, number) for number in range(len(table.columns)))
    return Part(
        "results",
        "Results",
        facts=facts,
        grids=(Grid(caption, heads, rows),),
        charts=tuple(chart for chart in charts if chart is not None),
    )


def _cells(row: TableRow, table: ArmTable) -> Iterator[GridCell]:
    seeds = str(row.seeds) if row.seeds == row.wanted else f"{row.seeds} of {row.wanted}"
    yield GridCell(seeds if row.wanted else text.NOTHING)
    for number, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True)):
        if cell is None:
            yield GridCell("no run" if column.place else text.NOTHING)
        else:
            value, spec = cell.estimate.value, cell.spec
            bounds = text.interval(cell.estimate.interval, spec)
            yield GridCell(text.printed(value, spec), bounds, tuple(table.verdicts(row, number)))


def _levels(table: ArmTable, number: int) -> IntervalChart | None:
    """One column: every arm's number with its interval and its seeds."""
    cells = [(row, cell) for row in table.rows if (cell := row.cells[number]) is not None]
    rows = [(row.name, [_span(row, cell, table)]) for row, cell in cells if cell.estimate.value]
    unit = next((text.unit(cell.spec) for _, cell in cells), "")
    title = ", ".join(filter(None, (table.columns[number].title, unit)))
    return interval_chart(title, rows, within=())


def _span(row: TableRow, cell: ArmCell, table: ArmTable) -> Span:
    scale, (low, high) = cell.spec.scale, cell.estimate.interval or (None, None)
    return Span(
        name=row.name,
        arm=_ASKED if row.wanted and table.method in (None, row.name) else _OTHER,
        value=(cell.estimate.value or 0.0) * scale,
        low=None if low is None else low * scale,
        high=None if high is None else high * scale,
        each=tuple(one * scale for one in cell.by_seed) if len(cell.by_seed) > 1 else (),
    )


def _differences(table: ArmTable) -> Part:
    made = [one for one in table.versus if one.rows]
    facts = (
        "On the outputs that both arms have. The interval is that of the difference alone, the "
        "word and its p are corrected by Holm: whole benchmarks together, "
        f"{'over all arms' if table.method is None else 'those of the arm in question apart'}, "
        "and groups under their benchmark."
    )
    grids = tuple(_difference_grid(one, table) for one in made)
    asked = [one for one in made if table.method in (None, one.ours)]
    said = tuple(f"{one.ours}: {row.sentence}." for one in asked for row in one.rows.values())
    return Part("differences", "Differences", facts=facts, grids=grids, points=said)


def _difference_grid(pair: ArmPair, table: ArmTable) -> Grid:
    heads = ("column", pair.theirs, pair.ours, "difference", "p", "shared", "detectable", "verdict")
    rows = tuple(
        GridRow(table.columns[number].title, tuple(_difference_cells(row)))
        for number, row in pair.rows.items()
    )
    return Grid(f"{pair.ours} against {pair.theirs}", heads, rows)


def _difference_cells(row: Difference) -> Iterator[GridCell]:
    yield GridCell(text.number(row.theirs, row.spec))
    yield GridCell(text.number(row.ours, row.spec))
    yield GridCell(text.signed(row.value, row.spec), text.interval(row.interval, row.spec))
    yield GridCell(text.p_value(row.p))
    yield GridCell(str(row.shared))
    yield GridCell(text.number(row.detectable, row.spec))
    yield GridCell("", verdicts=(("", row),))


# For whoever quotes or computes on


def exports(table: ArmTable, *, title: str, tiny: bool, steps: int) -> dict[str, str]:
    """The content of every file by its name."""
    tex = latex("arm_table.tex.j2", table=table, title=title, tiny=tiny, steps=steps)
    return dict(zip(FILES, (tex, _numbers(table), _verdicts(table)), strict=True))


def _numbers(table: ArmTable) -> str:
    rows = (
        {
            "arm": row.name,
            "seeds": row.seeds,
            "column": column.title,
            "address": column.address,
            "value": cell.estimate.value,
            "by_seed": " ".join(f"{value:.6g}" for value in cell.by_seed),
            **dict(zip(("low", "high"), cell.estimate.interval or (None, None), strict=True)),
        }
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        if cell is not None
    )
    return sheet(_NUMBERS, rows)


def _verdicts(table: ArmTable) -> str:
    rows = (
        {
            "arm": pair.ours,
            "against": pair.theirs,
            "column": table.columns[number].title,
            **{key: value for key, value in difference_entry(row).items() if key in _VERDICTS},
            **dict(zip(("low", "high"), row.interval or (None, None), strict=True)),
        }
        for pair in table.versus
        for number, row in pair.rows.items()
    )
    return sheet(_VERDICTS, rows)
