"""Tasks of lmms-eval whose rules were read: `known_tasks.toml`, said on their cards.

lmms-eval's files say how a task is run and not what its number is: which of two published rules
reads the answer, and whether a judge does. For the tasks of the suite `understanding-wide` that is
written down, and with it how a row's result, which for half of them is a table of its parts,
becomes one number, so that they too have a mean with an interval and are compared row by row. Any
other task is run all the same, with what its file says.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pairuni_eval.config import Strict, as_record, read_table

_FILE = Path(__file__).with_name("known_tasks.toml")


class KnownTask(Strict, frozen=True, kw_only=True):
    """What a card says of a task beyond lmms-eval's file.

    Attributes:
        title: Its usual name.
        summary: What it asks.
        protocol: How an answer is read and counted, and where that departs from the official rule.
        row_metric: The metric of the task that says whether a row is right.
        row_field: Of the row's result, the field that says so; none for a number.
        row_alone: The task's own figure of a right row alone, where its rule for a row stands only
            in what makes the figure of all; none where the row's result says it.
        judge: Whether the task's own code asks a judge over the network.
    """

    title: str
    summary: str
    protocol: str
    row_metric: str
    row_field: str | None = None
    row_alone: float | None = None
    judge: bool = False


@cache
def known_tasks() -> dict[str, KnownTask]:
    """All of them by name."""
    return {name: as_record(one, KnownTask, _FILE) for name, one in read_table(_FILE).items()}
