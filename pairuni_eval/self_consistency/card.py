"""The card of `self:NAME`, made of the card of the benchmark whose pictures are read.

What every number means is in docs/self_consistency.md. Numbers over facts leave out whether an
object is there, which is far easier to see and to draw than the rest, and the swap of two objects'
colors, which puts the color of an object a second time; both have lines of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from pairuni_eval.cards import Card, MetricSpec, ProtocolSpec
from pairuni_eval.decoding import Decoding
from pairuni_eval.records import Capability
from pairuni_eval.stats.coupling import ASKED

PREFIX = "self:"
PROTOCOL = "twins"
OBJECT, SWAP, FINE = "object", "swap", "fine"
PAINTER, CONTROL = "painter", "control"
_ASKED = {"twin": ASKED}
_OWN = {"pictures": PAINTER}
_FINE = {"scope": FINE}


def scope_of(kind: str) -> str:
    """Which lines a kind of fact is in: its own, or those of all others."""
    return kind if kind in (OBJECT, SWAP) else FINE


def make_card(source: Card) -> Card:
    """The card; how many questions there are is known once a run's pictures are read."""
    return Card(
        name=f"{PREFIX}{source.name}",
        title=f"{source.title}: does it see what it drew?",
        summary=(
            f"Twin yes-or-no questions about a run's pictures for {source.title}; what is right "
            "comes from what the grader sees in each picture, never from the prompt."
        ),
        version="1",
        capability=Capability.UNDERSTAND,
        expected=1,
        unit="prompt",
        licence=source.licence,
        meet_by="key",
        keep_units=True,
        tiny=source.tiny,
        decoding=Decoding(temperature=0.0, max_tokens=16),
        protocols={PROTOCOL: _protocol()},
    )


def _protocol() -> ProtocolSpec:
    return ProtocolSpec(
        summary=(
            "Of each fact one question says what the prompt wants, its twin something else; just "
            "one is true of the picture. Answers are read by MME's official rule, and one that is "
            "neither yes nor no is left out. No number where all facts hold, or none; no interval "
            "over fewer than ten prompts of either."
        ),
        source="docs/self_consistency.md",
        headline="youden_j",
        unparsed="excluded",
        scorer="self_consistency/1",
        metrics=_metrics(),
    )


def _metrics() -> tuple[MetricSpec, ...]:
    """Every number; constant answers reach 0 of the first two, a coin 0 and .25."""
    fine = {**_ASKED, **_OWN, **_FINE}
    facts = {**_OWN, **_FINE}
    return (
        _metric(
            "youden_j", "J: approves right facts less wrong ones", "youden_j", "said_yes", fine
        ),
        _metric(
            "balanced_sees",
            "balanced sees: mean over right and wrong facts (coin .25)",
            "balanced_twins",
            "correct",
            facts,
        ),
        _metric("sees", "sees: both twins right", "twins", "correct", facts),
        _metric("draws", "draws: facts that hold", "label_ratio", "said_yes", fine),
        _metric("approves", "approves", "yes_ratio", "said_yes", fine, direction="none"),
        _metric(
            "over_approval",
            "over-approval: approves less draws",
            "mean",
            "over_approved",
            fine,
            direction="none",
            low=-1.0,
        ),
        _metric(
            "deserved",
            "rejected, and wrong",
            "mean",
            "rejected_wrong",
            fine,
            direction="none",
        ),
        _metric(
            "undeserved",
            "rejected, though right",
            "mean",
            "rejected_right",
            fine,
            direction="down",
        ),
        _metric("kappa", "self-knowledge, kappa", "kappa", "said_yes", fine),
        _metric("gap", "gap: draws less sees", "twin_gap", "correct", facts, direction="none"),
        _metric(
            "youden_j_sure",
            "J where the grader is sure",
            "youden_j",
            "said_yes",
            {**fine, "sure": "yes"},
            by=None,
        ),
        _metric(
            "youden_j_object",
            "J of whether an object is there",
            "youden_j",
            "said_yes",
            {**_ASKED, **_OWN, "scope": OBJECT},
            by=None,
        ),
        _metric(
            "balanced_sees_object",
            "balanced sees of whether an object is there",
            "balanced_twins",
            "correct",
            {**_OWN, "scope": OBJECT},
            by=None,
        ),
        _metric(
            "youden_j_swap",
            "J of a color, its twin the other object's",
            "youden_j",
            "said_yes",
            {**_ASKED, **_OWN, "scope": SWAP},
            by=None,
        ),
        _metric(
            "balanced_sees_swap",
            "balanced sees of a color, its twin the other object's",
            "balanced_twins",
            "correct",
            {**_OWN, "scope": SWAP},
            by=None,
        ),
        _metric("youden_j_task", "J, by task", "youden_j", "said_yes", fine, by="task"),
        _metric(
            "own_penalty",
            "own pictures: J less J on the control's",
            "youden_penalty",
            "said_yes",
            {**_ASKED, **_FINE},
            direction="none",
        ),
        _metric(
            "self_selection",
            "self-selection: share of the gain of best-of-n",
            "self_selection",
            "approved",
            {**_OWN, "votes": "yes"},
            by=None,
        ),
    )


def _metric(
    name: str,
    title: str,
    aggregate: str,
    of: str,
    where: Mapping[str, str],
    *,
    by: str | None = "kind",
    direction: str = "up",
    low: float = 0.0,
) -> MetricSpec:
    return MetricSpec(
        name=name,
        title=title,
        aggregate=aggregate,
        of=of,
        where=dict(where),
        by=by,
        direction=direction,  # type: ignore[arg-type]
        range=(low, 1.0) if low else None,
        scale=1.0,
        decimals=3,
    )
