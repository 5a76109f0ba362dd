"""What a cluster is, and how sure a number is: the only module that knows either.

Shapes: N rows, K sums, C clusters, B bootstrap draws.

A cluster is a unit of the sample (an image, a prompt, a source picture) with at least one value. A
number is a smooth function of the sums over clusters, and its interval is
    closed      for a ratio of two sums (a plain mean): Wilson's interval at the size that the
                cluster-robust error implies, with t on C - 1 degrees of freedom (Korn and Graubard
                1998; Franco et al. 2019); on a scale without a known range the plain t interval.
                The error is the cluster jackknife's (CV3J of MacKinnon, Nielsen and Webb 2023).
    bootstrap   for everything else: 2,000 draws of C clusters, with percentiles widened for the
                C - 1 degrees of freedom (Hesterberg 2015), since plain ones are too narrow where
                clusters are few; for the number of one run also bias-corrected and accelerated
                (Efron 1987). A difference of two runs leans to neither side, and its draws are so
                lumpy that this correction does harm. Fewer than six clusters give too few different
                draws: there the closed form stands in.
Where all clusters agree, both would have zero width: then Wilson's interval (1927) at the effective
number of clusters stands in, and for a difference of two runs the exact binomial bound. One cluster
has no interval. How often each kind covers the truth is measured in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from pairuni_eval.analysis.aggregate import Aggregate, Array, Bounds, Rows, membership
from pairuni_eval.analysis.unseen import unseen_share, unseen_sum

LEVEL = 0.95
DRAWS = 2_000
_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
_ENOUGH_CLUSTERS = 6  # for a bootstrap
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
        interval: 95 % interval; None if most bootstrap draws make no number.
        error: Standard error over clusters.
    """

    interval: Interval | None
    error: float


def cluster_sums(features: Array, rows: Rows) -> Array:
    """(C, K): the features summed within each cluster that has a value."""
    has = np.isfinite(rows.value)
    codes, inverse = np.unique(rows.unit[has], return_inverse=True)
    sums = np.empty((len(codes), features.shape[1]))
    for k in range(features.shape[1]):
        sums[:, k] = np.bincount(inverse, weights=features[has, k], minlength=len(codes))
    return sums


def cluster_count(rows: Rows) -> int:
    """How many clusters have a value."""
    return len(np.unique(rows.unit[np.isfinite(rows.value)]))


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


def left_out(sums: Array, finish: Finish) -> Array:
    """(C,): the number without each cluster; the full number where nothing would be left."""
    total = sums.sum(axis=0)
    numbers = finish(total - sums)
    return np.where(np.isfinite(numbers), numbers, finish(total))


def jackknife_error(sums: Array, finish: Finish) -> float:
    """Cluster jackknife: sqrt((C - 1) / C * sum over clusters of (left out - their mean)^2).

    For a mean over clusters of one size this is the cluster-robust CR1 error.
    """
    numbers = left_out(sums, finish)
    count = len(numbers)
    return float(np.sqrt((count - 1) / count * np.square(numbers - numbers.mean()).sum()))


def t_point(share: float, freedom: float) -> float:
    """The point of Student's t below which `share` of it lies."""
    return float(stdtrit(freedom, share))


def t_tail(point: float, freedom: float) -> float:
    """The share of Student's t above a point."""
    return float(stdtr(freedom, -point))


def wilson(share: float, size: float, z: float = _Z) -> Interval:
    """Wilson's score interval of a share seen on `size` independent trials."""
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size)
    half *= float(np.sqrt(share * (1 - share) / size + z**2 / (4 * size**2)))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def effective_clusters(aggregate: Aggregate, rows: Rows) -> float:
    """The number of clusters that a pooled share would need for the same error.

    For a mean over groups with weights w_g and c_g clusters: (sum w)^2 / sum(w^2 / c).
    """
    weight = aggregate.group_weights()
    if weight is None or aggregate.spec.by is None:
        return float(cluster_count(rows))
    member = membership(rows, aggregate.spec.by, aggregate.groups)
    counts = np.array([cluster_count(rows.take(member[:, g])) for g in range(member.shape[1])])
    return float(weight.sum() ** 2 / np.sum(weight**2 / np.maximum(counts, 1)))


def estimate(aggregate: Aggregate, rows: Rows, *, seed: int) -> Estimate:
    """The number, its 95 % interval and the clusters behind it."""
    sums = cluster_sums(aggregate.features(rows), rows)
    value = float(aggregate.finish(sums.sum(axis=0)))
    bounds = aggregate.bounds(rows)
    if not np.isfinite(value):
        return Estimate(None, None, len(sums), bounds)
    if len(sums) < 2:
        return Estimate(value, None, len(sums), bounds)
    found = spread(sums, aggregate.finish, bounds=bounds, closed=aggregate.is_ratio, seed=seed)
    interval = found.interval
    if no_spread(found, value):
        interval = agreeing_interval(value, effective_clusters(aggregate, rows), bounds)
    return Estimate(value, interval and clip(interval, bounds), len(sums), bounds)


def spread(
    sums: Array,
    finish: Finish,
    *,
    bounds: Bounds | None,
    closed: bool,
    seed: int,
    leans: bool = True,
) -> Spread:
    """The interval and the error of finish(sums of all clusters); see the module docstring.

    Args:
        sums: (C, K) with at least two clusters.
        finish: What the sums make.
        bounds: The range of the number, if known.
        closed: True for a ratio of two sums, or the difference of two of them.
        seed: Seed of the bootstrap.
        leans: Whether the number may lean to one side; False for a difference of two runs.
    """
    value = float(finish(sums.sum(axis=0)))
    if closed or len(sums) < _ENOUGH_CLUSTERS:
        error = jackknife_error(sums, finish)
        return Spread(_closed_interval(value, error, len(sums), bounds), error)
    numbers = bootstrap_numbers(sums, finish, seed=seed)
    error = float(np.nanstd(numbers)) * float(np.sqrt(len(sums) / (len(sums) - 1)))
    if leans:
        return Spread(bca_interval(numbers, value, left_out(sums, finish)), error)
    return Spread(widened_interval(numbers, len(sums)), error)


def no_spread(found: Spread, value: float) -> bool:
    """Whether all clusters agree, up to rounding: neither interval nor error means anything."""
    return found.error <= 1e-12 * max(1.0, abs(value))


def bootstrap_numbers(sums: Array, finish: Finish, *, seed: int) -> Array:
    """(B,): the number in every bootstrap draw of clusters; NaN where a draw makes none."""
    blocks = bootstrap_weights(len(sums), seed=seed)
    return np.concatenate([finish(weight @ sums) for weight in blocks])


def _closed_interval(value: float, error: float, clusters: int, bounds: Bounds | None) -> Interval:
    point = t_point(0.5 * (1 + LEVEL), clusters - 1)
    share = (value - bounds.low) / (bounds.high - bounds.low) if bounds else 0.0
    if bounds is None or error == 0 or not 0 < share < 1:
        return Interval(value - point * error, value + point * error)
    span = bounds.high - bounds.low
    found = wilson(share, share * (1 - share) / (error / span) ** 2, point)
    return Interval(bounds.low + span * found.low, bounds.low + span * found.high)


def bca_interval(numbers: Array, value: float, jackknifed: Array) -> Interval | None:
    """Bias-corrected accelerated bootstrap interval, widened for few clusters.

    Args:
        numbers: (B,) bootstrap numbers; those that do not exist are left out.
        value: The number itself.
        jackknifed: (C,) the number without each cluster.

    Returns:
        None if most bootstrap numbers do not exist.
    """
    known = _existing(numbers)
    if known is None:
        return None
    below = (known < value).mean() + 0.5 * (known == value).mean()
    bias = ndtri(np.clip(below, 1 / len(known), 1 - 1 / len(known)))
    pull = jackknifed.mean() - jackknifed
    size = np.square(pull).sum() ** 1.5
    acceleration = (pull**3).sum() / (6 * size) if size > 0 else 0.0
    shifted = bias + _wide_points(len(jackknifed))
    return _between(known, bias + shifted / np.maximum(1 - acceleration * shifted, 0.1))


def widened_interval(numbers: Array, clusters: int) -> Interval | None:
    """Percentile bootstrap interval, widened for few clusters; None if most do not exist."""
    known = _existing(numbers)
    return None if known is None else _between(known, _wide_points(clusters))


def _existing(numbers: Array) -> Array | None:
    known = numbers[np.isfinite(numbers)]
    return known if len(known) and 2 * len(known) >= len(numbers) else None


def _wide_points(clusters: int) -> Array:
    """The normal points that stand for t on C - 1 degrees of freedom and a variance over C - 1."""
    wide = (clusters / (clusters - 1)) ** 0.5 * t_point(0.5 * (1 + LEVEL), clusters - 1)
    return np.array([-wide, wide])


def _between(known: Array, points: Array) -> Interval:
    low, high = np.quantile(known, ndtr(points))
    return Interval(float(low), float(high))


def is_point(interval: Interval) -> bool:
    """Whether an interval has no width beyond rounding."""
    return interval.high - interval.low <= 1e-9 * max(1.0, abs(interval.high))


def agreeing_interval(value: float, size: float, bounds: Bounds | None) -> Interval | None:
    """The interval where all clusters agree; none on a scale whose range is not known."""
    if bounds is None:
        return None
    span = bounds.high - bounds.low
    share = wilson(min(1.0, max(0.0, (value - bounds.low) / span)), size)
    return Interval(bounds.low + span * share.low, bounds.low + span * share.high)


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
