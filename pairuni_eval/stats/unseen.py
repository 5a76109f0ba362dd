"""Exact bounds of how much may differ that was not seen to differ.

Shapes: C units.

Where none of C independent units shows something, more than a share 1 - alpha^(1/C) of all units
can show it only with a chance below alpha: the exact binomial bound (Clopper and Pearson 1934),
near 3 / C for alpha = .05. Where units weigh differently, the worst that is still possible puts the
chance on the heavy ones: the largest sum of h_c theta_c under sum of ln(1 - theta_c) >= ln(alpha),
which 1 - theta_c = min(1, lambda / h_c) solves.
"""

from __future__ import annotations

import numpy as np

from pairuni_eval.stats.aggregate import Array


def unseen_share(units: float, alpha: float) -> float:
    """The largest share of units that may show what none of `units` showed."""
    return float(-np.expm1(np.log(alpha) / units))


def unseen_sum(swings: Array, alpha: float) -> float:
    """The most that unseen changes may add up to.

    Args:
        swings: (C,) how far each unit alone can move the number; never negative.
        alpha: The chance of seeing nothing that is still possible.

    Returns:
        From 0 to the sum of the swings; for C equal ones their sum times `unseen_share`.
    """
    heavy = np.sort(swings[swings > 0])[::-1]
    if len(heavy) == 0:
        return 0.0
    logs = np.cumsum(np.log(heavy)) + np.log(alpha)
    level = np.exp(logs / np.arange(1, len(heavy) + 1))  # lambda if the k heaviest may change
    count = int(np.sum(heavy > level))  # true for the first ones, then false
    return float((heavy[:count] - level[count - 1]).sum())
