"""Numbers over training seeds and units at once.

Shapes: R runs (training seeds) of a side, C clusters, B draws.

From three seeds on the error of an arm's number has two levels: clusters are drawn, the same ones
for all runs of both arms (a bootstrap), and seeds are drawn within each arm (whose bootstrap
variance, corrected for R draws, is s^2 / R in closed form). The two variances add up, and t has
their joint degrees of freedom (Satterthwaite 1946), hardly more than R - 1 where seeds matter most.
A seed's number holds the chance of its outputs too, so the interval is too wide rather than too
short where seeds hardly matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pairuni_eval.analysis.aggregate import Array, Bounds
from pairuni_eval.analysis.intervals import (
    LEVEL,
    Interval,
    agreeing_difference,
    bootstrap_numbers,
    clip,
    t_point,
)
from pairuni_eval.analysis.paired import Evidence, Pair, detectable, difference_p, weigh_tie


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


def weigh_over_seeds(pair: Pair, *, margin: float, seed: int) -> Evidence:
    """The evidence of two arms, units and seeds drawn; see the module docstring."""
    total = pair.stacked.sum(axis=0)
    value = float(pair.difference(total))
    numbers = pair.numbers(total)
    sides = [numbers[: len(pair.ours)], numbers[len(pair.ours) :]]
    units = bootstrap_numbers(pair.stacked, pair.difference, seed=seed)
    level = two_levels(units, pair.clusters, sides)
    span, test = pair.span, "t over seeds and units"
    limit = margin * span if span else None
    tied = weigh_tie(pair, value, level.error, level.freedom, limit)
    if level.error == 0:
        alike = agreeing_difference(value, pair.clusters, span, pair.swings())
        return Evidence(
            interval=alike,
            error=0.0,
            p=None,
            test=test,
            margin=limit,
            tie_p=tied.p,
            detectable=None,
            freedom=level.freedom,
            span=span,
            equivalence=tied.interval,
        )
    return Evidence(
        interval=level.interval(value, Bounds(-span, span) if span else None),
        error=level.error,
        p=difference_p(value, level.error, level.freedom),
        test=test,
        margin=limit,
        tie_p=tied.p,
        detectable=detectable(level.error, level.freedom),
        freedom=level.freedom,
        between=level.between,
        span=span,
        equivalence=tied.interval,
    )


def two_levels(units: Array, clusters: int, sides: Sequence[Array]) -> TwoLevels:
    """The joint error of unit draws (B,) and of the numbers of each side's runs.

    Freedom: (sum of variances)^2 / sum of (variance^2 / its own freedom).
    """
    variances = [float(np.nanvar(units)) * clusters / (clusters - 1)]
    freedoms = [clusters - 1]
    for numbers in sides:
        if len(numbers) > 1:
            variances.append(float(np.var(numbers, ddof=1)) / len(numbers))
            freedoms.append(len(numbers) - 1)
    total = sum(variances)
    weighed = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    if weighed == 0:
        return TwoLevels(0.0, float(clusters - 1), 0.0)
    return TwoLevels(total**0.5, total**2 / weighed, sum(variances[1:]) / total)
