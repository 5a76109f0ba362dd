"""What stands beside a difference's word, the same on every page and in the terminal.

The interval that belongs to the word, or why there is none; and what else is to be said of the
row: why it was not compared, what missing outputs leave open, what would decide it.
"""

from __future__ import annotations

from pairuni_eval.report.text import interval
from pairuni_eval.stats.difference import Difference


def interval_words(row: Difference) -> str:
    """The interval beside the word: joint, or for a tie that of its own test."""
    if row.beside is not None:
        return interval(row.beside, row.spec)
    if row.by_identity:
        return "no output differs"
    return "no score differs" if row.equal else "no interval"


def remark(row: Difference) -> str:
    """Why nothing can be told and what would decide it, or what a word leaves open; "" for none."""
    if row.reason is not None:
        return row.reason
    deciding = row.deciding.sentence if row.deciding else None
    return "; ".join(filter(None, (row.left_open, row.why, deciding)))
