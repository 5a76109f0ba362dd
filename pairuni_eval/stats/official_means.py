"""Two means that official scripts take in a way of their own, as aggregates for cards.

Shapes: N rows, G groups, B blocks.

`BlockMean` is HPSv2's: the mean of the means of consecutive blocks of rows that have a value, which
differs from the plain mean where the last block is short. Blocks are those of the estimate in every
bootstrap draw. `RoundedMacroMean` is ImgEdit's: every group's mean is rounded, to the metric's
`decimals`, before the mean over groups is taken.
A card names them "pairuni_eval.stats.official_means:BlockMean".
"""

from __future__ import annotations

import numpy as np

from pairuni_eval.scorers.preference import BLOCK
from pairuni_eval.stats.aggregate import (
    Aggregate,
    Array,
    Bounds,
    GradedRows,
    Mask,
    membership,
    ratio,
    value_range,
)


class BlockMean(Aggregate):
    """Mean of block means; see the module docstring."""

    def features(self, rows: GradedRows) -> Array:
        """(N, 2B): value and count, in the columns of the row's block."""
        has = np.flatnonzero(np.isfinite(rows.value))
        block = np.arange(len(has)) // BLOCK
        sums = np.zeros((len(rows.value), 2 * (-(-len(has) // BLOCK))))
        sums[has, 2 * block] = rows.value[has]
        sums[has, 2 * block + 1] = 1.0
        return sums

    def finish(self, sums: Array) -> Array:
        """See `Aggregate.finish`."""
        return _mean_of_ratios(sums, None)


class RoundedMacroMean(Aggregate):
    """Mean of rounded group means; see the module docstring."""

    def features(self, rows: GradedRows) -> Array:
        """(N, 2G): value and count, in the columns of the row's groups."""
        has = np.isfinite(rows.value)[:, None] & membership(rows, self.spec.by or "", self.groups)
        value = np.where(has, np.nan_to_num(rows.value)[:, None], 0.0)
        return np.stack([value, has.astype(np.float64)], axis=2).reshape(len(rows.value), -1)

    def finish(self, sums: Array) -> Array:
        """See `Aggregate.finish`."""
        return _mean_of_ratios(sums, self.spec.decimals)

    def bounds(self, rows: GradedRows) -> Bounds | None:
        """See `Aggregate.bounds`; rounding leaves the ends of the range where they are."""
        return value_range(rows, self.spec)

    def parts(self, sums: Array) -> Array:
        """(..., G): the group means before they are rounded."""
        return ratio(sums[..., 0::2], sums[..., 1::2])

    def part_weights(self) -> Array:
        """Every group counts alike."""
        return np.full(len(self.groups), 1 / max(1, len(self.groups)))

    def part_members(self, rows: GradedRows) -> Mask:
        """See `Aggregate.part_members`."""
        return membership(rows, self.spec.by or "", self.groups)


def _mean_of_ratios(sums: Array, decimals: int | None) -> Array:
    """Mean over the parts that are there of pairs (sum, count) (..., 2K), each rounded first."""
    if sums.shape[-1] == 0:
        return np.full(sums.shape[:-1], np.nan)
    mean = ratio(sums[..., 0::2], sums[..., 1::2])
    if decimals is not None:
        mean = _rounded(mean, decimals)
    there = np.isfinite(mean)
    return ratio(np.where(there, mean, 0.0).sum(-1), there.sum(-1).astype(np.float64))


def _rounded(values: Array, decimals: int) -> Array:
    """Rounded as Python does, by the decimal that is nearest to the binary number.

    Numpy scales first, which decides otherwise where a number is all but half way.
    """
    scaled = values * 10.0**decimals
    half_way = np.abs(scaled - np.floor(scaled) - 0.5) < 1e-6
    rounded: Array = np.round(values, decimals)
    rounded[half_way] = [round(value, decimals) for value in values[half_way].tolist()]
    return rounded
