"""The most frequent reasons why outputs have no value under a protocol.

A reason is what our own code, an endpoint or the operating system said; what a model said is none,
so that a reply of a judge that nobody could read counts as just that. Reasons that differ in an id,
a path or a long number alone are one, and stand as the first of them was worded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from pairuni_eval.records import UNREADABLE_REPLY, Status
from pairuni_eval.stats.tables import Tables

MOST = 3
_BLANKS = re.compile(r"\s+")
# What tells rows apart: paths and file names, ids of at least six signs with a digit, numbers of at
# least four digits. "HTTP 400" and "HTTP 500" stay two reasons.
_PARTICULAR = re.compile(
    r"\S*[/\\]\S*|\S+\.(?:png|jpe?g|webp|gif|bmp|tiff?)\b|\b(?=\w*\d)\w{6,}\b|\d{4,}",
    re.IGNORECASE,
)


class Reason(NamedTuple):
    """A reason and how many outputs have no value for it."""

    status: str
    words: str
    outputs: int


def reasons(tables: Tables, benchmark: str, protocol: str) -> tuple[Reason, ...]:
    """The most frequent reasons for which outputs have no value, at most `MOST` of them.

    An unparsed answer has one where the protocol counts it as wrong.
    """
    rule = tables.spec(benchmark, protocol)
    frame = tables.joined(benchmark, protocol, rule.metric(rule.headline).of)
    lacking = frame[frame["value"].isna() & (frame["status"] != str(Status.SCORED))]
    found: dict[tuple[str, str], Reason] = {}
    for status, words in _worded(lacking):
        key = (status, _PARTICULAR.sub("", words))
        former = found.get(key, Reason(status, words, 0))
        found[key] = former._replace(outputs=former.outputs + 1)
    ordered = sorted(found.values(), key=lambda one: (-one.outputs, one.status, one.words))
    return tuple(ordered[:MOST])


def _worded(frame: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Status and reason of each row."""
    own = frame["skipped"].fillna(frame["error"]).fillna(frame["verdict"]).fillna("")
    for status, words in zip(frame["status"], own, strict=True):
        yield str(status), _reason(str(status), _BLANKS.sub(" ", str(words)).strip())


def _reason(status: str, words: str) -> str:
    if status == Status.REFUSED:
        return "declined to answer"
    if words.startswith(UNREADABLE_REPLY):
        return UNREADABLE_REPLY
    return words or "no reason was stored"
