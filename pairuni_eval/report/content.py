"""What a report says, before it is set: the records that both templates and the summary read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from markupsafe import Markup

from pairuni_eval.analysis.compare import Difference
from pairuni_eval.analysis.intervals import Estimate
from pairuni_eval.analysis.tables import (
    GroupRow,
    MetricRow,
    StatusCount,
    Tables,
    benchmark_metrics,
    compared,
    flips,
    status_counts,
)
from pairuni_eval.cards import Card, ProtocolSpec
from pairuni_eval.records import BenchmarkRun, Capability, Figure, RunCard, Status
from pairuni_eval.report.browse import Browser, browser
from pairuni_eval.report.charts import Ends, SlopeChart, slope_chart
from pairuni_eval.report.contamination import Contamination, contamination
from pairuni_eval.report.cost import Cost, cost
from pairuni_eval.report.curves import Curves, curves, training_arms
from pairuni_eval.report.figures import Other, strip
from pairuni_eval.report.gallery import Album, Exhibit, exhibits
from pairuni_eval.report.gradients import Gradients, gradients
from pairuni_eval.report.judging import Judging, judges_named, judging
from pairuni_eval.report.published import PublishedRow, nearest_to, published_rows
from pairuni_eval.report.text import number, shorten
from pairuni_eval.report.tininess import is_tiny
from pairuni_eval.report.versus import Versus, caveats, versus
from pairuni_eval.store.read import StoredRun, decode_cell

KINDS = {
    Capability.UNDERSTAND: "Understanding",
    Capability.GENERATE: "Generation",
    Capability.EDIT: "Editing",
}
_FLIPS_SHOWN = 12
_PUBLISHED_BESIDE = 3  # printed figures in a line of the headline table


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


class FlipRow(NamedTuple):
    """An output that two protocols grade differently."""

    key: str
    answer: str
    first: float | None
    second: float | None


class FlipTable(NamedTuple):
    """The rows that flip between the default protocol and another; the first few are listed.

    `compared` outputs were looked at under both, the others were skipped by one of them.
    """

    other: str
    compared: int
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
    def coverage(self) -> tuple[int, int]:
        """Outputs with a value and outputs expected, of the headline.

        A headline over a part of the benchmark (`where`) knows only its rows in the run, so that
        the whole benchmark stands in for it.
        """
        head = self.headline
        return (self.graded, self.expected) if head.spec.where else (head.scored, head.expected)

    @property
    def headline(self) -> MetricRow:
        """The headline under the default protocol; a foreign figure if its rows hold no numbers."""
        headline = self.protocols[0].metrics[0]
        if headline.estimate.value is None and self.figures:
            return _as_metric(self.figures[0], headline)
        return headline


class HeadlineRow(NamedTuple):
    """A line of the headline table.

    Attributes:
        versus: One entry per baseline, None where it lacks the benchmark.
        published: A few printed figures of the headline metric; none beside tiny numbers.
    """

    section: Section
    figure: Markup
    versus: tuple[Difference | None, ...]
    published: tuple[PublishedRow, ...]


class HeadlineGroup(NamedTuple):
    """The headlines of one capability."""

    title: str
    rows: tuple[HeadlineRow, ...]


class HeadlineTable(NamedTuple):
    """Headlines that may stand in one column: tiny ones, or the others.

    Attributes:
        published: Whether any line has a printed figure beside it; never where `tiny`.
        slopes: From each baseline to this run, a line for each benchmark.
    """

    tiny: bool
    groups: tuple[HeadlineGroup, ...]
    published: bool
    slopes: tuple[SlopeChart, ...]


class Page(NamedTuple):
    """The whole report."""

    run: RunCard
    unfinished: bool
    title: str
    answer: str
    caveats: tuple[str, ...]
    headlines: tuple[HeadlineTable, ...]
    sections: tuple[Section, ...]
    baselines: tuple[Versus, ...]
    browser: Browser
    training: Curves | None
    gradients: Gradients | None
    contamination: Contamination | None
    cost: Cost | None

    @property
    def partial(self) -> bool:
        """Whether some benchmark is not here whole."""
        return self.run.partial or self.unfinished

    @property
    def graded(self) -> int:
        """Outputs that have a value."""
        return sum(section.graded for section in self.sections)

    @property
    def expected(self) -> int:
        """Outputs that the complete benchmarks ask for."""
        return sum(section.expected for section in self.sections)


def gather(
    run: StoredRun,
    baselines: Mapping[str, StoredRun],
    album: Album,
    training: Mapping[str, Sequence[Path]],
    pairs: Path | None,
) -> Page:
    """Everything the report says; copies the pictures it shows.

    Args:
        run: The reported run.
        baselines: Runs to compare with, by name.
        album: Takes the pictures.
        training: Training folders by the name of their arm.
        pairs: The pair set that the checkpoint was trained on, to look for evaluation items in.
    """
    tables = Tables(run)
    others = {name: Tables(other) for name, other in baselines.items()}
    order = list(KINDS)
    names = sorted(run.card.benchmarks, key=lambda name: order.index(run.cards[name].capability))
    sections = tuple(_section(tables, name, n, album, others) for n, name in enumerate(names))
    found = tuple(
        versus(name, n + 1, tables, other, names) for n, (name, other) in enumerate(others.items())
    )
    tiny = {section.card.name: section.tiny for section in sections}
    arms = training_arms(run, baselines, training)
    return Page(
        run=run.card,
        unfinished=run.unfinished,
        title=f"{run.card.name}: {len(sections)} benchmark{'s' * (len(sections) != 1)}",
        answer=_answer(run, sections),
        caveats=caveats(found),
        headlines=_headlines(run.card, sections, found),
        sections=sections,
        baselines=found,
        browser=browser(tables, others, album, tiny),
        training=curves(arms),
        gradients=gradients(arms, _scores(run.card.name, sections, found)),
        contamination=contamination(tables, pairs, names) if pairs else None,
        cost=cost(run.folder),
    )


def _scores(
    name: str, sections: Sequence[Section], baselines: Sequence[Versus]
) -> dict[str, dict[str, float]]:
    """By benchmark, the headline of this run and of every baseline, on the shared outputs."""
    found: dict[str, dict[str, float]] = {}
    for section in sections:
        rows = {one.name: _headline_difference(one, section.card.name) for one in baselines}
        theirs = {arm: row.theirs for arm, row in rows.items() if row is not None}
        by_arm = {name: section.headline.estimate.value, **theirs}
        found[section.card.title] = {
            arm: value for arm, value in by_arm.items() if value is not None
        }
    return found


def _section(
    tables: Tables, name: str, position: int, album: Album, others: Mapping[str, Tables]
) -> Section:
    card, run = tables.card(name), tables.run.card.benchmarks[name]
    metrics = benchmark_metrics(tables, name)
    tiny = is_tiny(card, tables.run.card)
    return Section(
        anchor=f"benchmark-{position + 1}",
        card=card,
        run=run,
        tiny=tiny,
        partial=run.planned < run.expected or tables.run.unfinished,
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
        published=()
        if tiny
        else published_rows(card, tables.protocols(name), judges_named(tables, name)),
        exhibits=exhibits(tables, name, album, others),
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
        made.append(FlipTable(other, compared(tables, name, first, other), len(found), lines))
    return tuple(made)


def _answer_text(tables: Tables, name: str, output: str) -> str:
    """What the model said, or what its picture was asked to show."""
    frame = tables.outputs(name)
    row = frame[frame["id"] == output].iloc[0]
    said = [part["text"] for part in decode_cell(row["parts"]) if part["kind"] == "text"]
    asked = [part["text"] for part in decode_cell(row["request"]) if part["kind"] == "text"]
    return " ".join(said or ["(image)", *asked])


def _headlines(
    run: RunCard, sections: Sequence[Section], baselines: Sequence[Versus]
) -> tuple[HeadlineTable, ...]:
    made = []
    for tiny in (False, True):
        groups = tuple(
            HeadlineGroup(title, rows)
            for kind, title in KINDS.items()
            if (rows := _headline_rows(run, sections, baselines, kind, tiny=tiny))
        )
        if groups:
            made.append(_headline_table(run, baselines, groups, tiny=tiny))
    return tuple(made)


def _headline_table(
    run: RunCard, baselines: Sequence[Versus], groups: tuple[HeadlineGroup, ...], *, tiny: bool
) -> HeadlineTable:
    rows = [row for group in groups for row in group.rows]
    slopes = (
        slope_chart(one.name, run.name, [ends for row in rows if (ends := _ends(row, place))])
        for place, one in enumerate(baselines)
    )
    return HeadlineTable(
        tiny=tiny,
        groups=groups,
        published=any(row.published for row in rows),
        slopes=tuple(slope for slope in slopes if slope is not None),
    )


def _ends(row: HeadlineRow, place: int) -> Ends | None:
    """Where the headline stands in a baseline and in this run, on its range; None if unknown."""
    difference, bounds = row.versus[place], row.section.headline.estimate.bounds
    if difference is None or bounds is None:
        return None
    if difference.ours is None or difference.theirs is None:
        return None
    span = bounds.high - bounds.low
    return Ends(
        name=row.section.card.title,
        tone=str(difference.word).replace(" ", "-"),
        before=(difference.theirs - bounds.low) / span,
        after=(difference.ours - bounds.low) / span,
        before_text=number(difference.theirs, difference.spec),
        after_text=number(difference.ours, difference.spec),
    )


def _headline_rows(
    run: RunCard,
    sections: Sequence[Section],
    baselines: Sequence[Versus],
    kind: Capability,
    *,
    tiny: bool,
) -> tuple[HeadlineRow, ...]:
    return tuple(
        _headline_row(run, section, baselines)
        for section in sections
        if section.card.capability is kind and section.tiny is tiny
    )


def _headline_row(run: RunCard, section: Section, baselines: Sequence[Versus]) -> HeadlineRow:
    found = tuple(_headline_difference(one, section.card.name) for one in baselines)
    others = [
        Other(one.name, difference.theirs if difference else None)
        for one, difference in zip(baselines, found, strict=True)
    ]
    tiny = "tiny " if section.tiny else ""
    label = f"{tiny}{section.card.title}: dot with 95 % interval on the metric's range"
    beside = nearest_to(
        section.published,
        section.headline.spec.name,
        run.checkpoint.name,
        at_most=_PUBLISHED_BESIDE,
    )
    return HeadlineRow(section, strip(section.headline.estimate, label, others), found, beside)


def _headline_difference(baseline: Versus, benchmark: str) -> Difference | None:
    return next((row for row in baseline.headlines if row.benchmark == benchmark), None)


def group_figure(number: Estimate, name: str) -> Markup:
    """The strip of one group."""
    return strip(number, f"{name}: dot with 95 % interval on the metric's range")


def _answer(run: StoredRun, sections: Sequence[Section]) -> str:
    """One sentence: what was measured, on what, and whether all of it."""
    card = run.card
    graded = sum(section.graded for section in sections)
    expected = sum(section.expected for section in sections)
    tiny = sum(section.tiny for section in sections)
    which = ", all tiny" if tiny == len(sections) > 0 else f", {tiny} of them tiny" if tiny else ""
    state = "the run is PARTIAL" if card.partial else "the run is complete"
    state = "the run has not ended" if run.unfinished else state
    checkpoint = "" if card.checkpoint.name == card.name else f"checkpoint {card.checkpoint.name}, "
    return (
        f"{card.name} ({checkpoint}{card.checkpoint.adapter}, weights "
        f"{card.checkpoint.weights[:12]}) was measured on {len(sections)} "
        f"benchmark{'s' * (len(sections) != 1)}{which}: {graded} of {expected} expected outputs "
        f"have a value, and {state}."
    )
