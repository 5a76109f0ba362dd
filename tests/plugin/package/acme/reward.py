"""A reward of brevity: 1 for an answer of one word, 1/2 for two; it declines what is not text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pairuni_train.grpo.rewards import Judged, Reward


class Brevity(Reward):
    """See the module docstring."""

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        """Count the words."""
        return [_worth(judged.reply.text) for judged in batch]


def _worth(text: str | None) -> float:
    if text is None:
        return math.nan
    return 1 / max(1, len(text.split()))
