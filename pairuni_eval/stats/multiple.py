"""Holm's correction for several tests at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ALPHA = 0.05


class Multiplicity(NamedTuple):
    """Everything that was tested together.

    Attributes:
        tests: Tests that were made.
        families: How many families they are corrected in.
        expected_false: If nothing differed: the chance of a false word, at most, summed over what
            is protected by itself (the headlines of a page, and all that stands under them).
        sentence: The same in words.
    """

    tests: int
    families: int
    expected_false: float
    sentence: str


NO_TESTS = Multiplicity(0, 0, 0.0, "Nothing was tested.")


class Step(NamedTuple):
    """What Holm's correction makes of one of several tests.

    Attributes:
        p: The corrected p value.
        times: How many tests it is one of where it is decided: those not rejected before it; for
            one that is not rejected, those left where the correction stops.
    """

    p: float
    times: int


def holm_steps(p: Sequence[float]) -> tuple[Step, ...]:
    """Holm's step-down correction (1979), in the order given.

    The i-th smallest of m is multiplied by m - i + 1; the result never falls and never exceeds 1.
    """
    order = np.argsort(np.asarray(p, dtype=np.float64), kind="stable")
    found: dict[int, Step] = {}
    highest, times = 0.0, len(p)
    for rank, place in enumerate(order.tolist()):
        before, highest = highest, max(highest, min(1.0, (len(p) - rank) * p[place]))
        if before < ALPHA:  # everything before was rejected
            times = len(p) - rank
        found[place] = Step(float(highest), times)
    return tuple(found[place] for place in range(len(p)))


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """The corrected p values of `holm_steps`."""
    return tuple(step.p for step in holm_steps(p))


def steps_where_known(p: Sequence[float | None]) -> tuple[Step | None, ...]:
    """As `holm_steps`, over the p values that exist; None stays None."""
    known = iter(holm_steps([value for value in p if value is not None]))
    return tuple(None if value is None else next(known) for value in p)
