"""The units or training seeds that would decide a difference about which nothing can be told.

The error of a number falls with the square root of its units, so a difference that is k times
smaller than the detectable one takes k^2 times as many. Where most of the error lies between
training seeds, more units hardly help and seeds are counted instead.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numpy as np

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.multiple import ALPHA
from pairuni_eval.stats.verdict import distance

_MOSTLY_SEEDS = 0.5  # of the error's variance


class Deciding(NamedTuple):
    """What would decide.

    Attributes:
        target: The difference that should be found, on the metric's own scale: the one seen, or the
            margin where that is larger.
        units: Units that would find it in 4 of 5 repetitions.
        available: Units of the whole benchmark, or group; None where nobody knows.
        seeds: Training seeds an arm, where it is seeds that are lacking.
        sentence: The same in words.
    """

    target: float
    units: int
    available: int | None
    seeds: int | None
    sentence: str


class Undecided(NamedTuple):
    """What is known of the difference.

    Attributes:
        value: Ours - theirs.
        margin: The largest difference that counts as none, if known.
        detectable: What would be found in 4 of 5 repetitions at the row's corrected level by an
            error of this size with many degrees of freedom; None where no unit differs.
        clusters: Units that were compared.
        available: Units of the whole benchmark, or group; None where nobody knows.
        seeds: Runs of the side with fewer.
        between: The share of the error's variance that lies between seeds.
        span: The farthest that two numbers can be apart, if known.
        counted: Whether the units of the whole benchmark were counted, not estimated from a part.
    """

    spec: MetricSpec
    value: float
    margin: float | None
    detectable: float | None
    clusters: int
    available: int | None
    seeds: int
    between: float | None
    span: float | None
    counted: bool = True


def decide(one: Undecided) -> Deciding | None:
    """What would decide; None where that cannot be said."""
    target = max(abs(one.value), one.margin or 0.0)
    if target <= 0:
        return None
    if one.detectable is None:
        return _of_equals(one)
    times = (one.detectable / target) ** 2  # how much smaller the variance must be
    if one.between is not None and one.between > _MOSTLY_SEEDS:
        seeds, units = _seeds_and_units(one, times)
        return _told(one, target, units, seeds)
    return _told(one, target, max(ceil(one.clusters * times), one.clusters + 1), None)


def _of_equals(one: Undecided) -> Deciding | None:
    """Units of which none may differ before the margin is safe."""
    if not one.margin or not one.span or one.margin >= one.span:
        return None
    units = ceil(np.log(ALPHA) / np.log1p(-one.margin / one.span))
    return _told(one, one.margin, units, None)


def _seeds_and_units(one: Undecided, times: float) -> tuple[int, int]:
    """Seeds an arm, with the units that there are if these can do, else with more of both."""
    between = one.between or 0.0
    wanted, within = 1 / times, 1 - between  # variances, as shares of the one there is
    if wanted > 1.5 * within:
        return max(ceil(one.seeds * between / (wanted - within)), one.seeds + 1), one.clusters
    return ceil(2 * one.seeds * between / wanted), ceil(2 * one.clusters * within / wanted)


def _told(one: Undecided, target: float, units: int, seeds: int | None) -> Deciding:
    takes = [] if seeds is None else [f"{seeds:,} seeds of each arm"]
    takes += [f"{units:,} units"] if units > one.clusters else []
    about = "" if one.counted else "about "
    if units <= one.clusters:
        there = ""
    elif one.available is None:
        there = f"; {one.clusters:,} were compared"
    elif units > one.available:
        there = f"; the whole benchmark has {about}{one.available:,}"
    else:
        there = f"; {one.clusters:,} of {about}{one.available:,} were compared"
    said = f"a difference of {distance(target, one.spec)} would take {' and '.join(takes)}{there}"
    return Deciding(target, units, one.available, seeds, said)
