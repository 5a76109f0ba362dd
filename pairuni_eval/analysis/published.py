"""Figures that others printed, beside ours: never tested, always with a badge.

A printed figure has no rows, so no test can be made; whether it may be put beside ours at all
depends on its protocol. The badge says "same protocol" only where the card states one of ours and
no more than the judge that this run asked; "other protocol" where it states another one; and
"unknown" for the rest: nothing stated, or one of ours with a reservation (what stands after the
name). A figure of the tiny world is never put beside anybody's.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from pairuni_eval.analysis.intervals import Estimate
from pairuni_eval.analysis.tables import Tables, bare, metric_row
from pairuni_eval.cards import Card, MetricSpec, Published

_NOT_STATED = "not stated"
_PUNCTUATION = " ,;()"


class Badge(StrEnum):
    """Whether a printed figure and ours rest on one protocol."""

    SAME = "same protocol"
    OTHER = "other protocol"
    UNKNOWN = "unknown"


class Printed(NamedTuple):
    """A printed figure beside ours.

    Attributes:
        badge: Whether the two may be compared.
        reservation: What the card says about the figure's protocol besides its name.
        protocol: The protocol of ours that stands beside it.
        ours: Our number; without a value where this run has none.
        spec: Our metric; None where no protocol of this run has it.
        gap: Ours minus the printed one, in the printed scale.
    """

    figure: Published
    badge: Badge
    reservation: str
    protocol: str
    ours: Estimate
    spec: MetricSpec | None
    gap: float | None


def badge_of(
    stated: str, protocols: tuple[str, ...], judge: str | None = None
) -> tuple[Badge, str]:
    """The badge for a stated protocol, and the reservation that came with it.

    Args:
        stated: As in the card, e.g. "official, gpt-4o-2024-11-20; settings not published".
        protocols: The protocols of this run.
        judge: Snapshot of the judge that this run asked.
    """
    name, reservation = _parts(stated)
    if name == _NOT_STATED:
        return Badge.UNKNOWN, reservation
    if bare(name) not in protocols:
        return Badge.OTHER, reservation
    open_points = reservation.replace(judge or "", "").strip(_PUNCTUATION)
    return (Badge.UNKNOWN if open_points else Badge.SAME), reservation


def _parts(stated: str) -> tuple[str, str]:
    """The protocol's name, and what is said about it."""
    name = re.split(r"[;,(]", stated, maxsplit=1)[0]
    return name.strip(), stated[len(name) :].lstrip(";, ").strip()


def beside_published(tables: Tables, benchmark: str) -> tuple[Printed, ...]:
    """Every figure of a benchmark's card with ours beside it, in the card's order."""
    card = tables.card(benchmark)
    if card.tiny:
        return ()
    known: dict[tuple[str, str], Estimate] = {}
    return tuple(_printed(tables, card, one, known) for one in card.published)


def _printed(
    tables: Tables, card: Card, figure: Published, known: dict[tuple[str, str], Estimate]
) -> Printed:
    run = tables.run.card.benchmarks[card.name]
    protocols = tables.protocols(card.name)
    badge, reservation = badge_of(figure.protocol, protocols, run.judge)
    stated = bare(_parts(figure.protocol)[0])
    protocol = stated if stated in protocols else protocols[0]
    spec = _metric(tables, card.name, protocol, figure.metric)
    if spec is None:
        return Printed(figure, badge, reservation, protocol, Estimate(None, None, 0), None, None)
    key = (protocol, figure.metric)
    if key not in known:
        known[key] = metric_row(tables, card.name, protocol, spec).estimate
    ours = known[key]
    gap = None if ours.value is None else ours.value * spec.scale - figure.value
    return Printed(figure, badge, reservation, protocol, ours, spec, gap)


def _metric(tables: Tables, benchmark: str, protocol: str, name: str) -> MetricSpec | None:
    known = {spec.name: spec for spec in tables.spec(benchmark, protocol).metrics}
    return known.get(name)
