"""One run under two names of a page: refused, for every test of it would be counted twice.

A copy is known by what it holds, wherever it lies: the same weights whose outputs and scores are
the same. The same weights measured otherwise are no copy. Nor is a baseline that is the reported
run itself: that comparison is made, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from pairuni_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from pairuni_eval.store.read import StoredRun

_OUTPUT = ["id", "parts", "error", "skipped"]
_SCORE = ["output", "protocol", "metric", "status", "value"]


def checked_names(sides: Mapping[str, Sequence[StoredRun]]) -> None:
    """Refuse two sides that are the same runs.

    Args:
        sides: The runs of every other side, by the name that is printed.

    Raises:
        UserError: if the runs of one side are copies of those of another.
    """
    for (name, runs), (other, others) in combinations(sides.items(), 2):
        if len(runs) == len(others) and all(any(_same(one, two) for two in others) for one in runs):
            weights = runs[0].card.checkpoint.weights[:12]
            raise UserError(
                f"{other} is {name} under another name: the same outputs of the same weights "
                f"({weights}). Every test of it would be counted twice.",
                hint=f"Give it once: leave out --baseline {other}=...",
            )


def _same(one: StoredRun, two: StoredRun) -> bool:
    if one.card.checkpoint.weights != two.card.checkpoint.weights:
        return False
    if one.card.benchmarks.keys() != two.card.benchmarks.keys():
        return False
    said = _sorted(one.outputs, _OUTPUT).equals(_sorted(two.outputs, _OUTPUT))
    return said and _sorted(one.scores, _SCORE).equals(_sorted(two.scores, _SCORE))


def _sorted(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """These columns in an order that does not rest on the order of the rows."""
    content = table[list(columns)]
    return content.sort_values(list(columns[:3])).reset_index(drop=True)
