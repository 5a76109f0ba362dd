"""The output of `pairuni-eval grade` about one benchmark: JSON for programs, lines for people.

Values are unscaled in JSON, as in summary.json; lines print them as the card does. Flips are the
outputs that the first protocol and another one value differently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pairuni_eval.foreign_text import clean
from pairuni_eval.report.notices import reason_words, tag_notice
from pairuni_eval.report.text import interval, printed, shorten
from pairuni_eval.stats.reasons import Reason, reasons
from pairuni_eval.stats.tables import (
    Flip,
    MetricRow,
    Tables,
    flips,
    protocol_metrics,
    status_counts,
)
from pairuni_eval.store.read import StoredRun, decode_cell

_FLIPS_SHOWN = 20
_ANSWER_SHOWN = 60


class Flipped(NamedTuple):
    """An output that two protocols value differently; None means no value."""

    protocols: tuple[str, str]
    id: str
    draw: int
    values: tuple[float | None, float | None]
    answer: str


class GradedBenchmark(NamedTuple):
    """One benchmark of a run under the protocols that graded it, the first one first."""

    benchmark: str
    protocols: tuple[str, ...]
    metrics: dict[str, tuple[MetricRow, ...]]
    statuses: dict[str, dict[str, int]]
    reasons: dict[str, tuple[Reason, ...]]
    flips: tuple[Flipped, ...]
    notice: str | None


def read_benchmark(run: StoredRun, benchmark: str, asked: Sequence[str] = ()) -> GradedBenchmark:
    """Read a benchmark's numbers out of a finished run.

    Args:
        run: The run.
        benchmark: One of its benchmarks.
        asked: The protocols that were asked for by name; if none was, those that have something of
            their own to say.
    """
    tables = Tables(run)
    protocols = tuple(dict.fromkeys(asked)) or tables.protocols(benchmark)
    rows = [row for name in protocols for row in protocol_metrics(tables, benchmark, name)]
    return GradedBenchmark(
        benchmark=benchmark,
        protocols=protocols,
        metrics={name: tuple(r for r in rows if r.protocol == name) for name in protocols},
        statuses={name: _statuses(tables, benchmark, name) for name in protocols},
        reasons={name: reasons(tables, benchmark, name) for name in protocols},
        flips=tuple(_flips(tables, benchmark, protocols)),
        notice=tag_notice(tables, benchmark),
    )


def _statuses(tables: Tables, benchmark: str, protocol: str) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for row in status_counts(tables, benchmark, protocol):
        counted[row.status] += row.rows
    return dict(counted.most_common())


def _flips(tables: Tables, benchmark: str, protocols: Sequence[str]) -> Iterator[Flipped]:
    outputs = tables.outputs(benchmark).set_index("id")
    first, *others = protocols
    for other in others:
        for flip in flips(tables, benchmark, first, other):
            yield _flipped((first, other), flip, outputs.loc[flip.output])


def _flipped(protocols: tuple[str, str], flip: Flip, output: Any) -> Flipped:
    words = [part["text"] for part in decode_cell(output["parts"]) if part["kind"] == "text"]
    return Flipped(
        protocols, output["key"], int(output["draw"]), (flip.first, flip.second), " ".join(words)
    )


def as_json(found: GradedBenchmark) -> dict[str, Any]:
    """The numbers for programs.

    `protocol`, `headline`, `metrics`, `coverage` and `statuses` are those of the first protocol;
    `protocols` has the same of each by name. A metric is {value, low, high, scored, expected}:
    value unscaled or null, low and high the 95 % interval or null, scored of expected outputs
    with a value. `statuses` counts outputs by status, `reasons` lists {status, reason, outputs} of
    the most frequent ones for which outputs have no value. `tagged` says how many answers carry
    tags, or is null. `flips` lists {protocols, id, draw, values,
    answer} for each output that the first protocol and another one value differently.
    """
    parts = {name: _protocol_entry(found, name) for name in found.protocols}
    first = found.protocols[0]
    return {
        "benchmark": found.benchmark,
        "protocol": first,
        **parts[first],
        "protocols": parts,
        "tagged": found.notice,
        "flips": [flip._asdict() for flip in found.flips],
    }


def _protocol_entry(found: GradedBenchmark, protocol: str) -> dict[str, Any]:
    rows = found.metrics[protocol]
    return {
        "headline": rows[0].spec.name,
        "metrics": {row.spec.name: _metric_entry(row) for row in rows},
        "coverage": rows[0].coverage,
        "statuses": found.statuses[protocol],
        "reasons": [
            {"status": one.status, "reason": clean(one.words), "outputs": one.outputs}
            for one in found.reasons[protocol]
        ],
    }


def _metric_entry(row: MetricRow) -> dict[str, Any]:
    bounds = row.estimate.interval
    return {
        "value": row.estimate.value,
        "low": bounds.low if bounds else None,
        "high": bounds.high if bounds else None,
        "scored": row.scored,
        "expected": row.expected,
    }


def as_lines(found: GradedBenchmark) -> list[str]:
    """The numbers for people, a paragraph a protocol, then the flips."""
    lines = [found.notice] if found.notice else []
    for protocol in found.protocols:
        rows = found.metrics[protocol]
        counts = ", ".join(f"{n} {status}" for status, n in found.statuses[protocol].items())
        covered = f"{rows[0].scored} of {rows[0].expected} outputs ({rows[0].coverage:.1%})"
        part = ", ".join(f"{tag} {name}" for tag, name in rows[0].spec.where.items())
        where = f"{found.benchmark}@{protocol}{f', {part}' if part else ''}"
        lines += [f"{where}: {covered}{'' if rows[0].known else ' in this run'}; {counts}"]
        lines += [f"  no value for {reason_words(one)}" for one in found.reasons[protocol]]
        lines += [f"  {_metric_line(row)}" for row in rows]
    for other in found.protocols[1:]:
        lines += _flip_lines(
            [one for one in found.flips if one.protocols[1] == other], found, other
        )
    return lines


def _metric_line(row: MetricRow) -> str:
    value = printed(row.estimate.value, row.spec)
    bounds = interval(row.estimate.interval, row.spec)
    title = row.spec.title or ""
    total = f"  {title}" if ", of " in title else ""  # which says of how much
    return f"{row.spec.name:16} {value:>9}  {bounds}  ({row.covered.replace('/', ' of ')}){total}"


def _flip_lines(flipped: Sequence[Flipped], found: GradedBenchmark, other: str) -> list[str]:
    pair = f"{found.protocols[0]} and {other}"
    if not flipped:
        return [f"no output flips between {pair}"]
    lines = [f"{len(flipped)} outputs flip between {pair}:"]
    lines += [f"  {_flip_line(one)}" for one in flipped[:_FLIPS_SHOWN]]
    hidden = len(flipped) - _FLIPS_SHOWN
    return [*lines, f"  and {hidden} more (--json lists all)"] if hidden > 0 else lines


def _flip_line(flip: Flipped) -> str:
    one, two = ("none" if value is None else f"{value:g}" for value in flip.values)
    draw = f" draw {flip.draw}" if flip.draw else ""
    answer = shorten(" ".join(flip.answer.split()), _ANSWER_SHOWN)
    return f"{flip.id}{draw}: {one} -> {two}  {answer}"
