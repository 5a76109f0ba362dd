"""One benchmark of a report: its protocols, groups, statuses, flips, published figures, gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from pairuni_eval.cards import Card, ProtocolSpec
from pairuni_eval.decoding import Decoding
from pairuni_eval.records import BenchmarkRun, ExternalMetric, Status
from pairuni_eval.report.addresses import of_sample, shown_key
from pairuni_eval.report.baseline_comparison import BaselineComparison
from pairuni_eval.report.copied_images import ImageCopier
from pairuni_eval.report.gallery import GalleryItem, gallery_items
from pairuni_eval.report.judging import JudgingReport, judges_named, judging
from pairuni_eval.report.own_pictures import OwnPictures, own_pictures
from pairuni_eval.report.published import PublishedRow, published_rows
from pairuni_eval.report.text import shorten
from pairuni_eval.report.tiny_label import is_tiny
from pairuni_eval.stats.alike import Alike, alike
from pairuni_eval.stats.compare import Difference
from pairuni_eval.stats.intervals import Estimate
from pairuni_eval.stats.tables import (
    GroupRow,
    MetricRow,
    StatusCount,
    Tables,
    benchmark_metrics,
    compared,
    flips,
    metric_row,
    status_counts,
)
from pairuni_eval.store.read import decode_cell

_FLIPS_SHOWN = 12
_ANSWER_SHOWN = 60


class ProtocolPart(NamedTuple):
    """One protocol of a benchmark: its rule, its numbers and what became of the rows."""

    name: str
    rule: ProtocolSpec
    metrics: tuple[MetricRow, ...]
    statuses: tuple[StatusCount, ...]

    @property
    def headline(self) -> MetricRow:
        """The number the protocol is known by."""
        return next(row for row in self.metrics if row.spec.name == self.rule.headline)


class GroupLine(NamedTuple):
    """A group under every metric of its table, and against every baseline.

    Attributes:
        differences: One entry per baseline, None where the group was not compared; empty unless the
            table's first metric is the headline, of which alone groups are compared.
    """

    cells: tuple[GroupRow, ...]
    differences: tuple[Difference | None, ...]

    @property
    def name(self) -> str:
        """The group as a reader writes it."""
        return self.cells[0].name.replace("_", " ")


class GroupTable(NamedTuple):
    """The groups of one tag under one protocol."""

    protocol: str
    tag: str
    metrics: tuple[MetricRow, ...]
    lines: tuple[GroupLine, ...]

    @property
    def compared(self) -> bool:
        """Whether any group stands against a baseline."""
        return any(one is not None for line in self.lines for one in line.differences)


class FlipRow(NamedTuple):
    """An output that two protocols grade differently; `address` is where the browser shows it."""

    key: str
    address: str
    answer: str
    first: float | None
    second: float | None


class FlipTable(NamedTuple):
    """The rows that flip between the default protocol and another; the first few are listed.

    `compared` outputs were looked at under both, the others were skipped by one of them.
    """

    other: ProtocolPart
    compared: int
    total: int
    lines: tuple[FlipRow, ...]


class Section(NamedTuple):
    """One benchmark of the report: `graded` of `expected` outputs have a value.

    `alike` says so where all outputs are one and the same.
    """

    anchor: str
    card: Card
    run: BenchmarkRun
    tiny: bool
    partial: bool
    protocols: tuple[ProtocolPart, ...]
    groups: tuple[GroupTable, ...]
    flips: tuple[FlipTable, ...]
    published: tuple[PublishedRow, ...]
    gallery_items: tuple[GalleryItem, ...]
    graded: int
    expected: int
    figures: tuple[ExternalMetric, ...] = ()
    judging: JudgingReport | None = None
    alike: str | None = None
    own_pictures: OwnPictures | None = None

    @property
    def coverage(self) -> tuple[int, int]:
        """Outputs with a value and outputs expected, of the headline."""
        return self.headline.scored, self.headline.expected

    @property
    def headline(self) -> MetricRow:
        """The headline under the default protocol; a foreign figure if its rows hold no numbers."""
        return _or_figure(self.protocols[0].metrics[0], self.figures)

    @property
    def further_decoding(self) -> str:
        """The settings of decoding that only some models have, in words, behind their name."""
        words = further_in_words(self.run.decoding)
        return f"{self.run.preset}: {words}" if self.run.preset else words


def further_in_words(decoding: Decoding) -> str:
    """Settings that only some models have, as "steps 50, cfg interval 0.4 to 1"; "-" for none."""
    said = [f"{name.replace('_', ' ')} {_shown(one)}" for name, one in decoding.further.items()]
    return ", ".join(said) or "-"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(f"{one:g}" for one in value)
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


def benchmark_section(
    tables: Tables,
    name: str,
    position: int,
    copier: ImageCopier,
    others: Mapping[str, Tables],
    baselines: Sequence[BaselineComparison],
) -> Section:
    """One benchmark of a run.

    Args:
        tables: The run.
        name: The benchmark.
        position: Its place in the report's order.
        copier: Takes the pictures.
        others: The baselines' tables, by name.
        baselines: What the comparison with each of them found.
    """
    card, run = tables.card(name), tables.run.card.benchmarks[name]
    parts = _parts(tables, name)
    tiny = is_tiny(card, tables.run.card)
    return Section(
        anchor=f"benchmark-{position + 1}",
        card=card,
        run=run,
        tiny=tiny,
        partial=run.planned < run.expected or tables.run.unfinished,
        protocols=parts,
        groups=_group_tables(name, parts[0], baselines),
        flips=_flip_tables(tables, name, parts),
        published=()
        if tiny
        else published_rows(card, tables.protocols(name), judges_named(tables, name)),
        gallery_items=gallery_items(tables, name, copier, others),
        graded=_graded(tables, name),
        figures=_figures(tables, name),
        judging=judging(tables, name),
        expected=run.expected * card.draws,
        alike=_alike_words(alike(tables, name)),
        own_pictures=own_pictures(tables, name, copier),
    )


def _alike_words(found: Alike | None) -> str | None:
    """What all outputs have in common, as a sentence."""
    if found is None:
        return None
    if found.text is None:
        return f"All {found.outputs:,} pictures are one and the same."
    if not found.text:
        return f"All {found.outputs:,} answers are empty."
    return f"All {found.outputs:,} answers are the same: '{shorten(found.text, _ANSWER_SHOWN)}'."


def _parts(tables: Tables, name: str) -> tuple[ProtocolPart, ...]:
    """Every protocol of a benchmark, the default first."""
    metrics = benchmark_metrics(tables, name)
    return tuple(
        ProtocolPart(
            name=protocol,
            rule=tables.spec(name, protocol),
            metrics=tuple(row for row in metrics if row.protocol == protocol),
            statuses=status_counts(tables, name, protocol),
        )
        for protocol in tables.protocols(name)
    )


def _figures(tables: Tables, name: str) -> tuple[ExternalMetric, ...]:
    """What other toolkits computed for a benchmark."""
    return tuple(
        figure
        for figure in tables.run.external_metrics
        if figure.protocol.rpartition("@")[0] == name
    )


def headline_number(tables: Tables, name: str) -> MetricRow:
    """As `Section.headline`, without its groups; reads nothing else of the benchmark."""
    protocol = tables.graded_under(name)[0]
    rule = tables.spec(name, protocol)
    row = metric_row(tables, name, protocol, rule.metric(rule.headline), grouped=False)
    return _or_figure(row, _figures(tables, name))


def _or_figure(headline: MetricRow, figures: Sequence[ExternalMetric]) -> MetricRow:
    """The first foreign figure where a headline has no value: no interval, no groups."""
    if headline.estimate.value is not None or not figures:
        return headline
    figure = figures[0]
    spec = msgspec.structs.replace(headline.spec, name=figure.metric, title=figure.metric)
    return headline._replace(
        spec=spec, estimate=Estimate(figure.value, None, 0), scored=figure.rows, groups=()
    )


def _graded(tables: Tables, name: str) -> int:
    protocol = tables.protocols(name)[0]
    frame = tables.joined(name, protocol, tables.verdict_metric(name, protocol))
    return int((frame["value"].notna() | (frame["status"] == Status.SCORED)).sum())


def _group_tables(
    benchmark: str, part: ProtocolPart, baselines: Sequence[BaselineComparison]
) -> tuple[GroupTable, ...]:
    """One table per tag for a protocol; metrics with other groups get their own."""
    shapes: dict[tuple[str, tuple[str, ...]], list[MetricRow]] = {}
    for row in part.metrics:
        if row.groups:
            names = tuple(group.name for group in row.groups)
            held = shapes.setdefault((row.spec.by or "", names), [])
            if not any(_same_groups(row, other) for other in held):
                held.append(row)
    return tuple(
        GroupTable(part.name, tag, tuple(rows), _group_lines(benchmark, part, rows, baselines))
        for (tag, _), rows in shapes.items()
    )


def _group_lines(
    benchmark: str,
    part: ProtocolPart,
    rows: Sequence[MetricRow],
    baselines: Sequence[BaselineComparison],
) -> tuple[GroupLine, ...]:
    compared = rows[0].spec.name == part.rule.headline
    return tuple(
        GroupLine(
            cells, tuple(one.group(benchmark, cells[0].name) for one in baselines if compared)
        )
        for cells in zip(*(row.groups for row in rows), strict=True)
    )


def _same_groups(row: MetricRow, other: MetricRow) -> bool:
    """Within one group a mean over groups is the pooled number: it is not printed twice."""
    return row.spec.of == other.spec.of and [group.estimate.value for group in row.groups] == [
        group.estimate.value for group in other.groups
    ]


def _flip_tables(tables: Tables, name: str, parts: Sequence[ProtocolPart]) -> tuple[FlipTable, ...]:
    first, *others = parts
    made = []
    for other in others:
        found = flips(tables, name, first.name, other.name)
        frame = tables.outputs(name).set_index("id")
        lines = tuple(
            FlipRow(
                shown_key(key := str(frame.at[flip.output, "key"])),
                of_sample(name, key),
                shorten(_answer_text(tables, name, flip.output), 200),
                flip.first,
                flip.second,
            )
            for flip in found[:_FLIPS_SHOWN]
        )
        both = compared(tables, name, first.name, other.name)
        made.append(FlipTable(other, both, len(found), lines))
    return tuple(made)


def _answer_text(tables: Tables, name: str, output: str) -> str:
    """What the model said, or what its picture was asked to show."""
    frame = tables.outputs(name)
    row = frame[frame["id"] == output].iloc[0]
    said = [part["text"] for part in decode_cell(row["parts"]) if part["kind"] == "text"]
    asked = [part["text"] for part in decode_cell(row["request"]) if part["kind"] == "text"]
    return " ".join(said or ["(image)", *asked])
