"""The numbers of a timeline: every benchmark over steps, last against first, the trade-off.

Goes in: trajectories of runs. Comes out: the points of every arm, the comparison of its last step
with its first (all arms are one page of tests), and the picture of understanding against
generation. A number of an arm with several training seeds is their mean (`stats.arms`); of one it
is that run's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from pairuni_eval.records import Capability
from pairuni_eval.report.headlines import KINDS
from pairuni_eval.report.trade_off import PathOfArm, PathPoint, TradeOff, trade_off
from pairuni_eval.report.trajectories import TimedRun, Trajectories, Trajectory
from pairuni_eval.stats.arms import ArmRuns, arm_row
from pairuni_eval.stats.compare import TIE_MARGIN, Comparison, Difference, Place, find_differences
from pairuni_eval.stats.families import UncorrectedComparison, together
from pairuni_eval.stats.intervals import LEVEL, Estimate, t_point
from pairuni_eval.stats.range_share import share_of_range
from pairuni_eval.stats.scope import NamedSide
from pairuni_eval.stats.tables import Tables


class MeasuredStep(NamedTuple):
    """A benchmark of an arm at one step."""

    step: int
    estimate: Estimate
    by_seed: tuple[float, ...]
    runs: tuple[TimedRun, ...]


class MeasuredBenchmark(NamedTuple):
    """A benchmark of the page.

    Attributes:
        place: The headline.
        arms: The points of every arm.
    """

    name: str
    title: str
    capability: Capability
    tiny: bool
    partial: bool
    place: Place
    arms: tuple[tuple[Trajectory, tuple[MeasuredStep, ...]], ...]


def measured_benchmarks(found: Trajectories) -> list[MeasuredBenchmark]:
    """Every benchmark with the points of every arm, by what it asks of a model."""
    order = list(KINDS)
    made = [_benchmark(name, found) for name in found.kinds]
    kept = [one for one in made if any(points for _, points in one.arms)]
    return sorted(kept, key=lambda one: (order.index(one.capability), one.name))


def _benchmark(name: str, found: Trajectories) -> MeasuredBenchmark:
    kind = found.kinds[name]
    held = [one for arm in found.arms for runs in arm.of(name).values() for one in runs]
    first = held[0]
    card, row = first.run.cards[name], first.headlines[name].row
    place = Place(name, row.protocol, row.spec, headline=True)
    arms = [
        (arm, tuple(_point(step, runs, place) for step, runs in arm.of(name).items()))
        for arm in found.arms
    ]
    return MeasuredBenchmark(
        name=name,
        title=card.title,
        capability=card.capability,
        tiny=kind.tiny,
        partial=kind.planned < kind.expected,
        place=place,
        arms=tuple(arms),
    )


def _point(step: int, runs: tuple[TimedRun, ...], place: Place) -> MeasuredStep:
    if len(runs) == 1:
        estimate = runs[0].headlines[place.benchmark].row.estimate
        return MeasuredStep(step, estimate, (), runs)
    found = arm_row(ArmRuns("", tuple(one.tables for one in runs)), place)
    return MeasuredStep(step, found.estimate, found.by_seed, runs)


class ArmEnds(NamedTuple):
    """The last step of an arm against its first: differences of headlines by benchmark."""

    arm: Trajectory
    first: int
    last: int
    rows: Mapping[str, Difference]
    comparisons: tuple[Comparison, ...]


class RuleStop(NamedTuple):
    """Where a training was stopped by its rule.

    Attributes:
        step: Of the last evaluation.
        weights: Hash of its weights.
        decided: The benchmarks whose rows decided it.
    """

    step: int
    weights: str
    decided: frozenset[str]

    def picked(self, one: TimedRun, benchmark: str) -> bool:
        """Whether the rows of this benchmark picked the checkpoint that a run measured."""
        return benchmark in self.decided and one.run.card.checkpoint.weights == self.weights


class PickedEnd(NamedTuple):
    """The last step of an arm, and the benchmarks that picked it, which it is not compared on."""

    arm: Trajectory
    step: int
    benchmarks: tuple[str, ...]


class Sides(NamedTuple):
    """Two sides that a page compares beside the ends of its arms."""

    ours: NamedSide
    theirs: NamedSide


class PageOfTests(NamedTuple):
    """Everything that a page compares, corrected together.

    Attributes:
        ends: Last against first in every arm.
        beside: What else was asked for, by name.
        picked: Last steps that were picked by rows that would compare them.
    """

    ends: tuple[ArmEnds, ...]
    beside: Mapping[str, Comparison]
    picked: tuple[PickedEnd, ...] = ()


def page_of_tests(
    found: Trajectories,
    beside: Mapping[str, Sides] = MappingProxyType({}),
    without: Collection[str] = (),
    stops: Sequence[RuleStop] = (),
) -> PageOfTests:
    """Compare last with first in every arm, and what else is asked for.

    A last step at which a rule stopped the training is not compared on the benchmarks that decided
    it, for their rows picked that step.

    Args:
        found: The arms.
        beside: What else is compared, by name.
        without: Benchmarks of which the ends are not compared: those that `beside` is about.
        stops: Where trainings were stopped by their rule.
    """
    picked: dict[int, PickedEnd] = {}
    asked_for: dict[str, tuple[Trajectory, NamedSide, NamedSide]] = {}
    for arm in found.arms:
        first, last = arm.steps[0], arm.steps[-1]
        if first == last:
            continue
        by_rule = tuple(_picked(arm, last, stops))
        if by_rule:
            picked[arm.number] = PickedEnd(arm, last, by_rule)
        unasked = {*without, *by_rule}
        for number, (ours, theirs) in enumerate(_sides(arm, first, last, unasked)):
            key = f"{arm.number}/{number}"
            names = f"{arm.name}, step {last}", f"step {first}"
            asked_for[key] = arm, NamedSide(names[0], ours), NamedSide(names[1], theirs)
    pairs = {key: (ours, theirs) for key, (_, ours, theirs) in asked_for.items()}
    raw = {
        key: find_differences(ours, theirs, margin=TIE_MARGIN)
        for key, (ours, theirs) in {**pairs, **beside}.items()
    }
    for key, (arm, _, _) in asked_for.items():
        if arm.number in picked:
            raw[key] = _without(raw[key], picked[arm.number].benchmarks)
    made: dict[int, list[Comparison]] = {}
    others: dict[str, Comparison] = {}
    for key, comparison in together(raw).items():
        if key in beside:
            others[key] = comparison
        else:
            made.setdefault(asked_for[key][0].number, []).append(comparison)
    ends = tuple(
        ArmEnds(
            arm,
            arm.steps[0],
            arm.steps[-1],
            {row.benchmark: row for one in made[arm.number] for row in one.headlines},
            tuple(made[arm.number]),
        )
        for arm in found.arms
        if arm.number in made
    )
    return PageOfTests(ends, others, tuple(picked.values()))


def _without(found: UncorrectedComparison, names: Collection[str]) -> UncorrectedComparison:
    """What is said of other benchmarks than these, which a run may hold as well."""
    return found._replace(
        rows=tuple(one for one in found.rows if one.benchmark not in names),
        groups=tuple(one for one in found.groups if one.benchmark not in names),
        refusals=tuple(one for one in found.refusals if one.benchmark not in names),
    )


def _picked(arm: Trajectory, last: int, stops: Sequence[RuleStop]) -> Iterator[str]:
    """The benchmarks of the last step whose rows picked it."""
    for name, runs in arm.points[last].items():
        if any(stop.picked(one, name) for stop in stops for one in runs):
            yield name


def _sides(
    arm: Trajectory, first: int, last: int, without: Collection[str] = ()
) -> Iterator[tuple[tuple[Tables, ...], tuple[Tables, ...]]]:
    """Both sides, once for each set of runs that holds some benchmarks at both steps."""
    seen: dict[tuple[tuple[str, ...], ...], None] = {}
    for name in arm.points[last]:
        if name in without or name not in arm.points[first]:
            continue
        sides = arm.points[last][name], arm.points[first][name]
        key = tuple(tuple(one.place for one in side) for side in sides)
        if key not in seen:
            seen[key] = None
            ours, theirs = (tuple(one.tables for one in side) for side in sides)
            yield ours, theirs


def _paths(benchmarks: Sequence[MeasuredBenchmark], found: Trajectories) -> list[PathOfArm]:
    """Each arm's mean headline on its range, of understanding and of generation, by step."""
    return [
        PathOfArm(arm.name, arm.number, points)
        for arm in found.arms
        if (points := tuple(_path_points(arm, benchmarks)))
    ]


def _path_points(arm: Trajectory, benchmarks: Sequence[MeasuredBenchmark]) -> Iterator[PathPoint]:
    """The steps at which every benchmark of the picture has a number."""
    sides = [
        [one for one in benchmarks if one.capability is capability]
        for capability in (Capability.UNDERSTAND, Capability.GENERATE)
    ]
    first: int | None = None
    for step in arm.steps:
        places = [[_share(one, arm, step) for one in side] for side in sides]
        if any(share is None for side in places for share in side):
            continue
        across, upward = (
            100 * float(np.mean([s for s in side if s is not None])) for side in places
        )
        reach = None
        if first is not None:
            reach = _reach(_headline_differences(arm, first, step), sides)
        first = step if first is None else first
        yield PathPoint(step, across, upward, reach)


def _share(benchmark: MeasuredBenchmark, arm: Trajectory, step: int) -> float | None:
    """Where a headline stands on its range, from 0 to 1; downward metrics are turned round."""
    points = next(points for one, points in benchmark.arms if one is arm)
    estimate = next((one.estimate for one in points if one.step == step), None)
    if estimate is None:
        return None
    return share_of_range(estimate, benchmark.place.spec.direction)


def _reach(
    rows: Mapping[str, Difference], sides: Sequence[Sequence[MeasuredBenchmark]]
) -> tuple[float, float] | None:
    """Half of the 95 % interval of the paired difference to the first point, in both directions.

    Benchmarks share no output, so the variances of their differences add up; t has the least of
    their degrees of freedom. None where a benchmark has no error, e.g. two runs that are one.
    """
    across, upward = (_half([rows.get(one.name) for one in side]) for side in sides)
    return None if across is None or upward is None else (across, upward)


def _half(rows: Sequence[Difference | None]) -> float | None:
    errors, freedoms = [], []
    for row in rows:
        if row is None or row.error is None or not row.span:
            return None
        errors.append(row.error / row.span)
        freedoms.append(row.freedom or 1.0)
    error = float(np.sqrt(np.sum(np.square(errors)))) / len(errors)
    return 100 * t_point(0.5 * (1 + LEVEL), max(1.0, min(freedoms))) * error


def _headline_differences(arm: Trajectory, first: int, step: int) -> dict[str, Difference]:
    """The headline of every benchmark at a step against that at the first, uncorrected."""
    found: dict[str, Difference] = {}
    for ours, theirs in _sides(arm, first, step):
        sides = NamedSide(f"step {step}", ours), NamedSide(f"step {first}", theirs)
        rows = find_differences(*sides, margin=TIE_MARGIN).rows
        found |= {row.benchmark: row for row in rows if row.headline}
    return found


def understanding_and_generation(
    benchmarks: Sequence[MeasuredBenchmark],
    found: Trajectories,
    without: Collection[str] = (),
) -> TradeOff | None:
    """The trade-off of the benchmarks that are not tiny; of tiny ones where there are no others.

    Args:
        benchmarks: Those of the page.
        found: Its arms.
        without: Benchmarks that have no path: of some steps alone, e.g. of the one that was chosen.
    """
    drawn = [one for one in benchmarks if one.name not in without]
    real = [one for one in drawn if not one.tiny]
    mine = [
        one
        for one in real or drawn
        if one.capability in (Capability.UNDERSTAND, Capability.GENERATE)
        and all(points for _, points in one.arms)
    ]
    if len({one.capability for one in mine}) < 2:
        return None
    tiny = ", tiny" if not real else ""
    return trade_off(
        f"Generation (upward) against understanding{tiny}, % of the range",
        "understanding, % of the range",
        _paths(mine, found),
    )
