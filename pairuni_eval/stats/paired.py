"""The paired comparison of two sides, on the outputs that both have: how far apart, and by chance?

Shapes: R runs of a side (training seeds), N shared outputs, C clusters, K sums of one run, B draws.

A side is one run, or several runs of one arm whose numbers are averaged. Which outputs meet is
the business of `meeting`. The difference of two sides is a function of the
sums over clusters like every other number, so its interval is that of `intervals.spread`.

The p value is a permutation test by cluster: each cluster's results are swapped between the two
runs or not, which for a mean is the sign-flip test (Good 2005, ch. 3) and holds for every other
aggregate as well. Only clusters that differ matter; up to 11 of them are swapped in every possible
way, more of them in as many random ways as it takes, and where the number is a mean of whole
numbers all ways are counted (`swaps`). Where every cluster is one output that is right or wrong,
this is McNemar's exact test (1947), and its binomial p is given.

Whether two sides are equivalent is said by two tests together; see `ties`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import Aggregate, Array, Bounds, GradedRows, make_aggregate
from pairuni_eval.stats.intervals import (
    LEVEL,
    Finish,
    Interval,
    Spread,
    agreeing_difference,
    cluster_sums,
    no_spread,
    t_point,
    t_tail,
)
from pairuni_eval.stats.multiple import ALPHA
from pairuni_eval.stats.paired_spread import difference_spread
from pairuni_eval.stats.strata import Strata, clusters_in, moves_of, strata_of, whole
from pairuni_eval.stats.swaps import monte_carlo_p, random_swaps, sign_flip_p
from pairuni_eval.stats.ties import equivalence_interval, equivalence_p, guard_below_p, guard_p

POWER = 0.8
_EXACT_UP_TO = 11  # clusters that differ: 2,048 swaps are listed instead of drawn

Names = npt.NDArray[np.object_]


class Counts(NamedTuple):
    """Right outputs `of` so many, where every output is right or wrong."""

    ours: int
    theirs: int
    of: int


class Units(NamedTuple):
    """How many units each side wins; on a level unit neither does."""

    won: int
    lost: int
    level: int


class PairedSums(NamedTuple):
    """Both sides on their shared outputs, as cluster sums of one aggregate.

    Attributes:
        ours: (R, C, K), one layer a run.
        theirs: The same for the other side, with its own R.
        finish: What the sums (..., K) of one run make.
        bounds: The range of one run's number, if known.
        closed: Whether the number is a ratio of two sums.
        equal: Whether all runs have the same value in every row, whatever gave it.
        shared: Outputs that have a value in all runs.
        units: (C,) the names of the clusters.
        strata: The groups behind one run's number.
        ends: The sums (C, K) with every value as low, and as high, as it makes the number; made
            when asked for, None if the range of the values is not known.
        thin: Whether a run shows too little for its number to have an interval.
    """

    ours: Array
    theirs: Array
    finish: Finish
    bounds: Bounds | None
    closed: bool
    equal: bool
    shared: int
    units: Names
    strata: Strata
    ends: Callable[[], tuple[Array, Array] | None]
    thin: bool = False

    @property
    def clusters(self) -> int:
        """How many units are shared."""
        return len(self.units)

    @property
    def single(self) -> bool:
        """Whether each side is one run."""
        return len(self.ours) == len(self.theirs) == 1

    @property
    def stacked(self) -> Array:
        """(C, (R + R') K): the sums of all runs side by side, as `difference` takes them."""
        layers = np.concatenate([self.ours, self.theirs])
        runs, clusters, sums = layers.shape
        return layers.transpose(1, 0, 2).reshape(clusters, runs * sums)

    def difference(self, stacked: Array) -> Array:
        """Ours - theirs for stacked sums (..., (R + R') K)."""
        numbers = self.numbers(stacked)
        ours, theirs = numbers[..., : len(self.ours)], numbers[..., len(self.ours) :]
        change: Array = ours.mean(axis=-1) - theirs.mean(axis=-1)
        return change

    def numbers(self, stacked: Array) -> Array:
        """(..., R + R'): the number of each run."""
        shape = (*stacked.shape[:-1], len(self.ours) + len(self.theirs), self.ours.shape[2])
        return self.finish(stacked.reshape(shape))

    def part_numbers(self, stacked: Array) -> Array:
        """(..., R + R', G): the numbers of the groups of each run."""
        shape = (*stacked.shape[:-1], len(self.ours) + len(self.theirs), self.ours.shape[2])
        return self.strata.parts(stacked.reshape(shape))

    def part_differences(self, stacked: Array) -> Array:
        """(..., G): ours - theirs in every group."""
        numbers, runs = self.part_numbers(stacked), len(self.ours)
        change: Array = numbers[..., :runs, :].mean(axis=-2) - numbers[..., runs:, :].mean(axis=-2)
        return change

    def spread(self) -> Spread:
        """How sure the difference is; see `paired_spread`, and `unseen` where all units agree."""
        stacked = self.stacked
        total = stacked.sum(axis=0)
        value, numbers = float(self.difference(total)), self.part_numbers(total)
        there = np.isfinite(numbers)
        if (there.any(axis=0) == there.all(axis=0)).all():
            strata, levels = self.strata.of(self.part_differences), numbers.mean(axis=0)
        else:  # a group that only one side has: the difference is not a mean of the groups'
            strata = whole(lambda sums: self.difference(sums)[..., None], self.clusters)
            levels = self.numbers(total).mean(axis=0, keepdims=True)
        moves = moves_of(stacked, strata)
        found = difference_spread(value, moves, levels[np.isfinite(levels)], self.bounds)
        if not no_spread(found, value):
            return found
        swings = self.swings()
        if swings is not None and not swings.any():  # F1 without a gold yes: it could only be 0
            return found._replace(interval=None)
        alike = agreeing_difference(value, self.clusters, self.span, swings)
        return found._replace(interval=alike)

    @property
    def span(self) -> float | None:
        """The width of the metric's range, if known."""
        return self.bounds and self.bounds.high - self.bounds.low

    def seen(self) -> tuple[float | None, float | None]:
        """The mean number of each side; None where a run makes none."""
        numbers = self.numbers(self.stacked.sum(axis=0))
        ours, theirs = numbers[: len(self.ours)].mean(), numbers[len(self.ours) :].mean()
        return _number(ours), _number(theirs)

    def counts(self) -> Counts | None:
        """Right outputs of two single runs; None where the number is not a share of outputs."""
        if not self.single or not self.closed or self.bounds != Bounds(0.0, 1.0):
            return None
        ours, theirs = self.ours[0].sum(axis=0), self.theirs[0].sum(axis=0)
        if not np.array_equal([ours[0], theirs[0]], np.round([ours[0], theirs[0]])):
            return None
        return Counts(int(ours[0]), int(theirs[0]), int(ours[1]))

    def gains(self) -> Array:
        """(C,): how much each unit adds to the difference.

        The mean of two changes: of the other side's number when the unit's outputs are replaced by
        ours, and of our number when they replace the other side's. NaN where neither is a number.
        """
        ours, theirs = self.ours.mean(axis=0), self.theirs.mean(axis=0)
        ours_total, theirs_total, change = ours.sum(axis=0), theirs.sum(axis=0), ours - theirs
        into = self.finish(theirs_total + change) - self.finish(theirs_total)
        out_of = self.finish(ours_total) - self.finish(ours_total - change)
        gains: Array = (into + out_of) / 2
        return gains

    def swings(self) -> Array | None:
        """(C,): the most that each unit alone could add to the difference; None if not known.

        Its outputs are all at their best on one side and at their worst on the other, and all other
        units are as they are, on the mean of both sides.
        """
        ends = self.ends()
        if ends is None:
            return None
        sums = (self.ours.mean(axis=0) + self.theirs.mean(axis=0)) / 2
        others = sums.sum(axis=0) - sums
        low, high = (self.finish(others + end) for end in ends)
        swings = np.nan_to_num(high - low, nan=self.span or 0.0)
        return np.maximum(swings, 0.0)


class Evidence(NamedTuple):
    """What a pair says about its difference.

    Attributes:
        interval: 95 % interval of ours - theirs; None where all runs are equal.
        error: Standard error of the difference.
        p: Two-sided p of "no difference".
        test: Which test `p` comes from.
        margin: The largest difference that counts as none; None if the range is not known.
        tie_p: p of "the difference is at least the margin".
        detectable: The difference that would be found in 4 of 5 repetitions by a test at 5 %.
        freedom: Degrees of freedom of the error.
        between: The share of the error's variance that lies between training seeds.
        span: The farthest that two numbers can be apart, if known.
        equivalence: The interval of the test for a tie, inside the margin, where that says so.
    """

    interval: Interval | None
    error: float
    p: float | None
    test: str
    margin: float | None
    tie_p: float | None
    detectable: float | None
    freedom: float | None = None
    between: float | None = None
    span: float | None = None
    equivalence: Interval | None = None


def pair_rows(
    ours: Sequence[GradedRows], theirs: Sequence[GradedRows], spec: MetricSpec, names: Names
) -> PairedSums:
    """Both sides over rows that stand in the same order and have a value in all runs or in none.

    Args:
        ours: The rows of each of our runs.
        theirs: The same for the other side.
        spec: The metric.
        names: The unit behind each integer code of the rows.
    """
    layers = [*ours, *theirs]
    first = layers[0]
    aggregate = make_aggregate(spec, first)
    has = np.isfinite(first.value)
    features = [aggregate.features(rows) for rows in layers]
    sums = np.stack([cluster_sums(*pair) for pair in zip(features, layers, strict=True)])
    return PairedSums(
        ours=sums[: len(ours)],
        theirs=sums[len(ours) :],
        finish=aggregate.finish,
        bounds=_joint_bounds([aggregate.bounds(rows) for rows in layers]),
        closed=aggregate.is_ratio,
        equal=all(np.array_equal(first.value[has], rows.value[has]) for rows in layers)
        and all(np.array_equal(features[0], one) for one in features),
        shared=int(has.sum()),
        units=names[clusters_in(first.unit[has])[0]],
        strata=strata_of(aggregate, first),
        ends=partial(_end_sums, aggregate, layers),
        thin=any(aggregate.too_thin(rows) for rows in layers),
    )


def _end_sums(aggregate: Aggregate, layers: Sequence[GradedRows]) -> tuple[Array, Array] | None:
    found = [aggregate.extremes(rows) for rows in layers]
    if not found or found[0] is None or any(one is None for one in found):
        return None
    first = layers[0]
    has = np.isfinite(first.value)
    low, high = (first._replace(value=np.where(has, end, np.nan)) for end in found[0])
    return tuple(cluster_sums(aggregate.features(rows), rows) for rows in (low, high))  # type: ignore[return-value]


def narrowed(spec: MetricSpec, group: str) -> MetricSpec:
    """The metric within one group of its tag."""
    return msgspec.structs.replace(spec, where={**spec.where, spec.by or "": group})


def _joint_bounds(found: Sequence[Bounds | None]) -> Bounds | None:
    return found[0] if all(one == found[0] for one in found) else None


def _number(value: Array) -> float | None:
    return float(value) if np.isfinite(value) else None


def compare_pair(pair: PairedSums, *, margin: float, seed: int) -> Evidence:
    """Interval, p values and power of a pair of at least two clusters whose sides make numbers.

    Args:
        pair: The two sides.
        margin: What counts as no difference, as a share of the metric's range.
        seed: Seed of the draws.
    """
    value = float(pair.difference(pair.stacked.sum(axis=0)))
    span = pair.span
    found = pair.spread()
    interval, error, freedom = found
    p, test = _p_value(pair, seed=seed)
    limit = margin * span if span else None
    tied = tie_of_pair(pair, found, margin=margin)
    alike = no_spread(found, value)
    return Evidence(
        interval=interval,
        error=error,
        p=p if pair.single else difference_p(value, 0.0 if alike else error, freedom),
        test=test if pair.single else "t over units",
        margin=limit,
        tie_p=tied.p,
        detectable=None if alike else detectable(error, freedom),
        freedom=freedom,
        span=span,
        equivalence=tied.interval,
    )


class Tie(NamedTuple):
    """What the test for a tie says.

    Attributes:
        p: Of "the difference is at least the margin"; None where nothing can be said.
        interval: Inside the margin, where p is below 5 %; None elsewhere.
    """

    p: float | None
    interval: Interval | None = None


def tie_of_pair(pair: PairedSums, found: Spread, *, margin: float) -> Tie:
    """How surely two runs differ by less than a share of the range; see `tie_evidence`."""
    value = float(pair.difference(pair.stacked.sum(axis=0)))
    error = 0.0 if no_spread(found, value) else found.error
    limit = margin * pair.span if pair.span else None
    return tie_evidence(pair, value, error, found.freedom, limit)


def tie_evidence(
    pair: PairedSums, value: float, error: float, freedom: float, margin: float | None
) -> Tie:
    """How surely the difference is inside the margin, by the t tests and their exact guard.

    Args:
        pair: The two sides.
        value: Their difference.
        error: Its standard error; 0 where all units agree, so that the guard alone speaks.
        freedom: Degrees of freedom of the error.
        margin: The largest difference that counts as none, if known.

    Returns:
        The larger p of the two for "at least the margin"; where the t tests see no tie, theirs.
    """
    if margin is None or margin <= 0:
        return Tie(None)
    by_t = equivalence_p(value, error, freedom, margin) if error > 0 else 0.0
    if by_t >= 1 - LEVEL:
        return Tie(by_t)
    swings = pair.swings()
    if swings is None:
        return Tie(None)
    gains = pair.gains()
    p = max(by_t, guard_p(value, gains, swings, margin))
    if p >= ALPHA:
        return Tie(p)
    return Tie(p, equivalence_interval(value, error, freedom, gains, swings))


def not_worse_p(pair: PairedSums, found: Evidence, margin: float) -> float | None:
    """P of "ours is lower by the margin or more": one side of the test for a tie, its guard too.

    Args:
        pair: The two sides, of a metric of which more is better.
        found: Their evidence.
        margin: In the metric's own scale, above 0.

    Returns:
        The larger p of a one-sided t test and of its exact guard (`ties`); None where the range of
        the values is not known.
    """
    swings = pair.swings()
    if swings is None or found.freedom is None:
        return None
    value = float(pair.difference(pair.stacked.sum(axis=0)))
    by_t = t_tail((margin + value) / found.error, found.freedom) if found.error > 0 else 0.0
    return max(by_t, guard_below_p(value, pair.gains(), swings, margin))


def difference_p(value: float, error: float, freedom: float) -> float | None:
    """Two-sided p of a t test of "no difference".

    1 where no unit differs; None where all units differ alike, which has no error to test by.
    """
    if error > 0:
        return 2 * t_tail(abs(value) / error, freedom)
    return 1.0 if value == 0 else None


def detectable(error: float, freedom: float, times: int = 1) -> float:
    """The difference that a two-sided test finds in 80 % of repetitions.

    Args:
        error: Standard error of the difference.
        freedom: Its degrees of freedom.
        times: How many tests it is one of; the level is 5 % divided by them.
    """
    return error * (t_point(1 - ALPHA / (2 * times), freedom) + t_point(POWER, freedom))


def _p_value(pair: PairedSums, *, seed: int) -> tuple[float | None, str]:
    if not pair.single:
        return None, ""
    table = discordant(pair)
    if table is not None:
        return mcnemar_p(*table), "McNemar, exact"
    return swap_p(pair, seed=seed)


def discordant(pair: PairedSums) -> tuple[int, int] | None:
    """Units that only we have right and only the other run has right.

    None where a unit holds several outputs, or one that is neither right nor wrong.
    """
    if not pair.closed:
        return None
    ours, theirs = pair.ours[0], pair.theirs[0]
    if (ours[:, 1] != 1).any() or not np.isin([ours[:, 0], theirs[:, 0]], (0.0, 1.0)).all():
        return None
    change = ours[:, 0] - theirs[:, 0]
    return int((change > 0).sum()), int((change < 0).sum())


def mcnemar_p(only_ours: int, only_theirs: int) -> float:
    """Exact two-sided p of McNemar's test: a fair coin for every discordant unit."""
    tosses = only_ours + only_theirs
    return min(1.0, 2 * float(bdtr(min(only_ours, only_theirs), tosses, 0.5))) if tosses else 1.0


def swap_p(pair: PairedSums, *, seed: int) -> tuple[float | None, str]:
    """Two-sided p: the share of swaps with a difference at least as large as the one seen."""
    change = pair.theirs[0] - pair.ours[0]
    change = change[(change != 0).any(axis=1)]
    if pair.closed and _whole_steps(change):
        return sign_flip_p(np.rint(change[:, 0]).astype(np.int64)), "permutation, exact"
    ours, theirs = pair.ours[0].sum(axis=0), pair.theirs[0].sum(axis=0)
    seen = abs(float(pair.finish(ours) - pair.finish(theirs)))

    def differences(moves: Iterator[Array]) -> Iterator[Array]:
        for move in moves:
            drawn = np.abs(pair.finish(ours + move) - pair.finish(theirs - move))
            yield drawn[np.isfinite(drawn)]

    least = seen - 1e-12 * max(1.0, seen)
    if len(change) <= _EXACT_UP_TO:
        drawn = np.concatenate(list(differences(iter([_every_swap(change)]))))
        return (float((drawn >= least).mean()) if len(drawn) else None), "permutation, exact"
    found = monte_carlo_p(drawn >= least for drawn in differences(random_swaps(change, seed)))
    return found.p, f"permutation, {found.words}"


def _whole_steps(change: Array) -> bool:
    """Whether the lines (sum, count) change by whole numbers, and the count by none."""
    steps = change[:, 0]
    return len(change) > 0 and not change[:, 1].any() and bool((steps == np.rint(steps)).all())


def _every_swap(change: Array) -> Array:
    """(2^C, K): what all ways to swap clusters add to our sums."""
    numbers = np.arange(2 ** len(change))[:, None]
    swapped: Array = ((numbers >> np.arange(len(change))) & 1) @ change
    return swapped
