"""The test for a tie: two tests that must both say so.

Shapes: C units.

Two one-sided t tests (Schuirmann 1987) say whether the difference lies within the margin. They
trust the spread that was seen, which is far too small where hardly any unit differs: of two models
that are 1 point apart on 300 questions, one question in 300 differs often enough. So an exact guard
stands beside them: what the units won and what they lost are two shares of all that units can move,
each with its one-sided bounds by Clopper and Pearson (1934; a unit that moves by a part of what it
could counts as that part), combined by the method of variance estimates recovery (MOVER: Zou and
Donner 2008). Where no unit differs at all this is the exact bound of `unseen`. Units that weigh
differently count as the smaller number of equal units that has the same exact bound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import betaincinv

from pairuni_eval.stats.aggregate import Array
from pairuni_eval.stats.intervals import Interval, t_point, t_tail
from pairuni_eval.stats.multiple import ALPHA
from pairuni_eval.stats.unseen import unseen_sum

_LEAST, _MOST = 1e-6, 0.5  # between these p is searched
_STEPS = 30


def equivalence_p(value: float, error: float, freedom: float, margin: float) -> float:
    """The larger p of the two one-sided t tests of "at least the margin away from zero"."""
    return t_tail((margin - abs(value)) / error, freedom)


def guard_interval(value: float, gains: Array, swings: Array, alpha: float) -> Interval:
    """The two one-sided bounds of the difference.

    Args:
        value: The difference.
        gains: (C,) what each unit adds to it.
        swings: (C,) the most that each unit could add.
        alpha: The chance that each bound may be wrong with.
    """
    reach = float(swings.sum())
    size = float(np.log(alpha) / np.log1p(-min(unseen_sum(swings, alpha) / reach, 1 - 1e-12)))
    won, lost = (min(1.0, float(np.maximum(side, 0).sum()) / reach) for side in (gains, -gains))
    up = np.hypot(_above(won, size, alpha) - won, lost - _below(lost, size, alpha))
    down = np.hypot(_above(lost, size, alpha) - lost, won - _below(won, size, alpha))
    return Interval(float(value - reach * down), float(value + reach * up))


def farthest(value: float, gains: Array, swings: Array, alpha: float) -> float:
    """How far from 0 the difference may be: the farther of the ends of `guard_interval`."""
    low, high = guard_interval(value, gains, swings, alpha)
    return max(high, -low)


def equivalence_interval(
    value: float, error: float, freedom: float, gains: Array, swings: Array
) -> Interval:
    """What holds both bounds of the t tests and of their guard, each wrong with a chance of 5 %.

    It lies inside a margin exactly where both tests say so at p < .05.
    """
    low, high = guard_interval(value, gains, swings, ALPHA)
    half = t_point(1 - ALPHA, freedom) * error
    return Interval(min(low, value - half), max(high, value + half))


def _above(share: float, size: float, alpha: float) -> float:
    seen = share * size
    return 1.0 if seen >= size else float(betaincinv(seen + 1, size - seen, 1 - alpha))


def _below(share: float, size: float, alpha: float) -> float:
    seen = share * size
    return 0.0 if seen <= 0 else float(betaincinv(seen, size - seen + 1, alpha))


def guard_p(value: float, gains: Array, swings: Array, margin: float) -> float:
    """The smallest alpha at which `farthest` is inside the margin; 1 where that is above .5."""
    return _smallest(lambda alpha: farthest(value, gains, swings, alpha) < margin, swings)


def guard_below_p(value: float, gains: Array, swings: Array, margin: float) -> float:
    """The smallest alpha at which the lower bound is above minus the margin; 1 above .5."""
    return _smallest(
        lambda alpha: guard_interval(value, gains, swings, alpha).low > -margin, swings
    )


def _smallest(inside: Callable[[float], bool], swings: Array) -> float:
    """The smallest alpha whose bounds are inside, where these narrow as alpha grows."""
    if not swings.sum() > 0 or not inside(_MOST):
        return 1.0
    if inside(_LEAST):
        return _LEAST
    low, high = np.log(_LEAST), np.log(_MOST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if inside(float(np.exp(middle))) else (middle, high)
    return float(np.exp(high))
