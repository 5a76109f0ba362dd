"""The headline tables of a report: every benchmark's first number beside baselines and print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from pairuni_eval.records import Capability, RunCard
from pairuni_eval.report.baseline_comparison import BaselineComparison
from pairuni_eval.report.figures import Other, around, reach, strip
from pairuni_eval.report.published import PublishedRow, nearest_to
from pairuni_eval.report.sections import Section
from pairuni_eval.report.slope_chart import Ends, SlopeChart, slope_chart
from pairuni_eval.report.text import number
from pairuni_eval.stats.compare import Difference

KINDS = {
    Capability.UNDERSTAND: "Understanding",
    Capability.GENERATE: "Generation",
    Capability.EDIT: "Editing",
}
_PUBLISHED_BESIDE = 3  # printed figures in a line of the headline table


class HeadlineRow(NamedTuple):
    """A line of the headline table.

    Attributes:
        differences: One entry per baseline, None where the benchmark was not compared.
        lacking: Why not, one entry per baseline.
        strips: The same around 0, empty where there is nothing to draw.
        published: A few printed figures of the headline metric; none beside tiny numbers.
    """

    section: Section
    figure: Markup
    differences: tuple[Difference | None, ...]
    lacking: tuple[str, ...]
    strips: tuple[Markup, ...]
    published: tuple[PublishedRow, ...]


class HeadlineGroup(NamedTuple):
    """The headlines of one capability."""

    title: str
    rows: tuple[HeadlineRow, ...]


class HeadlineTable(NamedTuple):
    """Headlines that may stand in one column: tiny ones, or the others.

    Attributes:
        published: Whether any line has a printed figure beside it; never where `tiny`.
        reach: How far the strips of differences reach, as a share of each metric's range.
        slopes: From each baseline to this run, a line for each benchmark.
    """

    tiny: bool
    groups: tuple[HeadlineGroup, ...]
    published: bool
    reach: float
    slopes: tuple[SlopeChart, ...]


def headlines(
    run: RunCard, sections: Sequence[Section], baselines: Sequence[BaselineComparison]
) -> tuple[HeadlineTable, ...]:
    """The headline tables: real numbers first, tiny ones in a table of their own."""
    made = []
    half = reach([one.headline(section.card.name) for section in sections for one in baselines])
    for tiny in (False, True):
        groups = tuple(
            HeadlineGroup(title, rows)
            for kind, title in KINDS.items()
            if (
                rows := tuple(
                    _headline_row(run, section, baselines, half)
                    for section in sections
                    if section.card.capability is kind and section.tiny is tiny
                )
            )
        )
        if groups:
            made.append(_headline_table(run, baselines, groups, half, tiny=tiny))
    return tuple(made)


def _headline_table(
    run: RunCard,
    baselines: Sequence[BaselineComparison],
    groups: tuple[HeadlineGroup, ...],
    half: float,
    *,
    tiny: bool,
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
        reach=half,
        slopes=tuple(slope for slope in slopes if slope is not None),
    )


def _ends(row: HeadlineRow, place: int) -> Ends | None:
    """Where the headline stands in a baseline and in this run, on its range; None if unknown."""
    difference, bounds = row.differences[place], row.section.headline.estimate.bounds
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


def _headline_row(
    run: RunCard, section: Section, baselines: Sequence[BaselineComparison], half: float
) -> HeadlineRow:
    found = tuple(one.headline(section.card.name) for one in baselines)
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
    strips = tuple(
        around(row, half, f"{tiny}{section.card.title}, this run minus {one.name}")
        if row
        else Markup("")
        for one, row in zip(baselines, found, strict=True)
    )
    levels = strip(section.headline.estimate, label, others)
    default = section.protocols[0].name
    lacking = tuple(one.lacking(section.card.name, default) for one in baselines)
    return HeadlineRow(section, levels, found, lacking, strips, beside)
