"""The error of a number over training seeds and units at once.

Shapes: R runs (training seeds) of a side, C clusters, B draws.

From three seeds on the error of an arm's number has two levels: clusters are drawn, the same ones
for all runs of both arms (a bootstrap), and seeds are drawn within each arm (whose bootstrap
variance, corrected for R draws, is s^2 / R in closed form). Both hold the chance of single outputs,
which belongs to one seed in one unit, so it is taken off once, as in the variance of crossed
clusters (Cameron, Gelbach and Miller 2011):

    variance = units + max(0, sum over arms of s^2 / R - (v - c) / R)

with v the variance over unit draws of one run's number and c the covariance of two runs' of an arm.
The sum is over the arms of at least three seeds: a side of fewer is these checkpoints. t has the
joint degrees of freedom of units and seeds (Satterthwaite 1946), hardly more than R - 1 where seeds
matter most. Departures: they are never less than the smaller of R - 1 and C - 1, as they would be
after much was taken off, e.g. where runs of both arms went alike; what is taken off does not lower
the seeds' term there; where nothing is left of them, which may be chance, that term counts two
thirds. Without it the corrected p of a page of equal arms was too small (a false word on 8.7 % of
pages); with the whole of it the intervals of arms whose seeds hardly differ were wider still.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pairuni_eval.stats.aggregate import Array, Bounds
from pairuni_eval.stats.intervals import (
    LEVEL,
    Interval,
    agreeing_difference,
    bootstrap_numbers,
    clip,
    t_point,
)
from pairuni_eval.stats.paired import Evidence, PairedSums, detectable, difference_p, tie_evidence
from pairuni_eval.stats.scope import ENOUGH_SEEDS

_ROUNDING = 1e-12  # an error below it is none
_NOTHING_LEFT = 2 / 3  # what the seeds' term counts where they differ by chance alone


class TwoLevels(NamedTuple):
    """Error and degrees of freedom of a number over seeds and units.

    `between` is the share of the error's variance that lies between seeds.
    """

    error: float
    freedom: float
    between: float

    def interval(self, value: float, bounds: Bounds | None) -> Interval:
        """The 95 % interval around a value, within the bounds of the number."""
        half = t_point(0.5 * (1 + LEVEL), self.freedom) * self.error
        return clip(Interval(value - half, value + half), bounds)


def compare_over_seeds(pair: PairedSums, *, margin: float, seed: int) -> Evidence:
    """The evidence of two arms, units and seeds drawn; see the module docstring."""
    total = pair.stacked.sum(axis=0)
    value = float(pair.difference(total))
    draws = bootstrap_numbers(pair.stacked, pair.numbers, seed=seed)
    level = two_levels(draws, pair.numbers(total), len(pair.ours), pair.clusters)
    agree = level.error == 0
    span = pair.span
    limit = margin * span if span else None
    tied = tie_evidence(pair, value, level.error, level.freedom, limit)
    return Evidence(
        interval=agreeing_difference(value, pair.clusters, span, pair.swings())
        if agree
        else level.interval(value, Bounds(-span, span) if span else None),
        error=level.error,
        p=difference_p(value, level.error, level.freedom),
        test="t over seeds and units",
        margin=limit,
        tie_p=tied.p,
        detectable=None if agree else detectable(level.error, level.freedom),
        freedom=level.freedom,
        between=None if agree else level.between,
        span=span,
        equivalence=tied.interval,
    )


def two_levels(draws: Array, numbers: Array, ours: int, clusters: int) -> TwoLevels:
    """The joint error of a difference of two arms, or of the mean of one.

    Args:
        draws: (B, R + R') the number of each run in every draw of units; B < 2 finite ones are an
            error of 0.
        numbers: (R + R',) the number of each run.
        ours: R, how many of the runs are ours; R' may be 0.
        clusters: C.
    """
    known = draws[np.isfinite(draws).all(axis=1)]
    correction = clusters / (clusters - 1)
    sides = [side for side in (slice(0, ours), slice(ours, None)) if len(numbers[side])]
    means = [known[:, side].mean(axis=1) for side in sides]
    units = correction * float(np.var(means[0] - sum(means[1:])))
    seeds, chance, by_freedom, least = 0.0, 0.0, 0.0, clusters - 1
    for side in sides:
        runs = len(numbers[side])
        if runs >= ENOUGH_SEEDS:
            least = min(least, runs - 1)
            variance = float(np.var(numbers[side], ddof=1)) / runs
            seeds += variance
            chance += correction * _chance(known[:, side]) / runs
            by_freedom += variance**2 / (runs - 1)
    between = max(0.0, seeds - chance)
    total = units + between
    if total <= (_ROUNDING * max(1.0, float(np.abs(numbers).max()))) ** 2:
        return TwoLevels(0.0, float(clusters - 1), 0.0)
    by_freedom *= 1.0 if between > 0 else _NOTHING_LEFT
    freedom = total**2 / (units**2 / (clusters - 1) + by_freedom)
    return TwoLevels(total**0.5, max(freedom, float(least)), between / total)


def _chance(draws: Array) -> float:
    """Of unit draws (B, R) of an arm's runs: what one run's variance has beyond two runs share.

    Rounding would make it less than nothing where all runs are alike.
    """
    both = np.cov(draws, rowvar=False, ddof=0)
    runs = len(both)
    own = float(np.trace(both))
    return max(0.0, own / runs - (float(both.sum()) - own) / (runs * (runs - 1)))
