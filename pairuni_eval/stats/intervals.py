"""Intervals of numbers over clusters; the only module that knows what a cluster is.

Shapes: N rows, K sums, C clusters, G groups, B bootstrap draws.

A cluster is a unit of the sample (an image, a prompt, a source picture) with at least one value. A
number is a weighted mean of groups (`strata`), or one group by itself, and its interval is a score
interval: all values that lie within t standard errors of the number, the errors being those that
each value would have. For one group this is Wilson's interval (1927) at the size that the error
over clusters implies (Korn and Graubard 1998; Franco et al. 2019). For several, the groups move
together as the variance of each allows, and t has the degrees of freedom of Satterthwaite (1946).

    scatter     the variance of a group's cluster over that of clusters that are wholly right or
                wrong, share x (1 - share). It is measured by the jackknife over clusters; two
                clusters are added that scatter as those of the other groups do (as far as these
                show too little: as wholly right or wrong ones; of a number by itself: half as much)
    saturated   a group whose clusters all agree has the scatter of the other groups at a share
                that one more cluster, with the number of all groups, moves away from the end
    two-valued  clusters that are all wholly right or wrong cannot scatter more: what is known of
                the share is known of the scatter, so t has (C - 1)^2 degrees of freedom

On a scale without a known range the interval is the plain t interval of a stratified sample. Where
all clusters of all groups agree, Wilson's interval at the effective number of clusters stands in,
no shorter than the exact one-sided bound of 95 %. One cluster has no interval. The number of added
clusters and their scatter were chosen in simulation; how often intervals cover the truth is
measured, with other seeds, in docs/statistics.md. `paired_spread` has the differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from pairuni_eval.stats.aggregate import Aggregate, Array, Bounds, GradedRows
from pairuni_eval.stats.strata import Moves, clusters_in, moves_of, strata_of
from pairuni_eval.stats.unseen import unseen_share, unseen_sum

LEVEL = 0.95
DRAWS = 2_000
_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
ADDED = 2.0  # clusters added to each group
_ALONE = 0.5  # their scatter where there is no other group
_MOST = 0.25  # the largest share x (1 - share)
_ROUNDING = 1e-9  # of a share: a mean of groups that are wholly right misses 1 by the last digits
_CHUNK_CELLS = 1_000_000  # weights held at once: 8 MB
_KEPT_CELLS = 8_000_000  # counts kept for the next number: 16 MB

_Counts = npt.NDArray[np.uint16 | np.uint32]
Finish = Callable[[Array], Array]
"""Turns sums (..., K) into numbers (...); NaN where they make none."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A number with its interval.

    Attributes:
        value: None if the rows make no number.
        interval: None if there is no value, or if nothing can be said about its error.
        clusters: How many independent units it rests on.
        bounds: The range of the number, if known.
    """

    value: float | None
    interval: Interval | None
    clusters: int
    bounds: Bounds | None = None


class Spread(NamedTuple):
    """How far a number may be off.

    Attributes:
        interval: 95 % interval; None where nothing can be said.
        error: Standard error over clusters; 0 where all of them agree.
        freedom: Degrees of freedom of the error.
    """

    interval: Interval | None
    error: float
    freedom: float


def cluster_sums(features: Array, rows: GradedRows) -> Array:
    """(C, K): the features summed within each cluster that has a value."""
    has = np.isfinite(rows.value)
    codes, inverse = clusters_in(rows.unit[has])
    sums, kept = np.empty((len(codes), features.shape[1])), features[has]
    for k in range(features.shape[1]):
        sums[:, k] = np.bincount(inverse, weights=kept[:, k], minlength=len(codes))
    return sums


def bootstrap_weights(clusters: int, *, seed: int, draws: int = DRAWS) -> Iterator[Array]:
    """How often each cluster is drawn, in blocks (b, C) of `draws` lines altogether."""
    lines = max(1, _CHUNK_CELLS // max(1, clusters))
    made = _kept_counts if clusters * draws <= _KEPT_CELLS else _counts
    for block in made(clusters, seed, draws, lines):
        yield block.astype(np.float64)


@lru_cache(maxsize=4)
def _kept_counts(clusters: int, seed: int, draws: int, lines: int) -> tuple[_Counts, ...]:
    """As `_counts`: the numbers of a run share their draws, which cost more than the rest."""
    return tuple(_counts(clusters, seed, draws, lines))


def _counts(clusters: int, seed: int, draws: int, lines: int) -> Iterator[_Counts]:
    generator = np.random.default_rng(seed)
    kind = np.uint16 if clusters <= np.iinfo(np.uint16).max else np.uint32
    for start in range(0, draws, lines):
        chosen = generator.integers(0, clusters, size=(min(lines, draws - start), clusters))
        counts = np.empty(chosen.shape, dtype=kind)
        for line, drawn in zip(counts, chosen, strict=True):  # one line at a time fits the cache
            line[:] = np.bincount(drawn, minlength=clusters)
        yield counts


def percentile_interval(numbers: Array) -> Interval | None:
    """The middle 95 % of bootstrap numbers; None if most of them do not exist."""
    known = _existing(numbers)
    if known is None:
        return None
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(float(low), float(high))


def t_point(share: float, freedom: float) -> float:
    """The point of Student's t below which `share` of it lies."""
    return float(stdtrit(freedom, share))


def t_tail(point: float, freedom: float) -> float:
    """The share of Student's t above a point."""
    return float(stdtr(freedom, -point))


def mean_interval(values: Array) -> Interval:
    """The t interval of the mean of at least two independent numbers."""
    mean, size = float(values.mean()), len(values)
    half = t_point(0.5 * (1 + LEVEL), size - 1) * float(values.std(ddof=1)) / size**0.5
    return Interval(mean - half, mean + half)


def wilson(share: float, size: float, z: float = _Z) -> Interval:
    """Wilson's score interval of a share seen on `size` independent trials."""
    center = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size)
    half *= float(np.sqrt(share * (1 - share) / size + z**2 / (4 * size**2)))
    low, high = max(0.0, center - half), min(1.0, center + half)
    return Interval(min(low, share), max(high, share))  # rounding at 0 and 1


def estimate(aggregate: Aggregate, rows: GradedRows) -> Estimate:
    """The number, its 95 % interval and the clusters behind it."""
    sums = cluster_sums(aggregate.features(rows), rows)
    value = float(aggregate.finish(sums.sum(axis=0)))
    bounds = aggregate.bounds(rows)
    if not np.isfinite(value):
        return Estimate(None, None, len(sums), bounds)
    if len(sums) < 2 or aggregate.too_thin(rows):
        return Estimate(value, None, len(sums), bounds)
    moves = moves_of(sums, strata_of(aggregate, rows))
    found = spread(value, moves, bounds)
    interval = found.interval
    if no_spread(found, value) and aggregate.sides is not None:
        span = aggregate.sides.high - aggregate.sides.low
        interval = agreeing_difference(value, len(sums), span)
    elif no_spread(found, value):
        interval = agreeing_interval(value, moves.effective_clusters(), bounds)
    return Estimate(value, interval and clip(interval, bounds), len(sums), bounds)


def spread(value: float, moves: Moves, bounds: Bounds | None) -> Spread:
    """The interval and the error of a number; see the module docstring.

    Args:
        value: The number.
        moves: How far its clusters move it.
        bounds: The range of the number, if known.
    """
    if not moves.variances.any():
        return Spread(Interval(value, value), 0.0, _least_freedom(moves))
    if bounds is None:
        return stratified(value, moves)
    scaled = in_shares(moves, bounds)
    share = shares(moves.value, moves, bounds)
    scatter, freedoms = _scatter(scaled, share)
    near = away_from_ends(share, scaled)
    spare = near * (1 - near)
    covariance = scaled.covariance(scatter * spare / scaled.clusters)
    variance = float(covariance.sum())
    if cancels(covariance):
        return Spread(Interval(value, value), 0.0, _least_freedom(moves))
    path = covariance.sum(axis=1) / (variance * scaled.weights)  # of each share, per unit of value
    slope = float(covariance.sum(axis=1) @ (path * (1 - 2 * near) / spare))
    bend = float(covariance.sum(axis=1) @ (path**2 / spare))
    freedom = satterthwaite(np.diag(covariance), freedoms)
    low, high = _score_ends(variance, slope, bend, t_point(0.5 * (1 + LEVEL), freedom))
    return Spread(Interval(value - low, value + high), variance**0.5, freedom)


def cancels(covariance: Array) -> bool:
    """Whether weighted groups cancel, cluster by cluster, up to rounding."""
    return float(covariance.sum()) <= _ROUNDING * float(np.trace(covariance))


def _score_ends(variance: float, slope: float, bend: float, point: float) -> tuple[float, float]:
    """How far below and above lie the values x with x^2 = t^2 (variance + slope x - bend x^2)."""
    lean, factor = point**2 * slope, 1 + point**2 * max(0.0, bend)
    width = (lean**2 + 4 * factor * point**2 * variance) ** 0.5
    far = (width + abs(lean)) / (2 * factor)
    near = 2 * point**2 * variance / (width + abs(lean))  # as `far`, without cancellation
    return (near, far) if lean >= 0 else (far, near)


def _scatter(moves: Moves, share: Array) -> tuple[Array, Array]:
    """(G,) scatter of a cluster of each group, and its degrees of freedom.

    Args:
        moves: In shares of the range.
        share: (G,) the groups' numbers as such shares.
    """
    spare, clusters = share * (1 - share), moves.clusters
    seen = (moves.variances > 0) & (spare > 0)
    measured = np.where(seen, clusters * moves.variances / np.where(seen, spare, 1.0), 0.0)
    others = shown_by_others(measured * spare, np.where(seen, spare, 0.0), clusters, 1.0, _ALONE)
    mixed = ((clusters - 1) * measured + ADDED * others) / (clusters - 1 + ADDED)
    most = clusters / np.maximum(clusters - 1, 1)
    two_valued = seen & (measured >= most * (1 - 1e-9))
    scatter = np.where(two_valued, most, np.where(seen, mixed, others))
    freedom = np.where(two_valued, np.square(clusters - 1), clusters - 1 + ADDED)
    return scatter, freedom


def away_from_ends(share: Array, moves: Moves) -> Array:
    """(G,): the groups' shares after one more cluster with the share of all groups, or `center`."""
    mean = moves.center
    if mean is None:
        mean = float(moves.weights @ share / moves.weights.sum())
    moved: Array = (moves.clusters * share + mean) / (moves.clusters + 1)
    return moved


def shown_by_others(
    variance: Array, most: Array, clusters: Array, prior: float, alone: float
) -> Array:
    """(G,): the variance of a cluster over the most it can be, as the other groups show it.

    Args:
        variance: (G,) of a cluster.
        most: (G,) the most that it can be; 0 for a group that shows nothing.
        clusters: (G,) how many there are.
        prior: The ratio where the other groups show little; it weighs as much as two clusters that
            can vary as much as any.
        alone: The ratio where there is no other group.
    """
    if len(variance) == 1:
        return np.array([alone])
    seen, possible = (clusters - 1) * variance, (clusters - 1) * most
    weight = ADDED * _MOST
    found: Array = (seen.sum() - seen + weight * prior) / (possible.sum() - possible + weight)
    return found


def in_shares(moves: Moves, bounds: Bounds) -> Moves:
    """The moves as shares of the groups' range, and the weights in units of the number."""
    span = _group_span(moves, bounds)
    return moves._replace(moves=moves.moves / span, weights=moves.weights * span)


def _group_span(moves: Moves, bounds: Bounds) -> float:
    return float((bounds.high - bounds.low) / moves.weights.sum())


def shares(values: Array, moves: Moves, bounds: Bounds) -> Array:
    """(G,): numbers of the groups as shares of their range, 0 to 1."""
    found = values / _group_span(moves, bounds) - bounds.low / (bounds.high - bounds.low)
    return np.clip(found, 0.0, 1.0)


def satterthwaite(variances: Array, freedoms: Array) -> float:
    """Degrees of freedom of a sum of variances: (sum v)^2 / sum(v^2 / f)."""
    return float(variances.sum() ** 2 / np.sum(np.square(variances) / freedoms))


def stratified(value: float, moves: Moves) -> Spread:
    """The t interval of a stratified sample; none where a group has one cluster."""
    covariance = moves.covariance(moves.variances)
    error = max(0.0, float(covariance.sum())) ** 0.5
    freedom = satterthwaite(np.diag(covariance), np.maximum(moves.clusters - 1, 1))
    if (moves.clusters < 2).any():
        return Spread(None, error, freedom)
    half = t_point(0.5 * (1 + LEVEL), freedom) * error
    return Spread(Interval(value - half, value + half), error, freedom)


def _least_freedom(moves: Moves) -> float:
    return float(max(1.0, (moves.clusters - 1).sum()))


def no_spread(found: Spread, value: float) -> bool:
    """Whether all clusters agree, up to rounding: neither interval nor error means anything."""
    return found.error <= 1e-12 * max(1.0, abs(value))


def bootstrap_numbers(sums: Array, finish: Finish, *, seed: int) -> Array:
    """(B,): the number in every bootstrap draw of clusters; NaN where a draw makes none."""
    blocks = bootstrap_weights(len(sums), seed=seed)
    return np.concatenate([finish(weight @ sums) for weight in blocks])


def _existing(numbers: Array) -> Array | None:
    known = numbers[np.isfinite(numbers)]
    return known if len(known) and 2 * len(known) >= len(numbers) else None


def is_point(interval: Interval) -> bool:
    """Whether an interval has no width beyond rounding."""
    return interval.high - interval.low <= 1e-9 * max(1.0, abs(interval.high))


def agreeing_interval(value: float, size: float, bounds: Bounds | None) -> Interval | None:
    """The interval where all clusters agree; none on a scale whose range is not known.

    At an end of the range it reaches at least to the share that shows nothing else with a chance of
    5 %, which Wilson's interval of fewer than six clusters does not.
    """
    if bounds is None:
        return None
    span = bounds.high - bounds.low
    share = min(1.0, max(0.0, (value - bounds.low) / span))
    share = round(share) if abs(share - round(share)) < _ROUNDING else share
    low, high = wilson(share, size)
    other = unseen_share(size, 1 - LEVEL)
    if share == 1.0:
        low = min(low, 1 - other)
    if share == 0.0:
        high = max(high, other)
    return Interval(bounds.low + span * low, bounds.low + span * high)


def agreeing_difference(
    value: float, clusters: int, span: float | None, swings: Array | None = None
) -> Interval | None:
    """The interval of a difference that is the same in every cluster.

    The exact bound of `unseen`: at most a share 1 - .025^(1/C) of all clusters may be different
    from those seen, and each of them at most the metric's range away; none where that range is not
    known.

    Args:
        value: The difference.
        clusters: Its clusters.
        span: The width of the metric's range.
        swings: (C,) how far each cluster alone can move the difference; the same by default.
    """
    if span is None:
        return None
    alpha = 0.5 * (1 - LEVEL)
    others = unseen_share(clusters, alpha)
    if swings is not None and span > 0:
        others = min(1.0, unseen_sum(swings, alpha) / span)
    return Interval(value - others * (span + value), value + others * (span - value))


def clip(interval: Interval, bounds: Bounds | None) -> Interval:
    """The part of an interval that lies within the metric's range."""
    if bounds is None:
        return interval
    return Interval(max(interval.low, bounds.low), min(interval.high, bounds.high))
