"""A report's numbers for other programs and for papers, as files beside the page.

    tables.tex          booktabs tables: headlines against the baselines, then by group
    metrics.csv         every metric of every protocol, whole and by group, unscaled
    differences.csv     every metric against every baseline, unscaled
    eval_results.yaml   for a model's repository on the hub, in its `.eval_results` format

Text that is not ours is escaped for where it goes: LaTeX commands, spreadsheet formulas, YAML. A
tiny number carries the word tiny, a part of a benchmark the word PARTIAL. The hub file is read as a
claim: it holds benchmarks whose data has a home on the hub, whole and with a value for every output
unless others are asked for, and no tiny number.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pairuni_eval import foreign_text
from pairuni_eval.report import text
from pairuni_eval.report.baseline_comparison import difference_entry
from pairuni_eval.report.formats import DifferenceRow
from pairuni_eval.report.pages import NUMBERS
from pairuni_eval.stats.intervals import Interval
from pairuni_eval.stats.metric_lines import metric_lines

if TYPE_CHECKING:
    from pairuni_eval.report.content import Page
    from pairuni_eval.report.sections import Section

FILES = {
    "tables.tex": "LaTeX tables of the headlines and their groups",
    "metrics.csv": "every metric of every protocol, whole and by group",
    "differences.csv": "every metric against every baseline",
    "eval_results.yaml": "for .eval_results/ of the model's repository on the hub",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
}
_METRIC_COLUMNS = (
    *("benchmark", "tiny", "partial", "protocol", "metric", "headline", "by", "group"),
    *("value", "low", "high", "clusters", "scored", "expected", "scale", "direction"),
)
_DIFFERENCE_COLUMNS = DifferenceRow.__struct_fields__
_ENDS = {  # of a difference's entry, which stand in two columns
    "interval": ("low", "high"),
    "joint": ("joint_low", "joint_high"),
    "equivalence": ("equivalence_low", "equivalence_high"),
    "ends": ("ends_low", "ends_high"),
    "seeds": ("seeds_ours", "seeds_theirs"),
}


def exports(page: Page, left_out: Mapping[str, str]) -> dict[str, str]:
    """The content of every file by its name.

    Args:
        page: The report.
        left_out: Benchmarks that the hub file does not hold, and why; see `not_for_the_hub`.
    """
    hub = _eval_results(page, left_out)
    contents = (latex("tables.tex.j2", page=page), _metrics(page), _differences(page), hub)
    return dict(zip(FILES, contents, strict=True))


class LatexText(str):
    """Text that is LaTeX already and is not escaped again."""

    __slots__ = ()


def escape_latex(value: Any) -> str:
    """Text as literal LaTeX on one line: no command, no comment, no column."""
    if isinstance(value, LatexText):
        return value
    words = " ".join(foreign_text.clean(str(value)).split())
    return "".join(_LATEX.get(character, character) for character in words)


def latex(template: str, **context: Any) -> str:
    """A file for LaTeX; what is not `LatexText` is escaped."""
    return _latex().get_template(template).render(raw=LatexText, **context)


@cache  # compiling the template takes longer than filling it in
def _latex() -> Environment:
    environment = Environment(
        loader=PackageLoader("pairuni_eval.report"),
        undefined=StrictUndefined,
        finalize=escape_latex,
        trim_blocks=True,
        lstrip_blocks=True,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= NUMBERS
    return environment


def sheet(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A CSV file; a text that a spreadsheet would take for a formula gets an apostrophe."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        shown = foreign_text.clean(value)
        return f"'{shown}" if shown.startswith(_FORMULA) else shown
    return value


def ends_of(
    interval: Interval | tuple[float, float] | None, prefix: str = ""
) -> dict[str, float | None]:
    """Both ends under their names in a sheet."""
    low, high = interval or (None, None)
    return {f"{prefix}low": low, f"{prefix}high": high}


def _metrics(page: Page) -> str:
    return sheet(_METRIC_COLUMNS, (row for one in page.sections for row in _metric_rows(one)))


def _metric_rows(section: Section) -> Iterator[dict[str, Any]]:
    stamps = {"benchmark": section.card.name, "tiny": section.tiny, "partial": section.partial}
    for part in section.protocols:
        for row in part.metrics:
            headline = row.spec.name == part.rule.headline
            yield from (stamps | line for line in metric_lines(row, headline=headline))


def _differences(page: Page) -> str:
    sections = {section.card.name: section for section in page.sections}
    rows = (
        {
            "baseline": one.name,
            "tiny": sections[row.benchmark].tiny,
            **_in_columns(difference_entry(row)),
        }
        for one in page.baselines
        for row in (*one.comparison.differences, *one.comparison.groups)
    )
    return sheet(_DIFFERENCE_COLUMNS, rows)


def _in_columns(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A difference's entry as a line of the sheet."""
    flat = {key: value for key, value in entry.items() if key in _DIFFERENCE_COLUMNS}
    for key, names in _ENDS.items():
        flat |= dict(zip(names, entry[key] or (None, None), strict=True))
    deciding = entry["deciding"] or {}
    flat |= {
        f"deciding_{key}": deciding.get(key) for key in ("target", "units", "available", "seeds")
    }
    return flat | {"why": entry["reason"] or entry["why"]}


def not_for_the_hub(page: Page, *, partial_results: bool) -> dict[str, str]:
    """The benchmarks that the hub file leaves out, by their names, and why.

    Args:
        page: The report.
        partial_results: Whether benchmarks that are not all there may be in it.
    """
    reasons = {
        section.card.name: _not_for_the_hub(section, partial_results=partial_results)
        for section in page.sections
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _eval_results(page: Page, left_out: Mapping[str, str]) -> str:
    """Entries of the hub's format (huggingface_hub's `EvalResultEntry`), one a benchmark."""
    lines = [
        "# Results for the model's page: copy this file to .eval_results/pairuni.yaml of the",
        "# model's repository on the hub. task_id is the name in the dataset's own eval.yaml.",
    ]
    entries: list[str] = []
    for section in page.sections:
        reason = left_out.get(section.card.name)
        if reason:
            lines.append(f"# {_plain(section.card.name)} is left out: {_plain(reason)}.")
        else:
            entries += _entry(section)
    return "\n".join([*lines, *(entries or ["[]"])])


def _not_for_the_hub(section: Section, *, partial_results: bool) -> str | None:
    if section.tiny:
        return "a tiny number"
    if section.partial and not partial_results:
        return f"PARTIAL, {section.run.planned} of {section.run.expected} samples"
    scored, expected = section.coverage
    if scored < expected and not partial_results:
        return f"{scored} of {expected} outputs have a value"
    if section.card.data.hub is None:
        return "its data has no home on the hub"
    if section.headline.estimate.value is None:
        return "no output has a value"
    return None


def _entry(section: Section) -> Iterator[str]:
    head, value = section.headline, section.headline.estimate.value or 0.0
    scored, expected = section.coverage
    covered = f"{'PARTIAL, ' * section.partial}{scored} of {expected} outputs have a value"
    bounds = text.interval(head.estimate.interval, head.spec)
    notes = (
        f"{section.card.name}@{head.protocol}, {head.spec.name}, 95 % interval {bounds}, {covered}"
    )
    yield "- dataset:"
    yield f"    id: {json.dumps(section.card.data.hub)}"
    yield '    task_id: "default"'
    if section.run.origin.startswith("hub:") and section.run.revision != "unpinned":
        yield f"    revision: {json.dumps(section.run.revision)}"
    yield f"  value: {round(value * head.spec.scale, head.spec.decimals + 2)!r}"
    yield f"  notes: {json.dumps(_plain(notes))}"


def _plain(words: str) -> str:
    """One line for a comment or a note."""
    return re.sub(r"\s+", " ", foreign_text.clean(words)).replace("\N{MINUS SIGN}", "-")
