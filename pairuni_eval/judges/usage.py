"""What was asked of a judge, what it cost and what came of it.

A receipt belongs to one question, a bill to the outputs that were graded together. A bill says
nothing about when or in which order, so a run that was interrupted has the same account as one that
was not: the bill of outputs that were graded again stands in place of their earlier one, and a
reply that several protocols read is paid once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import msgspec


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
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
        calls: What this run paid for to get here, replies that answered nothing included.
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
    calls: int = 1


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """The receipts of outputs that were graded together.

    Attributes:
        protocol: e.g. "wise@official".
        outputs: The ids of the outputs.
        receipts: One per question, in order.
        second: True if the second judge was asked.
    """

    protocol: str
    outputs: tuple[str, ...]
    receipts: tuple[Receipt, ...]
    second: bool = False

    @property
    def open(self) -> bool:
        """Whether a question of it should be asked again."""
        return any(receipt.open for receipt in self.receipts)


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


def standing(bills: Iterable[Bill]) -> list[Bill]:
    """The bills that count: of several for the same outputs the last."""
    last = {(bill.second, bill.protocol, bill.outputs[:1]): bill for bill in bills}
    return list(last.values())


def tally(bills: Iterable[Bill]) -> Usage:
    """Add up standing bills."""
    receipts = [receipt for bill in bills for receipt in bill.receipts]
    paid = {receipt.key: receipt for receipt in receipts if receipt.paid}
    troubles = Counter(receipt.trouble for receipt in receipts if receipt.trouble)
    return Usage(
        questions=len(receipts),
        calls=sum(receipt.calls for receipt in paid.values()),
        remembered=sum(receipt.replied for receipt in receipts) - len(paid),
        prompt_tokens=count_of(r.prompt_tokens for r in paid.values()),
        completion_tokens=count_of(r.completion_tokens for r in paid.values()),
        cost=sum_of(r.cost for r in paid.values()),
        troubles=tuple(sorted(troubles.items(), key=lambda pair: (-pair[1], pair[0]))),
        open=sum(receipt.open for receipt in receipts),
        served=tuple(sorted({r.served for r in receipts if r.served})),
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
