"""What some rounds of a bench say: a median, with the quartiles that it lies between."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """The median of some rounds and their quartiles; of one round all three are that round."""

    low: float
    median: float
    high: float

    def words(self, form: str) -> str:
        """E.g. "2.53 (2.48 to 2.61)", each number in this form."""
        low, median, high = (format(one, form) for one in self)
        return f"{median} ({low} to {high})"


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


def ratios(peer: Sequence[float], ours: Sequence[float]) -> list[float]:
    """How many times as long the peer took, round by round: the two took turns."""
    return [theirs / mine for theirs, mine in zip(peer, ours, strict=True)]
