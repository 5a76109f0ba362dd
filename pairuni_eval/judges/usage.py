"""Usage of judges: what was asked, what it cost and what came of it.

A `JudgeCall` belongs to one question, a row of usage to the outputs that were graded together. It
says nothing about when or in which order, so a run that was interrupted has the same account as one
that was not: the row of outputs that were graded again stands in place of their earlier one, and a
reply that several protocols read is paid once. `ask` of a judge gives each reply its call, the
runner collects and stores them, and the report adds them up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import msgspec


class JudgeCall(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one question.

    Attributes:
        key: What the reply is remembered by.
        replied: True if the judge replied, whether that can be used or not.
        paid: True if this run paid for the reply, False if an earlier one did or there is none.
        prompt_tokens: Tokens of the question, None if not told.
        completion_tokens: Tokens of the reply, None if not told.
        cost: Money at the prices of the judge file, None if not known.
        served: The name under which the endpoint answered, None if not told.
        trouble: Why there is no usable reply; empty if there is one.
        open: True if there is no reply yet and asking again may bring one.
        paid_for: Responses this run paid for to get here, those that answered nothing included.
    """

    key: str
    replied: bool = False
    paid: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    served: str | None = None
    trouble: str = ""
    open: bool = False
    paid_for: int = msgspec.field(default=1, name="calls")


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge was asked about outputs that were graded together.

    Attributes:
        protocol: e.g. "wise@official".
        outputs: The ids of the outputs.
        calls: One per question, in order.
        second: True if the judge of the second pass was asked.
    """

    protocol: str
    outputs: tuple[str, ...]
    calls: tuple[JudgeCall, ...] = msgspec.field(name="receipts")
    second: bool = False

    @property
    def open(self) -> bool:
        """Whether a question of it should be asked again."""
        return any(call.open for call in self.calls)

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""
        return self.protocol.rpartition("@")[0]

    @property
    def pass_number(self) -> int:
        """Which pass of the judges it belongs to."""
        return int(self.second)


class Usage(NamedTuple):
    """The account of one judge on one benchmark.

    Attributes:
        questions: Questions put to the judge, over all protocols.
        calls: Responses that this run paid for, in whatever form.
        remembered: Questions answered without a call: asked before in this run, or in an earlier
            one that shares the cache.
        prompt_tokens: Tokens of the paid questions; None if one was not told.
        completion_tokens: Tokens of the paid replies; None if one was not told.
        cost: Money for the paid replies; None if one is not known.
        troubles: Questions without a usable reply by reason, most frequent first.
        open: Questions that the same command would ask again.
        served: Names under which the endpoint answered, sorted.
    """

    questions: int
    calls: int
    remembered: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None
    troubles: tuple[tuple[str, int], ...]
    open: int
    served: tuple[str, ...]


def standing(rows: Iterable[UsageRow]) -> list[UsageRow]:
    """The rows that count: of several for the same outputs the last."""
    last = {(row.second, row.protocol, row.outputs[:1]): row for row in rows}
    return list(last.values())


def total_usage(rows: Iterable[UsageRow]) -> Usage:
    """Add up standing rows."""
    return usage_of(call for row in rows for call in row.calls)


def usage_of(calls: Iterable[JudgeCall]) -> Usage:
    """Add up calls; a reply that several of them read is paid once."""
    calls = list(calls)
    paid = {call.key: call for call in calls if call.paid}
    troubles = Counter(call.trouble for call in calls if call.trouble)
    return Usage(
        questions=len(calls),
        calls=sum(call.paid_for for call in paid.values()),
        remembered=sum(call.replied for call in calls) - len(paid),
        prompt_tokens=count_of(call.prompt_tokens for call in paid.values()),
        completion_tokens=count_of(call.completion_tokens for call in paid.values()),
        cost=sum_of(call.cost for call in paid.values()),
        troubles=tuple(sorted(troubles.items(), key=lambda pair: (-pair[1], pair[0]))),
        open=sum(call.open for call in calls),
        served=tuple(sorted({call.served for call in calls if call.served})),
    )


def sum_of(amounts: Iterable[float | None]) -> float | None:
    """The sum, whatever the order; None if an amount is not known."""
    listed = list(amounts)
    known = [amount for amount in listed if amount is not None]
    return math.fsum(known) if len(known) == len(listed) else None


def count_of(amounts: Iterable[int | None]) -> int | None:
    """`sum_of` for numbers of tokens."""
    total = sum_of(amounts)
    return None if total is None else int(total)
