"""Two scenarios of the gradient probe whose batches share no row: no batch of one meets another.

As `contrast`, but the batches of both sides are allotted to either side anew (which of the N + M
belong to whom), in all blocks at once, and the statistic is Welch's.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pairuni_eval.gradients.contrast import Contrast, LeftOut, Weighed, not_compared
from pairuni_eval.gradients.interference import BatchStatistic, cosine_matrix
from pairuni_eval.seeds import seed_for
from pairuni_eval.stats.permutation import allotment_test


def unpaired_contrast(
    table: pd.DataFrame, ours: str, theirs: str, *, preconditioned: bool = False, seed: int = 0
) -> Weighed:
    """One scenario against another, before correction; its `batches` are of the side with fewer.

    Args:
        table: Of `gradient_rows`.
        ours: The scenario in question.
        theirs: The other one.
        preconditioned: Which gradients.
        seed: Seed of the draws.
    """
    names = (ours, theirs)
    one, two = (cosine_matrix(table, name, preconditioned=preconditioned) for name in names)
    blocks = [name for name in one.columns if name in set(two.columns)]
    sides = [side[blocks].to_numpy(dtype=np.float64) for side in (one, two)]
    sides = [side[np.isfinite(side).any(axis=1)] for side in sides]
    left = LeftOut(silent=len(one) + len(two) - sum(map(len, sides)))
    fewest = min(map(len, sides))
    if fewest < 2:
        short = names[min((0, 1), key=lambda n: len(sides[n]))]
        reason = f"{short} has {fewest or 'no'} batch{'es' * (fewest != 1)} with a cosine"
        return not_compared(ours, theirs, preconditioned, fewest, left, reason)
    address = seed_for(seed, f"{ours}/{theirs}", 0, "permutation")
    tested = allotment_test(*sides, seed=address)
    counts = np.min([np.isfinite(side).sum(axis=0) for side in sides], axis=0).tolist()
    contrast = Contrast(
        ours, theirs, preconditioned, BatchStatistic(None), tested.p, None, fewest, left_out=left
    )
    return Weighed(contrast, tuple(map(str, blocks)), tuple(counts), tested)
