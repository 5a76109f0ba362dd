"""Permutation tests of several columns by the same rearrangements, with the intervals they leave.

Shapes: N batches (or M of another side), K columns, B rearrangements.

Each column has Student's t as its statistic, so that columns of different spread can be set against
each other; its p value is the share of rearrangements whose largest |t| over all columns is at
least as large (max-T, Westfall and Young 1993, in a single step). The smallest of them is the p
value of the whole: "nothing differs in any column". A rearrangement moves all columns alike, so
whatever they have in common is kept. Two kinds:

    flips       each batch's differences change their sign or not: paired, or one sample against 0
    allotments  which batches belong to which of two sides

What can be listed is listed. Else 2,000 are drawn, and more, up to 100,000, while fewer than 200 of
them reach what was seen (Besag and Clifford 1991), so that a small p is not the number of draws.

The interval of a column holds every shift of its difference that the same test does not reject: it
leaves out 0 exactly where p is below the level. The other columns are as they were seen meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from pairuni_eval.stats.aggregate import Array, Mask
from pairuni_eval.stats.intervals import Interval
from pairuni_eval.stats.swaps import ENOUGH_AS_LARGE, MOST_DRAWS

_FIRST = 2_000  # rearrangements of a block
_EXACT_UP_TO = 11  # batches: 2,048 flips are listed instead of drawn
_FARTHEST = 1e9  # |t| of a column without spread
_CLOSE = 1e-9  # what rounding makes of equal |t|
_HALVINGS = 26
_FOR_ENDS = 10_000  # rearrangements that the ends of an interval rest on
_REACH = 2.0**12  # standard errors from the difference, farther than which no interval ends


class Tested(NamedTuple):
    """Columns that were tested together.

    Attributes:
        value_K: The difference of each column's means; NaN where it has none.
        p: Of "nothing differs in any column"; None without a column.
        p_K: Of each column, corrected for all of them; NaN where there is no test.
        exact: Whether every rearrangement was listed.
        draws: How many there are.
        interval: Of a column by its number and the level of its test (0.05 for 95 %).
    """

    value_K: Array
    p: float | None
    p_K: Array
    exact: bool
    draws: int
    interval: Callable[[int, float], Interval | None]


class _ColumnStatistics(NamedTuple):
    """Statistics of some rearrangements, as functions of a shift of what was seen.

    Attributes:
        t: Given a column and the shift, its (B,) statistics.
        seen: Given the same, the statistic of what was seen.
        error_K: The standard error of each difference.
    """

    t: Callable[[int, float], Array]
    seen: Callable[[int, float], float]
    error_K: Array


def flip_test(change_NK: Array, *, seed: int) -> Tested:
    """Whether the mean of any column is not 0.

    Args:
        change_NK: Paired differences (or one sample) by batch; NaN where a batch lacks a column.
        seed: Seed of the draws.
    """
    exact = len(change_NK) <= _EXACT_UP_TO
    known = np.isfinite(change_NK)
    wide = np.where(known, change_NK, 0.0)
    count_K = known.sum(axis=0).astype(np.float64)
    squares_K = (wide**2).sum(axis=0)

    def columns(parts: tuple[Array, ...]) -> _ColumnStatistics:
        moved, signs = parts  # (B, K): sums of the flipped differences, and of the signs

        def t(k: int, shift: float) -> Array:
            return _t(moved[:, k] - shift * signs[:, k], _square(k, shift), count_K[k])

        def seen(k: int, shift: float) -> float:
            total = np.array([wide[:, k].sum() - shift * count_K[k]])
            return float(_t(total, _square(k, shift), count_K[k])[0])

        return _ColumnStatistics(t, seen, _errors(wide.sum(axis=0), squares_K, count_K))

    def _square(k: int, shift: float) -> float:
        return float(squares_K[k] - 2 * shift * wide[:, k].sum() + shift**2 * count_K[k])

    def parts() -> Iterator[tuple[Array, ...]]:
        for signs in _flips(len(change_NK), seed):
            yield signs @ wide, signs @ known.astype(np.float64)

    value_K = _means(wide.sum(axis=0), count_K)
    return _tested(value_K, count_K >= 2, parts, columns, exact=exact)


def allotment_test(ours_NK: Array, theirs_MK: Array, *, seed: int) -> Tested:
    """Whether the means of two sides differ in any column, whose batches have nothing in common.

    Args:
        ours_NK: The numbers of our batches; NaN where a batch lacks a column.
        theirs_MK: Those of the other side.
        seed: Seed of the draws.
    """
    pooled = np.concatenate([ours_NK, theirs_MK])
    known = np.isfinite(pooled)
    wide, has = np.where(known, pooled, 0.0), known.astype(np.float64)
    own = np.arange(len(pooled)) < len(ours_NK)
    # What a shift of our side changes: which of those in a side were ours, and their sums.
    was_ours, ours_wide = has * own[:, None], wide * own[:, None]
    layers = np.concatenate([has, wide, wide**2, was_ours, ours_wide], axis=1)
    whole = layers.sum(axis=0)
    seen_first = own.astype(np.float64)[None] @ layers
    size = pooled.shape[1]

    def columns(parts: tuple[Array, ...]) -> _ColumnStatistics:
        (first,) = parts  # (B, 5 K): sums over those that are ours in a rearrangement

        def t(k: int, shift: float) -> Array:
            return _welch(first[:, k::size], whole[k::size], shift)

        def seen(k: int, shift: float) -> float:
            return float(_welch(seen_first[:, k::size], whole[k::size], shift)[0])

        errors = [_welch_error(seen_first[:, k::size], whole[k::size]) for k in range(size)]
        return _ColumnStatistics(t, seen, np.array(errors))

    def parts() -> Iterator[tuple[Array, ...]]:
        for ours in _allotments(len(ours_NK), len(pooled), seed):
            yield (ours @ layers,)

    counts = has[own].sum(axis=0), has[~own].sum(axis=0)
    value_K = _means(wide[own].sum(axis=0), counts[0]) - _means(wide[~own].sum(axis=0), counts[1])
    usable_K = (counts[0] >= 2) & (counts[1] >= 2)
    return _tested(value_K, usable_K, parts, columns, exact=False)


def _tested(
    value_K: Array,
    usable_K: Mask,
    parts: Callable[[], Iterator[tuple[Array, ...]]],
    columns: Callable[[tuple[Array, ...]], _ColumnStatistics],
    *,
    exact: bool,
) -> Tested:
    """Draw until enough are as large, and test every column against the largest of all."""
    used = np.flatnonzero(usable_K).tolist()
    value_K = np.where(usable_K, value_K, np.nan)
    p_K = np.full(len(value_K), np.nan)
    if not used:
        return Tested(value_K, None, p_K, exact, 0, _no_interval)
    blocks: list[tuple[Array, ...]] = []
    highest: list[Array] = []
    as_large = 0
    for block in parts():
        drawn = columns(block)
        most = max(abs(drawn.seen(k, 0.0)) for k in used)
        blocks.append(block)
        highest.append(np.max([np.abs(drawn.t(k, 0.0)) for k in used], axis=0))
        as_large += int((highest[-1] >= most * (1 - _CLOSE)).sum())
        if not exact and as_large >= ENOUGH_AS_LARGE and sum(map(len, highest)) >= _FIRST:
            break
    highest_B = np.concatenate(highest)
    whole = columns(blocks[0])
    for k in used:
        p_K[k] = _share(highest_B, abs(whole.seen(k, 0.0)), exact=exact)

    def interval(k: int, level: float) -> Interval | None:
        return _interval(k, level, made(), value_K, p_K)

    @cache
    def made() -> _IntervalParts:
        few = blocks if exact else blocks[: _FOR_ENDS // _FIRST]
        some = columns(tuple(np.concatenate(part) for part in zip(*few, strict=True)))
        return _IntervalParts(some, used, np.array([np.abs(some.t(k, 0.0)) for k in used]), exact)

    return Tested(value_K, float(np.nanmin(p_K)), p_K, exact, len(highest_B), interval)


def _no_interval(k: int, level: float) -> Interval | None:  # noqa: ARG001 - as `Tested` asks for
    return None


class _IntervalParts(NamedTuple):
    """What intervals are made from: some rearrangements, and |t| (K, B) of the used columns."""

    columns: _ColumnStatistics
    used: list[int]
    size_KB: Array
    exact: bool


def _interval(
    k: int, level: float, made: _IntervalParts, value_K: Array, p_K: Array
) -> Interval | None:
    """The shifts of a column that its test does not reject; None if there is no end to them."""
    if k not in made.used:
        return None
    columns, value = made.columns, float(value_K[k])
    rest_B = np.max(made.size_KB, axis=0, initial=0.0, where=_but(made.used.index(k), made.size_KB))

    def p_of(shift: float) -> float:
        if shift == 0.0:
            return float(p_K[k])  # so that the interval agrees with the test
        drawn = np.maximum(rest_B, np.abs(columns.t(k, shift)))
        return _share(drawn, abs(columns.seen(k, shift)), exact=made.exact)

    step = max(float(columns.error_K[k]), _CLOSE * max(1.0, abs(value)))
    low, high = (_end(p_of, value, way * step, level) for way in (-1, 1))
    return None if low is None or high is None else Interval(low, high)


def _but(place: int, lines: Array) -> Mask:
    """(K, 1): True for every line but one."""
    found: Mask = (np.arange(len(lines)) != place)[:, None]
    return found


def _end(p_of: Callable[[float], float], value: float, step: float, level: float) -> float | None:
    """The farthest shift in one direction that is not rejected; None if none ever is."""
    inside, outside = value, value + 2 * step
    if value * step < 0 and p_of(0.0) >= level:  # 0 lies that way
        inside, outside = 0.0, step
    elif value * step < 0:
        outside = 0.0
    while p_of(outside) >= level:
        inside, outside = outside, value + 2 * (outside - value)
        if abs(outside - value) > _REACH * abs(step) + abs(value):
            return None
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if p_of(middle) >= level else (inside, middle)
    return inside


def _share(highest_B: Array, seen: float, *, exact: bool) -> float:
    """Share of rearrangements that reach what was seen, which is itself one of them."""
    as_large = int((highest_B >= seen * (1 - _CLOSE)).sum())
    return as_large / len(highest_B) if exact else (as_large + 1) / (len(highest_B) + 1)


def _t(total: Array, squares: float, count: float) -> Array:
    """Student's t of sums (B,) whose squares add up to the same in every rearrangement."""
    spread = np.maximum(squares - total**2 / count, 0.0) / (count - 1)
    return _ratio(total / count, np.sqrt(spread / count), squares / count)


def _welch(first: Array, whole: Array, shift: float) -> Array:
    """Welch's t (B,) of count, sum, squares, ours and sum of ours, after our side was shifted."""
    means, variances, squares = [], [], []
    for side in (first, whole - first):
        count, total, square, ours, ours_total = (side[:, n] for n in range(5))
        count = np.maximum(count, 1.0)
        total, square = total - shift * ours, square - 2 * shift * ours_total + shift**2 * ours
        spread = np.maximum(square - total**2 / count, 0.0) / np.maximum(count - 1, 1.0)
        means.append(total / count)
        variances.append(spread / count)
        squares.append(square / count)
    return _ratio(means[0] - means[1], np.sqrt(sum(variances)), np.maximum(*squares))


def _welch_error(first: Array, whole: Array) -> float:
    total = 0.0
    for side in (first, whole - first):
        count, added, squares = (float(side[0, n]) for n in range(3))
        count = max(count, 2.0)
        total += max(squares - added**2 / count, 0.0) / (count - 1) / count
    return float(total**0.5)


def _ratio(difference: Array, error: Array, scale: Array | float) -> Array:
    """Difference by error; one without spread is as far as can be, and none at all is 0."""
    floor = np.sqrt(np.maximum(scale, 0.0)) * 1e-7
    none = np.abs(difference) <= floor * 1e-3
    found: Array = np.where(
        none, 0.0, np.clip(difference / np.maximum(error, floor + 1e-300), -_FARTHEST, _FARTHEST)
    )
    return found


def _errors(total_K: Array, squares_K: Array, count_K: Array) -> Array:
    count = np.maximum(count_K, 2.0)
    spread = np.maximum(squares_K - total_K**2 / count, 0.0) / (count - 1)
    found: Array = np.sqrt(spread / count)
    return found


def _means(total_K: Array, count_K: Array) -> Array:
    found: Array = np.where(count_K > 0, total_K / np.maximum(count_K, 1.0), np.nan)
    return found


def _flips(batches: int, seed: int) -> Iterator[Array]:
    """Blocks (b, N) of signs: all of them where few, else at most `MOST_DRAWS`."""
    if batches <= _EXACT_UP_TO:
        bits = (np.arange(2**batches)[:, None] >> np.arange(batches)) & 1
        yield 1.0 - 2.0 * bits.astype(np.float64)
        return
    generator = np.random.default_rng(seed)
    for _ in range(MOST_DRAWS // _FIRST):
        bits = generator.integers(0, 2, size=(_FIRST, batches))
        yield 1.0 - 2.0 * bits.astype(np.float64)


def _allotments(ours: int, batches: int, seed: int) -> Iterator[Array]:
    """Blocks (b, N + M) of zeros and ones, `ours` ones in each line."""
    generator = np.random.default_rng(seed)
    line = (np.arange(batches) < ours).astype(np.float64)
    for _ in range(MOST_DRAWS // _FIRST):
        yield generator.permuted(np.tile(line, (_FIRST, 1)), axis=1)
