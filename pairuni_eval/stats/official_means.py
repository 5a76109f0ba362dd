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

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import MEAN, Aggregate, Array, GradedRows, Grouped, ratio

BLOCK = 80  # images of a style that HPSv2 takes together


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
        if sums.shape[-1] == 0:
            return np.full(sums.shape[:-1], np.nan)
        return _mean_of_known(ratio(sums[..., 0::2], sums[..., 1::2]))


class RoundedMacroMean(Grouped):
    """Mean of rounded group means; see the module docstring."""

    def __init__(self, spec: MetricSpec, groups: tuple[str, ...]) -> None:
        super().__init__(MEAN, spec, groups)
        self.is_ratio = False

    def finish(self, sums: Array) -> Array:
        """See `Aggregate.finish`."""
        if not self.groups:
            return np.full(sums.shape[:-1], np.nan)
        return _mean_of_known(_rounded(self.parts(sums), self.spec.decimals))


def _mean_of_known(numbers: Array) -> Array:
    """(...): the mean of those numbers (..., K) that are there."""
    there = np.isfinite(numbers)
    return ratio(np.where(there, numbers, 0.0).sum(-1), there.sum(-1).astype(np.float64))


def _rounded(values: Array, decimals: int) -> Array:
    """Rounded as Python does, by the decimal that is nearest to the binary number.

    Numpy scales first, which decides otherwise where a number is all but half way.
    """
    scaled = values * 10.0**decimals
    half_way = np.abs(scaled - np.floor(scaled) - 0.5) < 1e-6
    rounded: Array = np.round(values, decimals)
    rounded[half_way] = [round(value, decimals) for value in values[half_way].tolist()]
    return rounded
