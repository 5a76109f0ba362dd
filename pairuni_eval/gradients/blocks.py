"""Blocks of parameters that one test speaks of together: each with its mean, interval and p value.

The first block is all shared parameters together, then come their parts. One test covers them all
(`permutation`), and several such tests are corrected by Holm (`multiple`); the p value of a block
is corrected for both, and its interval belongs to it: it leaves out 0 exactly where p < .05.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pairuni_eval.gradients.interference import BatchStatistic, shown
from pairuni_eval.gradients.rows import ALL
from pairuni_eval.stats.multiple import ALPHA, Step
from pairuni_eval.stats.permutation import Tested

_NAMED = 3  # blocks that a sentence names


class BlockCosine(NamedTuple):
    """A mean over batches in one block.

    Attributes:
        mean: With the joint interval.
        p: Corrected over the blocks, and over the tests made together.
        batches: Batches that have a cosine here.
    """

    block: str
    mean: BatchStatistic
    p: float | None
    batches: int

    @property
    def sign(self) -> int:
        """1 above 0 for certain, -1 below, 0 if it cannot be told."""
        if self.p is None or self.p >= ALPHA or self.mean.value is None:
            return 0
        return 1 if self.mean.value > 0 else -1


def block_means(
    tested: Tested, names: Sequence[str], batches: Sequence[int], step: Step | None
) -> tuple[BlockCosine, ...]:
    """Every block as the test and the correction leave it.

    Args:
        tested: A column for each block.
        names: The blocks.
        batches: Of each block.
        step: What Holm made of the test's p value; None where there is no test.
    """
    return tuple(
        BlockCosine(name, *_number(tested, place, step), count)
        for place, (name, count) in enumerate(zip(names, batches, strict=True))
    )


def _number(tested: Tested, place: int, step: Step | None) -> tuple[BatchStatistic, float | None]:
    value, p = float(tested.value_K[place]), float(tested.p_K[place])
    if not np.isfinite(value) or not np.isfinite(p) or step is None:
        return BatchStatistic(None, None, "fewer than two batches have a cosine"), None
    interval = tested.interval(place, ALPHA / step.times)
    note = None if interval else "so few batches leave no interval"
    return BatchStatistic(value, interval, note), min(1.0, p * step.times)


def signs(blocks: Sequence[BlockCosine]) -> set[int]:
    """Which signs some block has for certain."""
    return {one.sign for one in blocks} - {0}


def overall(blocks: Sequence[BlockCosine]) -> BatchStatistic:
    """The number of all shared parameters together."""
    found = next((one.mean for one in blocks if one.block == ALL), None)
    return found or BatchStatistic(None, None, "no batch has gradients of both tasks")


def counted(blocks: Sequence[BlockCosine], batches: int) -> str:
    """What the test covers, e.g. "one test of all shared parameters and 8 blocks in 24 batches"."""
    parts = sum(one.block != ALL and one.p is not None for one in blocks)
    what = (
        f"one test of all shared parameters and {parts} block{'s' * (parts != 1)}"
        if parts
        else "one test"
    )
    return f"{what} in {batches} batch{'es' * (batches != 1)}"


def clearest(blocks: Sequence[BlockCosine], sign: str = "") -> str:
    """The parts that can be told, e.g. "norm +0.120 [0.040, 0.200]"; "" if none can."""
    sure = [one for one in blocks if one.sign and one.block != ALL]
    sure.sort(key=lambda one: one.p or 0.0)
    named = [f"{one.block.replace('_', ' ')} {shown(one.mean, sign)}" for one in sure[:_NAMED]]
    more = [f"{len(sure) - _NAMED} more"] if len(sure) > _NAMED else []
    return ", ".join(named + more)
