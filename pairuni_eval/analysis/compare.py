"""Two runs of the same samples: is the difference real, and what may be said about it?

Goes in: the tables of two finished runs. Comes out: every metric that both have, each with both
numbers on the shared outputs, interval, p value, margin, power, a word and a sentence; the same for
the groups of every headline; and for whatever could not be compared, the reason. Nothing is left
out in silence.

`paired` holds the tests, `verdict` the words, `comparable` the reasons; `arms` compares recipes of
several runs. The p values of the headlines are corrected together by Holm, and those of the groups
of one headline together; any other metric has its own p.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

import pandas as pd

from pairuni_eval.analysis.aggregate import groups_of
from pairuni_eval.analysis.comparable import (
    Side,
    lacking_benchmark,
    lacking_protocol,
    other_grader,
    other_rule,
    other_settings,
)
from pairuni_eval.analysis.intervals import Interval
from pairuni_eval.analysis.multiple import holm, holm_where_known
from pairuni_eval.analysis.paired import Counts, Evidence, Pair, Units, pair_up, weigh
from pairuni_eval.analysis.tables import Tables, draw_seed
from pairuni_eval.analysis.verdict import ALPHA, Word, change, choose, distance, sentence
from pairuni_eval.cards import Card, MetricSpec
from pairuni_eval.errors import UserError
from pairuni_eval.store.read import StoredRun

__all__ = [
    "ALPHA",
    "TIE_MARGIN",
    "Comparison",
    "Counts",
    "Difference",
    "Place",
    "Refusal",
    "UnitResult",
    "Units",
    "Word",
    "compare",
    "compare_runs",
    "compare_tables",
    "holm",
    "unit_results",
]

TIE_MARGIN = 0.01  # of the metric's range: one point of a percentage
_ONE_RUN = (
    "One run each: what is said holds for these two checkpoints, not for training them again."
)
_LEVEL_GAIN = 1e-12  # of the range: a unit that moves the number less is level


class Place(NamedTuple):
    """Where a number stands: a metric of a protocol, or one group of it."""

    benchmark: str
    protocol: str
    spec: MetricSpec
    headline: bool = False
    group: str | None = None

    @property
    def name(self) -> str:
        """The address of the number's random draws."""
        parts = [self.benchmark, self.protocol, self.spec.name, self.group]
        return "/".join(part for part in parts if part is not None)


class Difference(NamedTuple):
    """One metric on both sides, on the outputs that both have.

    Attributes:
        headline: Whether this is the first metric of the default protocol, over all groups.
        ours: The metric on our shared outputs; None if they make no number.
        theirs: The same for the other side.
        interval: 95 % interval of ours - theirs; None where every output is equal.
        p: Two-sided p of "no difference".
        corrected: `p` after Holm: for headlines over the benchmarks, for groups over the groups.
        shared: Outputs that have a value on both sides.
        clusters: Units that they belong to.
        same_settings: Whether decoding, judge and data revision agree.
        group: The group of `spec.by`, for a line of the per-task table.
        subject: What was measured, e.g. "tiny GenEval" or "counting (tiny GenEval)".
        test: Which test `p` comes from.
        error: Standard error of the difference.
        margin: The largest difference that counts as none, on the metric's own scale.
        tie_p: p of "the difference is at least the margin".
        detectable: The difference that would be found in 4 of 5 repetitions.
        units: How many units each side wins; None for a metric without a direction.
        counts: Right outputs, where every output is right or wrong.
        settings: What differs between the runs besides the checkpoint, in words.
        seeds: Runs on our side and on the other.
        reason: Why no test was made; None if one was.
        sentence: The verdict in words.
    """

    benchmark: str
    protocol: str
    spec: MetricSpec
    headline: bool
    ours: float | None
    theirs: float | None
    interval: Interval | None
    p: float | None
    corrected: float | None
    shared: int
    clusters: int
    word: Word
    same_settings: bool
    group: str | None = None
    subject: str = ""
    test: str = ""
    error: float | None = None
    margin: float | None = None
    tie_p: float | None = None
    detectable: float | None = None
    units: Units | None = None
    counts: Counts | None = None
    settings: tuple[str, ...] = ()
    seeds: tuple[int, int] = (1, 1)
    reason: str | None = None
    sentence: str = ""

    @property
    def name(self) -> str:
        """The metric's key, and the group's where it is one: "overall" or "overall, counting"."""
        return self.spec.name if self.group is None else f"{self.spec.name}, {self.group}"

    @property
    def value(self) -> float | None:
        """Ours - theirs."""
        if self.ours is None or self.theirs is None:
            return None
        return self.ours - self.theirs


class Refusal(NamedTuple):
    """Something that could not be compared, and why.

    Attributes:
        protocol: None where the whole benchmark is meant.
        metric: None where the whole protocol is meant.
    """

    benchmark: str
    protocol: str | None
    metric: str | None
    reason: str

    @property
    def sentence(self) -> str:
        """E.g. "mme@lmms-eval: the other side was not graded under this protocol"."""
        protocol = f"@{self.protocol}" if self.protocol else ""
        metric = f", {self.metric}" if self.metric else ""
        return f"{self.benchmark}{protocol}{metric}: {self.reason}"


class Comparison(NamedTuple):
    """Everything that two sides say about each other.

    Attributes:
        differences: Every metric that both have, in the order of our first run.
        groups: The groups of every headline.
        refusals: Whatever could not be compared.
        note: What the verdicts do not cover, e.g. the choice of the training seed.
    """

    differences: tuple[Difference, ...]
    groups: tuple[Difference, ...]
    refusals: tuple[Refusal, ...]
    note: str | None = None

    @property
    def headlines(self) -> tuple[Difference, ...]:
        """The first metric of every benchmark's default protocol."""
        return tuple(row for row in self.differences if row.headline)

    @property
    def regressions(self) -> tuple[Difference, ...]:
        """Headlines and groups that got worse."""
        return self._with(Word.WORSE)

    @property
    def gains(self) -> tuple[Difference, ...]:
        """Headlines and groups that got better."""
        return self._with(Word.BETTER)

    def _with(self, word: Word) -> tuple[Difference, ...]:
        return tuple(row for row in (*self.headlines, *self.groups) if row.word is word)

    def checked(self) -> Comparison:
        """The comparison itself.

        Raises:
            UserError: if no metric could be compared; it says why for the first few.
        """
        if any(row.reason is None for row in self.differences):
            return self
        reasons = "; ".join(refusal.sentence for refusal in self.refusals[:5])
        raise UserError(
            f"Nothing can be compared: {reasons or 'the runs hold no benchmark'}.",
            hint="Measure both with the same suite, protocols and judge: pairuni-eval run --help",
        )


class UnitResult(NamedTuple):
    """One unit on both sides.

    Attributes:
        gain: What the unit adds to ours - theirs: positive where our outputs make the number
            higher.
        winner: "ours", "theirs" or "level", after the metric's direction.
    """

    unit: str
    gain: float
    winner: str


class Weigh(Protocol):
    """How a pair of at least two clusters becomes evidence."""

    def __call__(self, pair: Pair, *, seed: int) -> Evidence:
        """The evidence; all random draws come from the seed."""
        ...


def compare_runs(ours: StoredRun, theirs: StoredRun) -> tuple[Difference, ...]:
    """Every metric that both runs have, in the order of the first run."""
    return compare(Tables(ours), Tables(theirs)).differences


def compare_tables(ours: Tables, theirs: Tables) -> tuple[Difference, ...]:
    """As `compare_runs`, for tables that are already open."""
    return compare(ours, theirs).differences


def compare(ours: Tables, theirs: Tables, *, margin: float = TIE_MARGIN) -> Comparison:
    """Everything that two runs say about each other.

    Args:
        ours: The tables of our run.
        theirs: The tables of the run it is compared with.
        margin: What counts as no difference, as a share of each metric's range.
    """
    found = compare_sides((ours,), (theirs,), partial(weigh, margin=margin))
    return found._replace(note=_ONE_RUN)


def compare_sides(ours: Side, theirs: Side, weigh_pair: Weigh) -> Comparison:
    """As `compare`, for the mean numbers of several runs and any way of weighing."""
    places, refusals = shared_places(ours, theirs)
    found = [_difference(ours, theirs, place, weigh_pair) for place in places]
    headlines = iter(corrected_together([row for row in found if row.headline]))
    rows = [next(headlines) if row.headline else _worded(row) for row in found]
    groups = [
        row
        for place in places
        if place.headline
        for row in _groups(ours, theirs, place, weigh_pair)
    ]
    refused = [
        Refusal(row.benchmark, row.protocol, row.name, row.reason)
        for row in (*rows, *groups)
        if row.reason is not None
    ]
    return Comparison(tuple(rows), tuple(groups), (*refusals, *refused))


def shared_places(ours: Side, theirs: Side) -> tuple[list[Place], list[Refusal]]:
    """Every metric that all runs have, in the order of our first; and what only some have."""
    everyone = (*ours, *theirs)
    places: list[Place] = []
    refusals: list[Refusal] = []
    for benchmark in dict.fromkeys(name for run in everyone for name in run.run.card.benchmarks):
        if lacking := lacking_benchmark(ours, theirs, benchmark):
            refusals.append(Refusal(benchmark, None, None, lacking))
            continue
        for protocol in dict.fromkeys(
            name for run in everyone for name in run.protocols(benchmark)
        ):
            if lacking := lacking_protocol(ours, theirs, benchmark, protocol):
                refusals.append(Refusal(benchmark, protocol, None, lacking))
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


def _groups(ours: Side, theirs: Side, place: Place, weigh_pair: Weigh) -> list[Difference]:
    """The lines of the per-task table, corrected together: every group that any run has."""
    if place.spec.by is None:
        return []
    found = [
        groups_of(run.rows(place.benchmark, place.protocol, place.spec), place.spec.by)
        for run in (*ours, *theirs)
    ]
    names = list(dict.fromkeys(name for groups in found for name in groups))
    single = place._replace(headline=False)
    return corrected_together(
        [_difference(ours, theirs, single._replace(group=name), weigh_pair) for name in names]
    )


def _difference(ours: Side, theirs: Side, place: Place, weigh_pair: Weigh) -> Difference:
    """One metric of two sides, not yet corrected and without its word."""
    everyone = (*ours, *theirs)
    row = _blank(ours, theirs, place)
    obstacle = other_rule(everyone, *place[:3])
    if obstacle is not None:
        return row._replace(reason=obstacle)
    pair = pair_up(_frames(ours, place), _frames(theirs, place), place.spec, group=place.group)
    one, two = pair.seen()
    row = row._replace(ours=one, theirs=two, shared=pair.shared, clusters=pair.clusters)
    obstacle = other_grader(everyone, *place[:3]) or _too_little(pair, one, two)
    if obstacle is not None:
        return row._replace(reason=obstacle)
    seed = draw_seed(ours[0])
    return row._replace(
        **weigh_pair(pair, seed=seed)._asdict(),
        units=_count_units(pair, place.spec.direction),
        counts=pair.counts(),
    )


def _blank(ours: Side, theirs: Side, place: Place) -> Difference:
    settings = other_settings((*ours, *theirs), place.benchmark)
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
        subject=_subject(ours[0].card(place.benchmark), place),
        settings=settings,
        seeds=(len(ours), len(theirs)),
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
    return [run.joined(place.benchmark, place.protocol, place.spec.of) for run in side]


def _too_little(pair: Pair, ours: float | None, theirs: float | None) -> str | None:
    if pair.shared == 0:
        return "no output has a value on both sides"
    if ours is None or theirs is None:
        return "the shared outputs make no number"
    if pair.clusters < 2:
        return "all shared outputs belong to one unit"
    return None


def _winners(gains: Sequence[float], direction: str, span: float | None) -> list[str]:
    least = _LEVEL_GAIN * (span or 1.0)
    sign = -1 if direction == "down" else 1
    return [
        "ours" if sign * gain > least else "theirs" if sign * gain < -least else "level"
        for gain in gains
    ]


def _count_units(pair: Pair, direction: str) -> Units | None:
    if direction == "none":
        return None
    found = _winners(pair.gains().tolist(), direction, pair.span)
    return Units(found.count("ours"), found.count("theirs"), found.count("level"))


def unit_results(ours: Tables, theirs: Tables, place: Place) -> tuple[UnitResult, ...]:
    """Who won which unit, the unit that adds most to the difference first; see `Pair.gains`."""
    pair = pair_up(
        _frames((ours,), place), _frames((theirs,), place), place.spec, group=place.group
    )
    gains = pair.gains().tolist()
    winners = _winners(gains, place.spec.direction, pair.span)
    found = [
        UnitResult(str(name), gain, winner)
        for name, gain, winner in zip(pair.units, gains, winners, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-abs(one.gain), one.unit)))


def corrected_together(rows: Sequence[Difference]) -> list[Difference]:
    """The rows with their p values corrected together by Holm, and their words chosen anew."""
    p = holm_where_known([row.p for row in rows])
    return [_worded(row._replace(corrected=one)) for row, one in zip(rows, p, strict=True)]


def _worded(row: Difference) -> Difference:
    """Choose the word and say it."""
    p = row.p if row.corrected is None else row.corrected
    word = choose(row.interval, p, row.tie_p, row.spec.direction)
    equal = row.interval is None and row.tie_p == 0
    said = sentence(
        row.subject,
        word,
        change(row.theirs, row.ours, row.spec, row.counts),
        p=p,
        margin=None if equal else distance(row.margin, row.spec),
        detectable=distance(row.detectable, row.spec),
        directed=row.spec.direction != "none",
        reason=row.reason,
    )
    return row._replace(word=word, sentence=said)
