"""The output of `pairuni-eval compare`: JSON for programs, a table and sentences for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pairuni_eval.foreign_text import clean
from pairuni_eval.report.baseline_comparison import (
    NOT_COMPARED,
    comparison_entry,
    describe_comparison,
)
from pairuni_eval.report.beside_words import interval_words, remark
from pairuni_eval.report.formats import COMPARISON
from pairuni_eval.report.text import number, p_value, signed
from pairuni_eval.report.tiny_label import is_tiny
from pairuni_eval.stats.compare import Comparison, Difference, Word, compare_page
from pairuni_eval.stats.difference import gathered
from pairuni_eval.stats.scope import seeds_warning
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun

_MARKS = {Word.BETTER: "▲", Word.WORSE: "▼", Word.TIED: "=", Word.CANNOT_TELL: "?"}
_WIDEST = 22  # characters that a benchmark's name gets at least, where it has as many
_STYLES = {Word.BETTER: "green", Word.WORSE: "red", Word.TIED: "magenta", Word.CANNOT_TELL: "dim"}


class ComparedRuns(NamedTuple):
    """Two runs with names that differ, and what they say about each other; the first is ours."""

    names: tuple[str, str]
    runs: tuple[StoredRun, StoredRun]
    comparison: Comparison

    @property
    def sentence(self) -> str:
        """What the headlines say about the first run, in one sentence."""
        return describe_comparison(self.names[1], self.comparison)


def compare_two_runs(ours: StoredRun, theirs: StoredRun) -> ComparedRuns:
    """Compare two runs.

    Raises:
        UserError: if nothing can be compared, with the reasons.
    """
    names = ours.printed_name, theirs.printed_name
    if names[0] == names[1]:
        names = (f"{names[0]} (A)", f"{names[1]} (B)")
    found = compare_page((Tables(ours),), {names[1]: (Tables(theirs),)})[names[1]].checked()
    return ComparedRuns(names, (ours, theirs), found)


def as_json(found: ComparedRuns) -> dict[str, Any]:
    """The comparison for programs; see `formats.ComparisonFile`."""
    return {
        "format": COMPARISON,
        **{key: _run_entry(run) for key, run in zip("ab", found.runs, strict=True)},
        **comparison_entry(found.comparison, found.sentence),
    }


def _run_entry(run: StoredRun) -> dict[str, Any]:
    return {
        "name": run.printed_name,
        "checkpoint": run.card.checkpoint.name,
        "weights": run.card.checkpoint.weights,
        "partial": run.card.partial or run.unfinished,
    }


def as_table(found: ComparedRuns) -> Table:
    """The headlines for the terminal, three lines each or four."""
    ours, theirs = map(clean, found.names)
    partial = (" PARTIAL" if _run_entry(run)["partial"] else "" for run in found.runs)
    titled = (f"{name}{stamp}" for name, stamp in zip((ours, theirs), partial, strict=True))
    table = Table(
        title=" against ".join(titled), title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    places = [_place(found, row) for row in found.comparison.headlines]
    table.add_column(
        "benchmark", overflow="fold", min_width=min(_WIDEST, max(map(len, places), default=0))
    )
    for name in (theirs, ours, "difference\njoint interval"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("verdict\np (corrected)", no_wrap=True, min_width=13)
    for row in found.comparison.headlines:
        table.add_row(*_cells(found, row))
    return table


def _cells(found: ComparedRuns, row: Difference) -> Iterator[Text]:
    metric = row.spec.title or row.spec.name
    yield Text(f"{_place(found, row)}\n{metric}\n{_shared(row)}")
    if row.reason is not None:
        yield from (Text("") for _ in range(3))
        yield Text(NOT_COMPARED, _STYLES[Word.CANNOT_TELL])
        return
    yield Text(number(row.theirs, row.spec))
    yield Text(number(row.ours, row.spec))
    yield Text(f"{signed(row.value, row.spec)}\n{interval_words(row)}")
    yield Text.assemble(
        (f"{_MARKS[row.word]} {row.word}", _STYLES[row.word]), f"\n{p_value(row.p_beside)}"
    )


def _shared(row: Difference) -> str:
    part = f"\n{row.part}" if row.part else ""
    return f"{row.shared:,} shared of {row.planned:,} planned{part}"


def _place(found: ComparedRuns, row: Difference) -> str:
    return f"{clean(row.benchmark)}@{row.protocol}{_stamps(found, row.benchmark)}"


def _stamps(found: ComparedRuns, benchmark: str) -> str:
    """That a number is tiny, or not of the whole benchmark."""
    tiny = any(is_tiny(run.cards[benchmark], run.card) for run in found.runs)
    parts = [run.card.benchmarks[benchmark] for run in found.runs]
    partial = any(run.unfinished for run in found.runs)
    partial |= any(part.planned < part.expected for part in parts)
    named = tiny and "tiny" not in benchmark
    return f"{' (tiny)' if named else ''}{' PARTIAL' if partial else ''}"


def as_lines(found: ComparedRuns) -> Iterator[str]:
    """The verdict, what each headline leaves open, groups that differ, what was not compared."""
    comparison = found.comparison
    yield clean(found.sentence)
    for row in comparison.headlines:
        if row.reason is None and remark(row):
            yield f"{clean(row.subject)}, {row.word}: {clean(remark(row))}."
    sure = [row for row in (*comparison.regressions, *comparison.gains) if row.group is not None]
    yield from (f"{clean(row.sentence)}." for row in sure)
    if not sure and any(row.reason is None for row in comparison.groups):
        yield "No group differs detectably."
    for row in comparison.headlines:
        if row.settings:
            yield f"Other settings on {clean(row.benchmark)}: {clean(', '.join(row.settings))}."
    yield from (f"Not compared: {clean(one)}." for one in gathered(comparison.refusals))
    warning = seeds_warning([comparison.about])
    if warning is not None:
        yield clean(f"{warning}; a word about the arm needs {comparison.about.needed}.")
    yield comparison.family.sentence
