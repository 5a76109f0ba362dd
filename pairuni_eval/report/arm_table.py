"""A table of arms as a page says it: answers, numbers, every difference, files.

Goes in: `stats.arm_table`. Comes out: sentences, parts of a `study` page, a LaTeX table and CSV.
No number is made here. A word stands beside a number only of an arm in question; every comparison
that was made stands among the differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pairuni_eval.commands import as_typed
from pairuni_eval.report import text
from pairuni_eval.report.baseline_comparison import describe, difference_entry
from pairuni_eval.report.charts import IntervalChart, Span, interval_chart
from pairuni_eval.report.export import ends_of, latex, sheet
from pairuni_eval.report.questions import OpeningAnswer, OpeningQuestion
from pairuni_eval.report.rerun import with_option
from pairuni_eval.report.study import Grid, GridCell, GridRow, StudyPart, asked
from pairuni_eval.report.undecided import remedies, seeds_lacking
from pairuni_eval.stats.arm_table import ArmCell, ArmPair, ArmTable, TableRow
from pairuni_eval.stats.compare import Difference, Word
from pairuni_eval.stats.scope import ENOUGH_SEEDS, seeds_warning

FILES = {
    "table.tex": "the table for LaTeX, with booktabs",
    "table.csv": "every number, unscaled",
    "verdicts.csv": "every difference with its test, unscaled",
}
_ASKED, _OTHER = 0, 5  # colors of arms
_VERDICTS = (
    *("arm", "against", "column", "benchmark", "protocol", "metric", "group"),
    *("ours", "theirs", "difference", "low", "high", "joint_low", "joint_high"),
    *("equivalence_low", "equivalence_high", "p", "p_holm", "p_tied", "detectable"),
    *("word", "shared", "planned", "clusters", "test", "reason"),
)
_NUMBERS = ("arm", "seeds", "column", "address", "value", "low", "high", "by_seed")


def questions(table: ArmTable, question: str, command: str) -> tuple[OpeningQuestion, ...]:
    """What the arm in question is against each other arm, what would decide it, and the others.

    Where no arm is in question all are told in one answer.

    Args:
        table: The table.
        question: What the experiment asks.
        command: What makes the table.
    """
    made = [one for one in table.pairs if one.rows]
    shown = [_told(one) for one in made if one.asked]
    found = (
        asked(question, *(shown or ["Nothing yet: no two arms have finished."])),
        OpeningQuestion("What would decide it?", tuple(_deciding(made, command))),
        asked("And the other arms?", *_told_of_others([one for one in made if not one.asked])),
    )
    return tuple(one for one in found if one.answers)


def _deciding(pairs: Sequence[ArmPair], command: str) -> Iterator[OpeningAnswer]:
    """More outputs or more training seeds, for each arm that ours cannot be told from."""
    for one in pairs:
        rows = [row for row in one.rows.values() if row.deciding] if one.asked else []
        said, seeds = list(remedies(rows)), seeds_lacking(rows)
        about = one.comparison.about
        if about.needed and one.asked and not seeds:
            said.append(f"{seeds_warning([about])}; a word about the arm needs {about.needed}")
            seeds = ENOUGH_SEEDS
        if said:
            again = (with_seeds(command, seeds),) if seeds else ()
            sentence = f"{one.ours} against {one.theirs}: {'; '.join(said)}."
            yield OpeningAnswer(sentence, commands=again, anchor="differences", link="Line by line")


def with_seeds(command: str, seeds: int) -> str:
    """The command with another number of training seeds."""
    return as_typed(*with_option(command, "--seeds", str(seeds)))


def _told(one: ArmPair) -> str:
    found = one.comparison
    said = describe(one.theirs, list(one.rows.values()), found.refusals, about=found.about)
    return f"{one.ours}: {said}"


def _told_of_others(pairs: Sequence[ArmPair]) -> Iterator[str]:
    """A sentence for every two arms of which something can be told, and one for all others."""
    silent: dict[str, list[str]] = {}
    for one in pairs:
        if any(row.word is not Word.CANNOT_TELL for row in one.rows.values()):
            yield _told(one)
        else:
            silent.setdefault(one.theirs, []).append(one.ours)
    for theirs, ours in silent.items():
        yield f"{text.listed(ours)} against {theirs}: cannot tell, in any column."


def partial(table: ArmTable) -> str:
    """What is missing, in a sentence; "" if nothing is."""
    missing, wanted = table.missing
    left = f"{missing} of {wanted} runs are not there. The command below goes on with them."
    return left if missing else ""


def parts(table: ArmTable, *, tiny: bool, steps: int) -> tuple[StudyPart, ...]:
    """The numbers, the differences, and what each arm trained on."""
    trained = tuple(f"{row.name}: {row.trained_on}" for row in table.rows)
    return (
        _results(table, tiny=tiny, steps=steps),
        _differences(table),
        StudyPart("trained", "What each arm trained on", points=trained),
    )


def _results(table: ArmTable, *, tiny: bool, steps: int) -> StudyPart:
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
    return StudyPart(
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


def _differences(table: ArmTable) -> StudyPart:
    """Every comparison in numbers, and that of an arm in question in a sentence a column."""
    made = [one for one in table.pairs if one.rows]
    families = [
        f"Of the {'arm in question' if asked else 'other arms'}: {family.sentence}"
        for asked in (True, False)
        for family in {one.comparison.family for one in made if one.asked is asked}
    ]
    facts = (
        "On the outputs that both arms have: the difference with its own 95 % interval and p, then "
        "the word with the simultaneous interval and the p that are corrected for all that is "
        f"looked at together. {' '.join(families)}"
    )
    said = [
        f"{one.ours}: {row.sentence}{f'; {row.deciding.sentence}' if row.deciding else ''}."
        for one in made
        if one.asked
        for row in one.rows.values()
    ]
    grids = tuple(_difference_grid(one, table) for one in made)
    return StudyPart("differences", "Differences", facts=facts, grids=grids, points=tuple(said))


def _difference_grid(pair: ArmPair, table: ArmTable) -> Grid:
    heads = ("column", pair.theirs, pair.ours, "difference", "p", "shared", "verdict")
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
    yield GridCell(f"{row.shared} of {row.planned}")
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
            **ends_of(cell.estimate.interval),
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
            **ends_of(row.interval),
            **ends_of(row.joint, "joint_"),
            **ends_of(row.beside if row.word is Word.TIED else None, "equivalence_"),
        }
        for pair in table.pairs
        for number, row in pair.rows.items()
    )
    return sheet(_VERDICTS, rows)
