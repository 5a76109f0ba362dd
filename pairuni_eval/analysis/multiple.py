"""Several tests at once: how small a p value must be before it counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down correction (1979), in the order given.

    The i-th smallest of m is multiplied by m - i + 1; the result never falls and never exceeds 1.
    """
    order = np.argsort(np.asarray(p, dtype=np.float64), kind="stable")
    corrected = np.empty(len(p))
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = highest
    return tuple(float(value) for value in corrected)


def holm_where_known(p: Sequence[float | None]) -> tuple[float | None, ...]:
    """As `holm`, over the p values that exist; None stays None."""
    known = iter(holm([value for value in p if value is not None]))
    return tuple(None if value is None else next(known) for value in p)
