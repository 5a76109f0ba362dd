"""The comparison of two runs of the same samples: is a difference real, and what may be said of it?

Goes in: the tables of two finished runs. Comes out: every metric that both have, each with both
numbers on the shared outputs, interval, p value, margin, power, a word and a sentence; the same for
the groups of every headline; and for whatever could not be compared, the reason. Nothing is left
out in silence.

`meeting` holds the outputs that are compared, `comparable` the reasons why some are not, `paired`
the tests, `families` the correction for everything that a page looks at, `conclusions` and
`verdict` the words; `arms` compares arms of several runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec
import pandas as pd

from pairuni_eval.cards import Card
from pairuni_eval.stats.comparable import (
    Side,
    drawn_alike,
    lacking_benchmark,
    lacking_protocol,
    lacking_samples,
    other_grader,
    other_rule,
    other_settings,
)
from pairuni_eval.stats.copies import checked_names
from pairuni_eval.stats.deciding import Deciding
from pairuni_eval.stats.difference import Comparison, Difference, NotCompared, Place
from pairuni_eval.stats.families import UncorrectedComparison, together
from pairuni_eval.stats.meeting import Meeting, Planned, plan
from pairuni_eval.stats.multiple import holm
from pairuni_eval.stats.paired import Counts, Evidence, PairedSums, Units, compare_pair, narrowed
from pairuni_eval.stats.planned import planned_frame
from pairuni_eval.stats.scope import (
    ENOUGH_SEEDS,
    NamedSide,
    Scope,
    about,
    check_apart,
    checked_seeds,
)
from pairuni_eval.stats.tables import Tables, draw_seed
from pairuni_eval.stats.two_levels import compare_over_seeds
from pairuni_eval.stats.verdict import ALPHA, Word

__all__ = [
    "ALPHA",
    "TIE_MARGIN",
    "Comparison",
    "Counts",
    "Deciding",
    "Difference",
    "NotCompared",
    "Place",
    "Scope",
    "Side",
    "Units",
    "Word",
    "compare_groups",
    "compare_page",
    "holm",
    "shared_places",
]

TIE_MARGIN = 0.01  # of the metric's range: one point of a percentage
_LEVEL_GAIN = 1e-12  # of the range: a unit that moves the number less is level


class ComparePair(Protocol):
    """How a pair of at least two clusters becomes evidence."""

    def __call__(self, pair: PairedSums, *, seed: int) -> Evidence:
        """The evidence; all random draws come from the seed."""
        ...


def compare_page(
    ours: Side, baselines: Mapping[str, Side], *, margin: float = TIE_MARGIN
) -> dict[str, Comparison]:
    """Our side against every baseline of a page, everything corrected together.

    A side is one run or the training seeds of one arm. The seeds of a side are drawn as well as
    units where it has three or more; with fewer it is these checkpoints.

    Args:
        ours: The tables of our run, and of its siblings.
        baselines: The tables of every other side, by the name that is printed.
        margin: What counts as no difference, as a share of each metric's range.

    Raises:
        UserError: for two seeds of one side, or a seed of each, that are the same weights, for
            seeds of one side that were trained as different arms, and for one run under two names.
    """
    checked_names({name: [one.run for one in side] for name, side in baselines.items()})
    us = NamedSide(ours[0].run.printed_name, ours)
    checked_seeds(us.name, [one.run for one in ours])
    found = {}
    for name, theirs in baselines.items():
        checked_seeds(name, [one.run for one in theirs])
        check_apart(us, NamedSide(name, theirs))
        found[name] = find_differences(us, NamedSide(name, theirs), margin=margin)
    return together(found)


def find_differences(ours: NamedSide, theirs: NamedSide, *, margin: float) -> UncorrectedComparison:
    """Every metric that two sides have and every group of its headlines, before any word."""
    sides = _sides(ours, theirs, margin)
    places, refusals = shared_places(ours.side, theirs.side)
    rows = tuple(_difference(sides, place) for place in places)
    groups = tuple(row for place in places if place.headline for row in _groups(sides, place))
    return UncorrectedComparison(rows, groups, tuple(refusals), sides.about)


def _sides(ours: NamedSide, theirs: NamedSide, margin: float) -> _Sides:
    scope = about(ours, theirs)
    over_seeds = max(len(ours.side), len(theirs.side)) >= ENOUGH_SEEDS
    way = partial(compare_over_seeds if over_seeds else compare_pair, margin=margin)
    return _Sides(ours.side, theirs.side, scope, way, {})


def compare_groups(
    ours: Side, theirs: Side, benchmarks: Sequence[str], tag: str, *, margin: float
) -> Comparison:
    """The headline of some benchmarks within every group of a tag, all groups corrected together.

    Args:
        ours: The tables of our run, and of its siblings.
        theirs: The tables of the other side.
        benchmarks: Which both sides have.
        tag: Whose groups are compared, in place of those that the metric names.
        margin: What counts as no difference, as a share of each metric's range.
    """
    us, them = (NamedSide(side[0].run.printed_name, side) for side in (ours, theirs))
    sides = _sides(us, them, margin)
    places, refusals = shared_places(ours, theirs)
    leading = [place for place in places if place.headline and place.benchmark in benchmarks]
    groups = tuple(
        row
        for place in leading
        for row in _groups(sides, place._replace(spec=msgspec.structs.replace(place.spec, by=tag)))
    )
    refused = tuple(one for one in refusals if one.benchmark in benchmarks)
    found = UncorrectedComparison((), groups, refused, sides.about)
    return together({them.name: found})[them.name]


class _Sides(NamedTuple):
    """Both sides, and how they are compared."""

    ours: Side
    theirs: Side
    about: Scope
    compare_pair: ComparePair
    met: dict[tuple[str, ...], Planned]  # kept for all metrics and groups of one score

    @property
    def everyone(self) -> Side:
        return (*self.ours, *self.theirs)

    def fullest(self, benchmark: str) -> Tables:
        """The first run of those that have most of a benchmark."""
        return max(self.everyone, key=lambda run: _planned_share(run, benchmark))

    def alone(self, place: Place) -> Planned:
        """What the fullest run planned by itself."""
        key = (place.benchmark, place.protocol, place.spec.of, "alone")
        if key not in self.met:
            self.met[key] = plan(_frames((self.fullest(place.benchmark),), place), ())
        return self.met[key]

    def planned(self, place: Place) -> Planned:
        key = (place.benchmark, place.protocol, place.spec.of)
        if key not in self.met:
            self.met[key] = plan(_frames(self.ours, place), _frames(self.theirs, place))
        return self.met[key]


def shared_places(ours: Side, theirs: Side) -> tuple[list[Place], list[NotCompared]]:
    """Every metric that all runs have, in the order of our first; and what only some have."""
    sides = (ours, theirs)
    everyone = (*ours, *theirs)
    places: list[Place] = []
    refusals: list[NotCompared] = []
    for benchmark in dict.fromkeys(name for run in everyone for name in run.run.card.benchmarks):
        lacking = lacking_benchmark(ours, theirs, benchmark)
        if lacking := lacking or lacking_samples(ours, theirs, benchmark):
            has = (any(benchmark in run.run.card.benchmarks for run in side) for side in sides)
            refusals.append(NotCompared(benchmark, None, None, lacking, *has))
            continue
        for protocol in dict.fromkeys(
            name for run in everyone for name in run.protocols(benchmark)
        ):
            if lacking := lacking_protocol(ours, theirs, benchmark, protocol):
                refusals.append(NotCompared(benchmark, protocol, None, lacking))
            else:
                places += _places(ours[0], benchmark, protocol)
    return places, refusals


def _places(run: Tables, benchmark: str, protocol: str) -> list[Place]:
    rule = run.spec(benchmark, protocol)
    leading = protocol == run.protocols(benchmark)[0]
    return [
        Place(benchmark, protocol, spec, leading and spec.name == rule.headline)
        for spec in rule.metrics
    ]


def _groups(sides: _Sides, place: Place) -> list[Difference]:
    """The lines of the per-task table: every group that any run has."""
    if place.spec.by is None:
        return []
    single = place._replace(headline=False)
    names = sides.planned(place).groups(place.spec)
    return [_difference(sides, single._replace(group=name)) for name in names]


def _difference(sides: _Sides, place: Place) -> Difference:
    """One metric of two sides, not yet corrected and without its word."""
    row = _blank(sides, place)
    obstacle = other_rule(sides.everyone, *place[:3])
    if obstacle is not None:
        return row._replace(reason=obstacle)
    met = sides.planned(place).meeting(place.spec, place.group)
    counted = sides.ours[0].card(place.benchmark).counted if place.group is None else {}
    pair, measured = met.pair(), place._replace(spec=met.measured(counted))
    one, two = pair.seen()
    row = row._replace(
        spec=measured.spec,
        subject=_subject(sides.ours[0].card(place.benchmark), measured),
        ours=one,
        theirs=two,
        shared=pair.shared,
        clusters=pair.clusters,
        planned=met.planned,
        missing=met.missing,
        equal=pair.equal,
        same_outputs=met.same_outputs and drawn_alike(sides.everyone, place.benchmark),
        part=_part(sides, place, met, counted),
        **_available(sides, place, met),
    )
    obstacle = other_grader(sides.everyone, *place[:3]) or _too_little(pair, one, two)
    if obstacle is not None:
        return row._replace(reason=obstacle)
    seed = draw_seed(sides.ours[0])
    evidence = sides.compare_pair(pair, seed=seed)._asdict()
    return row._replace(
        **evidence,
        **_at_ends(sides, met, seed),
        units=_count_units(pair, place.spec.direction),
        counts=pair.counts(),
    )


def _at_ends(sides: _Sides, met: Meeting, seed: int) -> dict[str, Any]:
    """The evidence at both ends of what the missing rows may be; nothing where none is missing."""
    pairs = met.ends()
    if pairs is None:
        return {}
    low, high = (pair.difference(pair.stacked.sum(axis=0)) for pair in pairs)
    evidence = tuple(sides.compare_pair(pair, seed=seed) for pair in pairs)
    return {"ends": (float(low), float(high)), "at_ends": evidence}


def _available(sides: _Sides, place: Place, met: Meeting) -> dict[str, Any]:
    """Units of the whole benchmark, or group: counted where a run has all of it.

    Elsewhere they follow the share of its samples that was planned; None where nobody knows how
    many samples a part of the benchmark has.
    """
    name = place.benchmark
    fullest = sides.fullest(name)
    if any(_planned_share(run, name) < _planned_share(fullest, name) for run in sides.everyone):
        met = sides.alone(place).meeting(place.spec, place.group)
    part, card = fullest.run.card.benchmarks[name], fullest.card(name)
    if part.planned >= part.expected and not fullest.run.unfinished:
        return {"available": met.units_planned, "available_counted": True}
    where = (place.spec if place.group is None else narrowed(place.spec, place.group)).where
    samples: int | None = part.expected
    if where:
        counts = [card.counted.get(tag, {}).get(group) for tag, group in where.items()]
        samples = counts[0] if len(counts) == 1 and part.expected == card.expected else None
    if samples is None or not met.planned:
        return {"available": None, "available_counted": False}
    units = round(met.units_planned * max(1.0, samples * card.draws / met.planned))
    return {"available": units, "available_counted": False}


def _part(
    sides: _Sides, place: Place, met: Meeting, counted: Mapping[str, Mapping[str, int]]
) -> str | None:
    """What both sides planned, where that is less than what the fullest run has, in words.

    E.g. "on 46 of 204 outputs"; of a total over fewer tasks, "on 40 of 160 outputs: perception, of
    200, 1 of 4 tasks".
    """
    whole = sides.alone(place).meeting(place.spec, place.group)
    if met.planned >= whole.planned:
        return None
    said = f"on {met.planned:,} of {whole.planned:,} outputs"
    title = met.measured(counted).title
    other = title and place.group is None and title != whole.measured(counted).title
    return f"{said}: {title}" if other else said


def _planned_share(run: Tables, benchmark: str) -> float:
    """How much of a benchmark a run has, as a share of its samples; less while it goes on."""
    part = run.run.card.benchmarks[benchmark]
    share = part.planned / part.expected if part.expected else 1.0
    return share - 1.0 if run.run.unfinished else share


def _blank(sides: _Sides, place: Place) -> Difference:
    settings = other_settings(sides.everyone, place.benchmark)
    return Difference(
        benchmark=place.benchmark,
        protocol=place.protocol,
        spec=place.spec,
        headline=place.headline,
        ours=None,
        theirs=None,
        interval=None,
        p=None,
        corrected=None,
        shared=0,
        clusters=0,
        word=Word.CANNOT_TELL,
        same_settings=not settings,
        group=place.group,
        subject=_subject(sides.ours[0].card(place.benchmark), place),
        settings=settings,
        seeds=(len(sides.ours), len(sides.theirs)),
        about=sides.about,
        partial=any(_planned_share(run, place.benchmark) < 1 for run in sides.everyone),
    )


def _subject(card: Card, place: Place) -> str:
    """What a sentence is about."""
    if place.group is not None:
        return f"{place.group.replace('_', ' ')} ({card.title})"
    if place.headline:
        return card.title
    protocol = "" if place.protocol == card.default_protocol else f" ({place.protocol})"
    return f"{card.title}{protocol}, {place.spec.title or place.spec.name}"


def _frames(side: Side, place: Place) -> list[pd.DataFrame]:
    return [planned_frame(run, place.benchmark, place.protocol, place.spec.of) for run in side]


def _too_little(pair: PairedSums, ours: float | None, theirs: float | None) -> str | None:
    if pair.shared == 0:
        return "no output has a value on both sides"
    if ours is None or theirs is None:
        return "the shared outputs make no number"
    if pair.clusters < 2:
        return "all shared outputs belong to one unit"
    if pair.thin:
        return "too few units show what the number rests on"
    return None


def _winners(gains: Sequence[float], direction: str, span: float | None) -> list[str]:
    least = _LEVEL_GAIN * (span or 1.0)
    sign = -1 if direction == "down" else 1
    return [
        "ours" if sign * gain > least else "theirs" if sign * gain < -least else "level"
        for gain in gains
    ]


def _count_units(pair: PairedSums, direction: str) -> Units | None:
    if direction == "none":
        return None
    found = _winners(pair.gains().tolist(), direction, pair.span)
    return Units(found.count("ours"), found.count("theirs"), found.count("level"))
