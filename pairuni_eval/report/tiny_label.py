"""The label "tiny": for numbers of the tiny world, and of the tiny weights anywhere.

A tiny number never stands without the word tiny beside it, and never in one column with anybody
else's.
"""

from __future__ import annotations

import re

from pairuni_eval.cards import Card
from pairuni_eval.records import RunCard
from pairuni_eval.shipped import SHIPPED

# "pairuni-tiny-1" for the shipped weights; "grpo on tiny, seed 3" for what was trained from them
_TINY_RECIPE = re.compile(r"pairuni-tiny\b|.* on tiny\b")


def is_tiny(card: Card, run: RunCard) -> bool:
    """Whether a run's numbers on a benchmark are tiny."""
    named = run.name in SHIPPED or run.checkpoint.name in SHIPPED
    trained = _TINY_RECIPE.match(run.checkpoint.recipe or "") is not None
    return card.tiny or named or trained
