"""The interval of a difference of two runs, on the clusters that both have.

Shapes: C clusters, G groups.

As for one run (`intervals`), the variance is that of a stratified sample over clusters, here of
their differences, and t has the degrees of freedom of Satterthwaite. Two clusters are added to each
group that differ as those of the other groups do, relative to 2 x share x (1 - share), what the
differences of two tossed coins would have; a quarter of it where there is no other group or these
show too little.

A larger difference needs more clusters that differ: beyond the difference seen, away from zero, the
variance grows in proportion, as in Tango's score interval (1998), by the mean square of the
clusters' differences over their mean size. Half of that growth is counted; so much keeps both ends
near 2.5 % in simulation (docs/statistics.md). Toward zero nothing grows, so whether the interval
leaves out zero is decided by the variance that was seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pairuni_eval.stats.aggregate import Array, Bounds
from pairuni_eval.stats.intervals import (
    ADDED,
    LEVEL,
    Interval,
    Spread,
    away_from_ends,
    cancels,
    clip,
    in_shares,
    satterthwaite,
    shares,
    shown_by_others,
    stratified,
    t_point,
)
from pairuni_eval.stats.strata import Moves

_DIFFER = 0.25  # of the variance of two tossed coins
_GROWTH = 0.5


class _Error(NamedTuple):
    """Of a difference: its covariance over groups (G, G) and degrees of freedom."""

    covariance: Array
    freedom: float


def difference_spread(value: float, moves: Moves, levels: Array, bounds: Bounds | None) -> Spread:
    """The interval and the error of a difference; see the module docstring.

    Args:
        value: Ours - theirs.
        moves: How far the clusters move the difference.
        levels: (G,) the mean of both sides' numbers, group by group.
        bounds: The range of one side's number, if known.
    """
    alike = Spread(Interval(value, value), 0.0, float(max(1.0, (moves.clusters - 1).sum())))
    if not moves.variances.any():
        return alike
    if bounds is None:
        return stratified(value, moves)
    scaled = in_shares(moves, bounds)
    error = _error(scaled, shares(levels, moves, bounds))
    if cancels(error.covariance):
        return alike
    variance = float(error.covariance.sum())
    path = error.covariance.sum(axis=1) / (variance * scaled.weights)
    growth = (
        _GROWTH
        * _size(scaled, moves.value * moves.weights / scaled.weights)
        * float(np.sum(np.square(scaled.weights) / scaled.clusters * np.abs(path)))
    )
    point = t_point(0.5 * (1 + LEVEL), error.freedom)
    outward = _reach(variance, growth, point, 0.0)
    inward = _reach(variance, growth, point, 2 * abs(value))
    low, high = (inward, outward) if value >= 0 else (outward, inward)
    span = bounds.high - bounds.low
    interval = clip(Interval(value - low, value + high), Bounds(-span, span))
    return Spread(interval, variance**0.5, error.freedom)


def _error(moves: Moves, level: Array) -> _Error:
    near = away_from_ends(level, moves)
    coins = 2 * near * (1 - near)
    seen = moves.clusters * moves.variances
    others = shown_by_others(seen, coins, moves.clusters, _DIFFER, _DIFFER)
    freedoms = moves.clusters - 1 + ADDED
    mixed = ((moves.clusters - 1) * seen + ADDED * others * coins) / freedoms
    covariance = moves.covariance(mixed / moves.clusters)
    return _Error(covariance, satterthwaite(np.diag(covariance), freedoms))


def _size(moves: Moves, value: Array) -> float:
    """The mean square of the clusters' differences over their mean size, at most 1.

    Args:
        moves: In shares of the range.
        value: (G,) the groups' differences as such shares.
    """
    differ = moves.moves != 0
    single = np.where(differ, np.clip(moves.clusters * moves.moves + value, -1.0, 1.0), 0.0)
    weight = np.square(moves.weights / moves.clusters)
    square, size = np.square(single) @ weight, np.abs(single) @ weight
    return float(min(1.0, square.sum() / size.sum())) if size.sum() > 0 else 1.0


def _reach(variance: float, growth: float, point: float, start: float) -> float:
    """The largest x with x^2 <= t^2 (variance + growth (x - start)), which grows beyond `start`."""
    plain = float(point * variance**0.5)
    if plain <= start:
        return plain
    lean = point**2 * growth
    return float((lean + (lean**2 + 4 * (point**2 * variance - lean * start)) ** 0.5) / 2)
