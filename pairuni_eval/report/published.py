"""Printed figures of others, and how far the rule they rest on is one of the run's.

A card words the protocol of a figure "NAME (remark), JUDGE; reservation": all but the name may be
absent, a remark only explains, and a reservation says what is not known or done otherwise. Any
other wording, such as "not stated", names no protocol.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from pairuni_eval.cards import Card, MetricSpec, Published
from pairuni_eval.stats.tables import bare

_NOT_STATED = "not stated"
_WORDING = re.compile(r"([\w.@:-]+)(?: \([^)]*\))?(?:, (?P<judge>[^;]+))?(?P<reservation>; .+)?")


class ProtocolMatch(StrEnum):
    """How far the protocol of a printed figure is one of the run's."""

    WHOLE = "protocol matches"
    IN_PART = "protocol matches in part"
    OTHER_JUDGE = "judge differs"
    NONE = "protocol differs"
    UNKNOWN = "protocol not stated"


class PublishedRow(NamedTuple):
    """A printed figure, what it measures in the card's words, and its badge."""

    figure: Published
    title: str
    match: ProtocolMatch


def published_rows(
    card: Card, protocols: Sequence[str], judges: Collection[str]
) -> tuple[PublishedRow, ...]:
    """The figures of a card beside a run.

    Args:
        card: The benchmark's card.
        protocols: Those of the run, by their names in the card.
        judges: The judges that the run's scores name.
    """
    return tuple(_row(card, figure, protocols, judges) for figure in card.published)


def _row(
    card: Card, figure: Published, protocols: Sequence[str], judges: Collection[str]
) -> PublishedRow:
    title = next((spec.title for spec in _specs(card) if spec.name == figure.metric), None)
    found = match(figure.protocol, protocols, judges)
    return PublishedRow(figure, title or figure.metric, found)


def _specs(card: Card) -> Iterator[MetricSpec]:
    return (spec for rule in card.protocols.values() for spec in rule.metrics)


def match(stated: str, protocols: Collection[str], judges: Collection[str]) -> ProtocolMatch:
    """The badge of a figure.

    Args:
        stated: The protocol of the figure, worded as the module docstring says.
        protocols: The run's, by their names in the card.
        judges: The judges that the run's scores name; a judge matches if it was the only one.
    """
    if stated == _NOT_STATED:
        return ProtocolMatch.UNKNOWN
    wording = _WORDING.fullmatch(stated)
    if wording is None or bare(wording[1]) not in protocols:
        return ProtocolMatch.NONE
    if wording["judge"] and set(judges) != {wording["judge"]}:
        return ProtocolMatch.OTHER_JUDGE
    return ProtocolMatch.IN_PART if wording["reservation"] else ProtocolMatch.WHOLE


def nearest_to(
    rows: Sequence[PublishedRow], metric: str, checkpoint: str, *, at_most: int
) -> tuple[PublishedRow, ...]:
    """The figures of one metric that a reader looks for first.

    Those of the checkpoint's own model come first, then the paper's, then those whose protocol is
    nearest to the run's.
    """
    mine = [row for row in rows if row.figure.metric == metric]
    badges = list(ProtocolMatch)
    return tuple(
        sorted(mine, key=lambda row: (*_related(row, checkpoint), badges.index(row.match)))[
            :at_most
        ]
    )


def _related(row: PublishedRow, checkpoint: str) -> tuple[bool, bool]:
    """False, which sorts first, for the checkpoint's own model; then for the paper's."""
    name, own = (re.sub(r"[^a-z0-9]", "", text.lower()) for text in (row.figure.model, checkpoint))
    return name not in own, not name.startswith("pairuni")
