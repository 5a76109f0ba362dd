"""Numbers that a training seed has one of: a mean over seeds, and two arms against each other.

Shapes: R seeds of an arm, S steps.

The seeds are all there is: a mean has a t interval on R - 1 degrees of freedom, two arms are
compared by Welch's t test, since nothing pairs their seeds. Whatever else is chance (prompts,
rollouts) is inside the spread between seeds. Below three seeds nothing is said about training
again. Numbers with outputs behind them, which add a level, are `arms`'. Several comparisons are
corrected together by Holm, and the joint interval of each belongs to its corrected p.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pairuni_eval.stats.aggregate import Array, Bounds
from pairuni_eval.stats.intervals import LEVEL, Estimate, Interval, clip, mean_interval, t_point
from pairuni_eval.stats.multiple import ALPHA, Step
from pairuni_eval.stats.paired import Evidence, detectable, difference_p
from pairuni_eval.stats.scope import ENOUGH_SEEDS
from pairuni_eval.stats.ties import equivalence_p

_ROUNDING = 1e-12  # of numbers that are all equal


class SeedCurve(NamedTuple):
    """Mean over seeds, lowest and highest seed: (S,) each, NaN where no seed has a number."""

    mean: Array
    low: Array
    high: Array


def spread_of(lines_RS: Array) -> SeedCurve:
    """Mean, lowest and highest of the lines that have a number, step by step."""
    known = np.isfinite(lines_RS)
    some = known.any(axis=0)
    mean = np.where(known, lines_RS, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    low = np.where(known, lines_RS, np.inf).min(axis=0)
    high = np.where(known, lines_RS, -np.inf).max(axis=0)
    return SeedCurve(*(np.where(some, one, np.nan) for one in (mean, low, high)))


def over_seeds(numbers_R: Array, bounds: Bounds | None = None) -> Estimate:
    """Mean of the seeds that have a number, with a t interval from three seeds on.

    Args:
        numbers_R: The number of each seed; NaN where it has none.
        bounds: The range of the number, which the interval does not leave.
    """
    known = numbers_R[np.isfinite(numbers_R)]
    if not len(known):
        return Estimate(None, None, 0, bounds)
    mean = float(known.mean())
    if len(known) < ENOUGH_SEEDS:
        return Estimate(mean, None, len(known), bounds)
    return Estimate(mean, clip(mean_interval(known), bounds), len(known), bounds)


def compare_seeds(ours_R: Array, theirs_R: Array, margin: float | None) -> Evidence | None:
    """Welch's t test (1947) of two arms over seeds; None below three seeds, or without any spread.

    Args:
        ours_R: The number of each of our seeds.
        theirs_R: The same for the other arm, with its own R.
        margin: The largest difference that counts as none.
    """
    sides = [side[np.isfinite(side)] for side in (ours_R, theirs_R)]
    if min(map(len, sides)) < ENOUGH_SEEDS:
        return None
    errors = [float(side.var(ddof=1)) / len(side) for side in sides]
    error = sum(errors) ** 0.5
    if error <= _ROUNDING * max(1.0, *(float(abs(side).max()) for side in sides)):
        return None
    freedom = sum(errors) ** 2 / sum(
        e**2 / (len(side) - 1) for e, side in zip(errors, sides, strict=True)
    )
    value = float(sides[0].mean() - sides[1].mean())
    half = t_point(0.5 * (1 + LEVEL), freedom) * error
    return Evidence(
        interval=Interval(value - half, value + half),
        error=error,
        p=difference_p(value, error, freedom),
        test="Welch's t over seeds",
        margin=margin,
        tie_p=None if margin is None else equivalence_p(value, error, freedom, margin),
        detectable=detectable(error, freedom),
        freedom=freedom,
        equivalence=_equivalence(value, error, freedom, margin),
    )


def _equivalence(
    value: float, error: float, freedom: float, margin: float | None
) -> Interval | None:
    """The interval of the two one-sided tests, where it is inside the margin."""
    half = t_point(1 - ALPHA, freedom) * error
    if margin is None or abs(value) + half >= margin:
        return None
    return Interval(value - half, value + half)


def joint_interval(evidence: Evidence, step: Step) -> Interval | None:
    """The interval that leaves out 0 exactly where the corrected p is below .05.

    Args:
        evidence: Of `compare_seeds`.
        step: What Holm made of its p.
    """
    if evidence.interval is None or evidence.freedom is None:
        return None
    middle = (evidence.interval.low + evidence.interval.high) / 2
    half = t_point(1 - ALPHA / (2 * step.times), evidence.freedom) * evidence.error
    return Interval(middle - half, middle + half)
