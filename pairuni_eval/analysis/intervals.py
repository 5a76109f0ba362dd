"""What a cluster is, and how sure a number is: the only module that knows either.

Shapes: N rows, K sums, C clusters, B bootstrap draws.

A cluster is a unit of the sample (an image, a prompt, a source picture) with at least one value.
A ratio of two sums (a plain mean) gets the cluster-robust CR1 interval with t on C - 1 degrees of
freedom (Liang and Zeger 1986; Cameron and Miller 2015, eq. 11); every other aggregate a percentile
bootstrap over clusters. Where all clusters agree, both would have zero width: then Wilson's
interval (1927) at the effective number of clusters stands in. One cluster has no interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from pairuni_eval.analysis.aggregate import Aggregate, Array, Bounds, Rows, membership

LEVEL = 0.95
DRAWS = 2_000
_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
_CHUNK_CELLS = 4_000_000  # weights held at once: 32 MB


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
    generator = np.random.default_rng(seed)
    block = max(1, _CHUNK_CELLS // max(1, clusters))
    for start in range(0, draws, block):
        lines = min(block, draws - start)
        chosen = generator.integers(0, clusters, size=(lines, clusters))
        chosen += np.arange(lines)[:, None] * clusters
        counts = np.bincount(chosen.ravel(), minlength=lines * clusters)
        yield counts.reshape(lines, clusters).astype(np.float64)


def percentile_interval(numbers: Array) -> Interval | None:
    """The middle 95 % of bootstrap numbers; None if most of them do not exist."""
    known = numbers[np.isfinite(numbers)]
    if 2 * len(known) < len(numbers) or len(known) == 0:
        return None
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(float(low), float(high))


def ratio_error(sums: Array) -> float:
    """CR1 standard error of sum[0] / sum[1] over clusters.

    sqrt(C / (C - 1) * sum_c (s_c0 - r * s_c1)^2) / sum_c s_c1.
    """
    count = len(sums)
    total = sums.sum(axis=0)
    residual = sums[:, 0] - total[0] / total[1] * sums[:, 1]
    return float(np.sqrt(count / (count - 1) * np.square(residual).sum()) / total[1])


def wilson(share: float, size: float) -> Interval:
    """Wilson's score interval of a share seen on `size` independent trials."""
    centre = (share + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    half = _Z / (1 + _Z**2 / size)
    half *= float(np.sqrt(share * (1 - share) / size + _Z**2 / (4 * size**2)))
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
    interval = _spread(aggregate, sums, value, seed)
    if interval is not None and is_point(interval):
        interval = agreeing_interval(value, effective_clusters(aggregate, rows), bounds)
    return Estimate(value, interval and _clip(interval, bounds), len(sums), bounds)


def _spread(aggregate: Aggregate, sums: Array, value: float, seed: int) -> Interval | None:
    if aggregate.is_ratio:
        half = float(stdtrit(len(sums) - 1, 0.5 * (1 + LEVEL))) * ratio_error(sums)
        return Interval(value - half, value + half)
    blocks = bootstrap_weights(len(sums), seed=seed)
    return percentile_interval(np.concatenate([aggregate.finish(w @ sums) for w in blocks]))


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


def _clip(interval: Interval, bounds: Bounds | None) -> Interval:
    if bounds is None:
        return interval
    return Interval(max(interval.low, bounds.low), min(interval.high, bounds.high))
