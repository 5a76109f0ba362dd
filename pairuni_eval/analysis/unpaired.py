"""Two scenarios of the gradient probe whose batches share no row: no batch of one meets another.

Shapes: N and M batches, B draws.

As `contrast`, but each side's batches are drawn by themselves, and the p value is a permutation of
the batches between the two: which of the N + M belong to whom is drawn 2,000 times. The statistic
is the difference of the means, what is printed that of the medians.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pairuni_eval.analysis.aggregate import Array
from pairuni_eval.analysis.contrast import Contrast
from pairuni_eval.analysis.gradient_rows import ALL
from pairuni_eval.analysis.interference import (
    Summary,
    combined,
    cosines,
    draws_of,
    median,
    summary,
)
from pairuni_eval.analysis.intervals import DRAWS
from pairuni_eval.seeds import seed_for


def unpaired_contrast(
    table: pd.DataFrame,
    ours: str,
    theirs: str,
    *,
    block: str = ALL,
    preconditioned: bool = False,
    seed: int = 0,
) -> Contrast:
    """One scenario against another; its `batches` are those of the side that has fewer.

    Args:
        table: Of `gradient_rows`.
        ours: The scenario in question.
        theirs: The other one.
        block: Which block.
        preconditioned: Which gradients.
        seed: Seed of the draws.
    """
    names = (ours, theirs)
    sides = [cosines(table, name, block, preconditioned)["cosine"] for name in names]
    fewest = min(len(side) for side in sides)
    if fewest < 2:
        short = names[min((0, 1), key=lambda n: len(sides[n]))]
        reason = f"{short} has {fewest or 'no'} batch{'es' * (fewest != 1)} with a cosine"
        nothing = Summary(None, None, reason)
        return Contrast(*names, block, preconditioned, nothing, None, None, fewest, reason)
    drawn = [
        median(side, draws_of(len(side), seed_for(seed, f"{name}/{block}", 0, "bootstrap")))
        for name, side in zip(names, sides, strict=True)
    ]
    address = seed_for(seed, f"{ours}/{theirs}/{block}", 0, "permutation")
    p = permutation_p(*(side.to_numpy() for side in sides), seed=address)
    difference = summary(combined(np.subtract, *drawn))
    return Contrast(*names, block, preconditioned, difference, p, None, fewest)


def permutation_p(ours: Array, theirs: Array, *, seed: int) -> float:
    """Share of allotments (N and M) whose means lie at least as far apart as the ones seen."""
    pooled = np.concatenate([ours, theirs])
    lines = np.random.default_rng(seed).permuted(np.tile(pooled, (DRAWS, 1)), axis=1)
    apart = lines[:, : len(ours)].mean(axis=1) - lines[:, len(ours) :].mean(axis=1)
    seen = abs(float(ours.mean() - theirs.mean()))
    return (int((np.abs(apart) >= seen - 1e-12).sum()) + 1) / (DRAWS + 1)
