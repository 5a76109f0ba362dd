"""The alignment of the two tasks' gradients in a scenario: one test over all blocks and batches.

If they neither agree nor fight, a batch's cosines are as likely to have the other sign, in all
blocks at once. So every batch's sign is kept or flipped (`permutation.flip_test`), and the largest
|t| over the blocks is compared. Several scenarios are corrected together by Holm.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.gradients.blocks import (
    BlockCosine,
    block_means,
    clearest,
    counted,
    overall,
    signs,
)
from pairuni_eval.gradients.interference import ENOUGH_BATCHES, cosine_matrix, shown
from pairuni_eval.seeds import seed_for
from pairuni_eval.stats.multiple import steps_where_known
from pairuni_eval.stats.permutation import Tested, flip_test
from pairuni_eval.stats.verdict import p_words


class Stance(StrEnum):
    """What may be said about the two tasks' gradients."""

    AGREE = "agree"
    FIGHT = "fight"
    MIXED = "agree in some blocks and fight in others"
    CANNOT_TELL = "cannot tell"
    TOO_FEW = "too few batches"


class Alignment(NamedTuple):
    """One scenario.

    Attributes:
        p: Of "neither in any block", corrected over the scenarios; None where no test was made.
        batches: Batches with a cosine in some block.
        silent: Batches in which a task had no gradient at all; they are left out.
        blocks: The mean cosine of each block, all shared parameters first.
    """

    scenario: str
    p: float | None
    batches: int
    silent: int
    blocks: tuple[BlockCosine, ...]

    @property
    def stance(self) -> Stance:
        """What may be said."""
        found = signs(self.blocks)
        if not found:
            return Stance.CANNOT_TELL if self.batches >= ENOUGH_BATCHES else Stance.TOO_FEW
        if len(found) == 2:
            return Stance.MIXED
        return Stance.AGREE if found == {1} else Stance.FIGHT

    @property
    def sentence(self) -> str:
        """E.g. "pairuni: mean cosine 0.021 [0.011, 0.034] over all shared parameters, p = ..."."""
        if self.p is None:
            return f"{self.scenario}: not tested, {self._lacking}{self._left_out}."
        parts = clearest(self.blocks, "+")
        where = f"; by block {parts}" if parts else ""
        return (
            f"{self.scenario}: mean cosine {shown(overall(self.blocks))} over all shared "
            f"parameters, {p_words(self.p)} ({counted(self.blocks, self.batches)}){where}"
            f"{self._left_out}."
        )

    @property
    def _lacking(self) -> str:
        if self.batches == 0:
            return "no batch has gradients of both tasks"
        return f"{self.batches} of its batches has gradients of both tasks"

    @property
    def _left_out(self) -> str:
        if not self.silent:
            return ""
        return f"; left out: {self.silent} in which a task had no gradient"


def alignments(
    table: pd.DataFrame, *, preconditioned: bool = False, seed: int = 0
) -> tuple[Alignment, ...]:
    """Every scenario, in the order of the rows.

    Args:
        table: Of `gradient_table`; the batches of several runs of a scenario are taken together.
        preconditioned: Which gradients.
        seed: Seed of the draws.
    """
    mine = table[table["preconditioned"] == preconditioned]
    names = [str(name) for name in mine["scenario"].drop_duplicates()]
    wide = [cosine_matrix(table, name, preconditioned=preconditioned) for name in names]
    tested = [_tested(one, name, seed) for one, name in zip(wide, names, strict=True)]
    steps = steps_where_known([one.p for one in tested])
    found = []
    for name, cosines, test, step in zip(names, wide, tested, steps, strict=True):
        known = np.isfinite(cosines.to_numpy())
        used = int(known.any(axis=1).sum())
        counts = known.sum(axis=0).tolist()
        blocks = block_means(test, [str(one) for one in cosines.columns], counts, step)
        p = None if step is None else step.p
        found.append(Alignment(name, p, used, len(cosines) - used, blocks))
    return tuple(found)


def _tested(cosines: pd.DataFrame, name: str, seed: int) -> Tested:
    found = cosines.to_numpy(dtype=np.float64)
    used = found[np.isfinite(found).any(axis=1)]
    return flip_test(used, seed=seed_for(seed, name, 0, "flips"))
