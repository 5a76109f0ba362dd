"""What a report says, before it is set: the records that both templates and the summary read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from markupsafe import Markup

from pairuni_eval.analysis.compare import Difference, Word, compare_tables
from pairuni_eval.analysis.intervals import Estimate
from pairuni_eval.analysis.tables import (
    GroupRow,
    MetricRow,
    StatusCount,
    Tables,
    bare,
    benchmark_metrics,
    flips,
    status_counts,
)
from pairuni_eval.cards import Card, ProtocolSpec, Published
from pairuni_eval.records import BenchmarkRun, Capability, Figure, RunCard, Status
from pairuni_eval.report.figures import Other, strip
from pairuni_eval.report.gallery import Album, Exhibit, exhibits
from pairuni_eval.report.judging import Judging, judging
from pairuni_eval.report.text import shorten
from pairuni_eval.store.read import StoredRun, decode_cell

KINDS = {
    Capability.UNDERSTAND: "Understanding",
    Capability.GENERATE: "Generation",
    Capability.EDIT: "Editing",
}
_TINY_CHECKPOINT = "tiny"  # as --checkpoint names it; its recipes begin with "pairuni-tiny"
_FLIPS_SHOWN = 12


class ProtocolPart(NamedTuple):
    """One protocol of a benchmark: its rule, its numbers and what became of the rows."""

    name: str
    rule: ProtocolSpec
    metrics: tuple[MetricRow, ...]
    statuses: tuple[StatusCount, ...]


class GroupTable(NamedTuple):
    """The groups of one tag under one protocol; each line has one cell per metric."""

    protocol: str
    tag: str
    metrics: tuple[MetricRow, ...]
    lines: tuple[tuple[GroupRow, ...], ...]


class PublishedRow(NamedTuple):
    """A printed figure and whether its protocol is one of this run's."""

    figure: Published
    match: str


class FlipRow(NamedTuple):
    """An output that two protocols grade differently."""

    key: str
    answer: str
    first: float | None
    second: float | None


class FlipTable(NamedTuple):
    """The rows that flip between the default protocol and another; the first few are listed."""

    other: str
    total: int
    lines: tuple[FlipRow, ...]


class Section(NamedTuple):
    """One benchmark of the report: `graded` of `expected` outputs have a value."""

    anchor: str
    card: Card
    run: BenchmarkRun
    tiny: bool
    partial: bool
    protocols: tuple[ProtocolPart, ...]
    groups: tuple[GroupTable, ...]
    flips: tuple[FlipTable, ...]
    published: tuple[PublishedRow, ...]
    exhibits: tuple[Exhibit, ...]
    graded: int
    expected: int
    figures: tuple[Figure, ...] = ()
    judging: Judging | None = None

    @property
    def headline(self) -> MetricRow:
        """The headline under the default protocol; a foreign figure if its rows hold no numbers."""
        headline = self.protocols[0].metrics[0]
        if headline.estimate.value is None and self.figures:
            return _as_metric(self.figures[0], headline)
        return headline


class HeadlineRow(NamedTuple):
    """A line of the headline table; `versus` has one entry per baseline."""

    section: Section
    figure: Markup
    versus: tuple[Difference | None, ...]


class HeadlineGroup(NamedTuple):
    """The headlines of one capability."""

    title: str
    rows: tuple[HeadlineRow, ...]


class HeadlineTable(NamedTuple):
    """Headlines that may stand in one column: tiny ones, or the others."""

    tiny: bool
    groups: tuple[HeadlineGroup, ...]


class Versus(NamedTuple):
    """A baseline: its name, its run card and every metric it shares."""

    name: str
    card: RunCard
    differences: tuple[Difference, ...]


class Page(NamedTuple):
    """The whole report."""

    run: RunCard
    title: str
    answer: str
    verdicts: tuple[str, ...]
    headlines: tuple[HeadlineTable, ...]
    sections: tuple[Section, ...]
    baselines: tuple[Versus, ...]


def gather(run: StoredRun, baselines: Mapping[str, StoredRun], album: Album) -> Page:
    """Everything the report says; copies the pictures it shows."""
    tables = Tables(run)
    order = list(KINDS)
    names = sorted(run.card.benchmarks, key=lambda name: order.index(run.cards[name].capability))
    sections = tuple(_section(tables, name, n, album) for n, name in enumerate(names))
    versus = tuple(
        Versus(name, other.card, _in_order(compare_tables(tables, Tables(other)), names))
        for name, other in baselines.items()
    )
    return Page(
        run=run.card,
        title=f"{run.card.name}: {len(sections)} benchmark{'s' * (len(sections) != 1)}",
        answer=_answer(run.card, sections),
        verdicts=tuple(_verdict_sentence(one) for one in versus),
        headlines=_headlines(sections, versus),
        sections=sections,
        baselines=versus,
    )


def _in_order(rows: Sequence[Difference], names: Sequence[str]) -> tuple[Difference, ...]:
    return tuple(sorted(rows, key=lambda row: names.index(row.benchmark)))


def _section(tables: Tables, name: str, position: int, album: Album) -> Section:
    card, run = tables.card(name), tables.run.card.benchmarks[name]
    metrics = benchmark_metrics(tables, name)
    tiny = card.tiny or _is_tiny(tables.run.card)
    return Section(
        anchor=f"benchmark-{position + 1}",
        card=card,
        run=run,
        tiny=tiny,
        partial=run.planned < run.expected,
        protocols=tuple(
            ProtocolPart(
                name=protocol,
                rule=tables.spec(name, protocol),
                metrics=tuple(row for row in metrics if row.protocol == protocol),
                statuses=status_counts(tables, name, protocol),
            )
            for protocol in tables.protocols(name)
        ),
        groups=_group_tables(metrics, tables.protocols(name)[0]),
        flips=_flip_tables(tables, name),
        published=() if tiny else _published(card, tables.protocols(name)),
        exhibits=exhibits(tables, name, album),
        graded=_graded(tables, name),
        figures=_figures(tables, name),
        judging=judging(tables, name),
        expected=run.expected * card.draws,
    )


def _figures(tables: Tables, name: str) -> tuple[Figure, ...]:
    """What other toolkits computed for a benchmark."""
    return tuple(
        figure for figure in tables.run.figures if figure.protocol.rpartition("@")[0] == name
    )


def _as_metric(figure: Figure, headline: MetricRow) -> MetricRow:
    """A foreign figure in the place of a headline without a value: no interval, no groups."""
    spec = msgspec.structs.replace(headline.spec, name=figure.metric, title=figure.metric)
    return headline._replace(
        spec=spec, estimate=Estimate(figure.value, None, 0), scored=figure.rows, groups=()
    )


def _is_tiny(card: RunCard) -> bool:
    """Whether the weights are the tiny ones, whose numbers are tiny on any benchmark."""
    named = _TINY_CHECKPOINT in (card.name, card.checkpoint.name)
    return named or (card.checkpoint.recipe or "").startswith("pairuni-tiny")


def _graded(tables: Tables, name: str) -> int:
    protocol = tables.protocols(name)[0]
    frame = tables.joined(name, protocol, tables.verdict_metric(name, protocol))
    return int((frame["value"].notna() | (frame["status"] == Status.SCORED)).sum())


def _group_tables(metrics: Sequence[MetricRow], protocol: str) -> tuple[GroupTable, ...]:
    """One table per tag for the default protocol; metrics with other groups get their own."""
    shapes: dict[tuple[str, tuple[str, ...]], list[MetricRow]] = {}
    for row in metrics:
        if row.protocol == protocol and row.groups:
            names = tuple(group.name for group in row.groups)
            held = shapes.setdefault((row.spec.by or "", names), [])
            if not any(_same_groups(row, other) for other in held):
                held.append(row)
    return tuple(
        GroupTable(
            protocol, tag, tuple(rows), tuple(zip(*(row.groups for row in rows), strict=True))
        )
        for (tag, _), rows in shapes.items()
    )


def _same_groups(row: MetricRow, other: MetricRow) -> bool:
    """Within one group a mean over groups is the pooled number: it is not printed twice."""
    return row.spec.of == other.spec.of and [group.estimate.value for group in row.groups] == [
        group.estimate.value for group in other.groups
    ]


def _flip_tables(tables: Tables, name: str) -> tuple[FlipTable, ...]:
    first, *others = tables.protocols(name)
    made = []
    for other in others:
        found = flips(tables, name, first, other)
        frame = tables.outputs(name).set_index("id")
        lines = tuple(
            FlipRow(
                shorten(str(frame.at[flip.output, "key"]), 80),
                shorten(_answer_text(tables, name, flip.output), 200),
                flip.first,
                flip.second,
            )
            for flip in found[:_FLIPS_SHOWN]
        )
        made.append(FlipTable(other, len(found), lines))
    return tuple(made)


def _answer_text(tables: Tables, name: str, output: str) -> str:
    frame = tables.outputs(name)
    parts = decode_cell(frame.loc[frame["id"] == output, "parts"].iloc[0])
    return " ".join(part.get("text", "(image)") for part in parts)


def _published(card: Card, protocols: tuple[str, ...]) -> tuple[PublishedRow, ...]:
    return tuple(PublishedRow(one, _match(one.protocol, protocols)) for one in card.published)


def _match(stated: str, protocols: tuple[str, ...]) -> str:
    """Whether a published protocol is ours; what stands after a semicolon is a reservation."""
    name, _, reservation = (part.strip() for part in stated.partition(";"))
    if name == "not stated":
        return "protocol not stated"
    if bare(name) not in protocols:
        return "protocol differs"
    return "protocol matches in part" if reservation else "protocol matches"


def _headlines(sections: Sequence[Section], versus: Sequence[Versus]) -> tuple[HeadlineTable, ...]:
    made = []
    for tiny in (False, True):
        groups = tuple(
            HeadlineGroup(title, rows)
            for kind, title in KINDS.items()
            if (rows := _headline_rows(sections, versus, kind, tiny=tiny))
        )
        if groups:
            made.append(HeadlineTable(tiny, groups))
    return tuple(made)


def _headline_rows(
    sections: Sequence[Section], versus: Sequence[Versus], kind: Capability, *, tiny: bool
) -> tuple[HeadlineRow, ...]:
    return tuple(
        _headline_row(section, versus)
        for section in sections
        if section.card.capability is kind and section.tiny is tiny
    )


def _headline_row(section: Section, versus: Sequence[Versus]) -> HeadlineRow:
    found = tuple(_headline_difference(one, section.card.name) for one in versus)
    others = [
        Other(one.name, difference.theirs if difference else None)
        for one, difference in zip(versus, found, strict=True)
    ]
    tiny = "tiny " if section.tiny else ""
    label = f"{tiny}{section.card.title}: dot with 95 % interval on the metric's range"
    return HeadlineRow(section, strip(section.headline.estimate, label, others), found)


def _headline_difference(versus: Versus, benchmark: str) -> Difference | None:
    matching = (row for row in versus.differences if row.headline and row.benchmark == benchmark)
    return next(matching, None)


def group_figure(number: Estimate, name: str) -> Markup:
    """The strip of one group."""
    return strip(number, f"{name}: dot with 95 % interval on the metric's range")


def _answer(card: RunCard, sections: Sequence[Section]) -> str:
    """One sentence: what was measured, on what, and whether all of it."""
    graded = sum(section.graded for section in sections)
    expected = sum(section.expected for section in sections)
    tiny = sum(section.tiny for section in sections)
    which = ", all tiny" if tiny == len(sections) > 0 else f", {tiny} of them tiny" if tiny else ""
    state = "the run is PARTIAL" if card.partial else "the run is complete"
    checkpoint = "" if card.checkpoint.name == card.name else f"checkpoint {card.checkpoint.name}, "
    return (
        f"{card.name} ({checkpoint}{card.checkpoint.adapter}, weights "
        f"{card.checkpoint.weights[:12]}) was measured on {len(sections)} "
        f"benchmark{'s' * (len(sections) != 1)}{which}: {graded} of {expected} expected outputs "
        f"have a value, and {state}."
    )


def _verdict_sentence(versus: Versus) -> str:
    words = [row.word for row in versus.differences if row.headline]
    if not words:
        return f"Against {versus.name}: no benchmark in common."
    counted = ", ".join(f"{word} on {words.count(word)}" for word in Word if word in words)
    return f"Against {versus.name}: {counted}."
