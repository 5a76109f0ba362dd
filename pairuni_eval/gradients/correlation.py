"""The correlation across arms of how far gradients agree with the score, with all its doubt.

Across arms (recipes, pair sets) the median cosine of each is set against its score on a benchmark.
Arms are few, so the interval by Fisher's z (1921) is wide, and fewer than four arms have none at
all. A correlation over arms that were chosen, not drawn, shows that the two go together at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pairuni_eval.stats.intervals import Interval, t_tail

ENOUGH_ARMS = 4
_Z = 1.959963984540054  # the 97.5 % point of the normal distribution


class ArmPoint(NamedTuple):
    """An arm: its median cosine and its score."""

    name: str
    cosine: float
    score: float


class Correlation(NamedTuple):
    """How far cosine and score go together.

    Attributes:
        value: Pearson's r; None where there is none.
        interval: 95 % interval by Fisher's z; None where all arms lie on one line.
        p: Two-sided p of "no correlation", t on n - 2 degrees of freedom.
        arms: The arms it rests on.
        reason: Why there is no number.
    """

    value: float | None
    interval: Interval | None
    p: float | None
    arms: tuple[ArmPoint, ...]
    reason: str | None = None

    @property
    def sentence(self) -> str:
        """E.g. "Over 6 arms cosine and score correlate by 0.71 [-0.24, 0.97]."."""
        if self.value is None:
            return f"Cosine and score are not correlated here: {self.reason}."
        held = ""
        if self.interval is not None:
            held = f" [{self.interval.low:.2f}, {self.interval.high:.2f}]"
        return f"Over {len(self.arms)} arms cosine and score correlate by {self.value:.2f}{held}."


def correlate(points: Sequence[ArmPoint]) -> Correlation:
    """Pearson's r between median cosine and score; arms that lack either are left out."""
    arms = tuple(one for one in points if np.isfinite(one.cosine) and np.isfinite(one.score))
    cosine, score = (np.array([one[n] for one in arms], dtype=np.float64) for n in (1, 2))
    reason = _reason(len(arms), cosine, score)
    if reason is not None:
        return Correlation(None, None, None, arms, reason)
    value = float(np.clip(np.corrcoef(cosine, score)[0, 1], -1.0, 1.0))
    if 1 - abs(value) < 1e-12:
        return Correlation(value, None, None, arms)
    half = _Z / (len(arms) - 3) ** 0.5
    low, high = np.tanh(np.arctanh(value) + np.array([-half, half])).tolist()
    point = abs(value) * ((len(arms) - 2) / (1 - value**2)) ** 0.5
    return Correlation(value, Interval(low, high), 2 * t_tail(point, len(arms) - 2), arms)


def _reason(arms: int, *columns: np.ndarray) -> str | None:
    if arms < ENOUGH_ARMS:
        had = "there is one" if arms == 1 else f"there are {arms or 'none'}"
        return f"it needs at least {ENOUGH_ARMS} arms, and {had}"
    for name, column in zip(("cosine", "score"), columns, strict=True):
        if np.ptp(column) == 0:
            return f"all {arms} arms have the same {name}"
    return None
