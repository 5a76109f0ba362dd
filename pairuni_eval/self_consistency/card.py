"""The cards of `self:NAME` and `self:NAME-choices`, made of that of the benchmark that is read.

What every number means is in docs/self_consistency.md. Numbers over facts leave out whether an
object is there, which is far easier to see and to draw than the rest, and the swap of two objects'
colors, which puts the color of an object a second time; both have lines of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from pairuni_eval.cards import Card, MetricSpec, ProtocolSpec
from pairuni_eval.decoding import Decoding
from pairuni_eval.records import Capability
from pairuni_eval.stats.coupling import ASKED, CHOICE, YES_NO

PREFIX = "self:"
CHOICES = "-choices"
OBJECT, SWAP, FINE = "object", "swap", "fine"
PAINTER, CONTROL = "painter", "control"
_ASKED = {"twin": ASKED}
_OWN = {"pictures": PAINTER}
_FINE = {"scope": FINE}
_CHOSEN = {"form": CHOICE}


def scope_of(kind: str) -> str:
    """Which lines a kind of fact is in: its own, or those of all others."""
    return kind if kind in (OBJECT, SWAP) else FINE


def make_card(source: Card) -> Card:
    """The card of twins; how many questions there are is known once a run's pictures are read."""
    return _card(
        source,
        "",
        f"Twin yes-or-no questions about a run's pictures for {source.title}; what is right comes "
        "from what the grader sees in each picture, never from the prompt.",
        {"twins": _protocol()},
    )


def make_choices_card(source: Card) -> Card:
    """The card of multiple choice."""
    return _card(
        source,
        CHOICES,
        f"Multiple choice about a run's pictures for {source.title}, in four orders of the options "
        "and beside a yes-or-no question; what is right comes from what the grader sees in each "
        "picture, never from the prompt.",
        {"choices": _choices_protocol()},
    )


def _card(source: Card, suffix: str, summary: str, protocols: dict[str, ProtocolSpec]) -> Card:
    form = " (multiple choice)" if suffix else ""
    return Card(
        name=f"{PREFIX}{source.name}{suffix}",
        title=f"{source.title}: does it see what it drew?{form}",
        summary=summary,
        version="1",
        capability=Capability.UNDERSTAND,
        expected=1,
        unit="prompt",
        licence=source.licence,
        meet_by="key",
        keep_units=True,
        tiny=source.tiny,
        decoding=Decoding(temperature=0.0, max_tokens=16),
        protocols=protocols,
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


def _choices_protocol() -> ProtocolSpec:
    return ProtocolSpec(
        summary=(
            "Each fact is one question with four options, of which the picture shows one, in four "
            "orders: every option has every letter once, so that a liking for a letter cancels. "
            "Answers are read by MMMU's official rule without its guess, and one that names no "
            "option is left out. No number where all facts hold, or none; no interval over fewer "
            "than ten prompts of either."
        ),
        source="docs/self_consistency.md",
        headline="youden_j",
        unparsed="excluded",
        scorer="self_consistency_choices/1",
        metrics=_choices_metrics(),
    )


def _choices_metrics() -> tuple[MetricSpec, ...]:
    """Every number; one letter for all and a coin reach 0 of the first, .25 of the next two."""
    chosen = {**_CHOSEN, **_OWN, **_FINE}
    yes_no = {"form": YES_NO, **_ASKED, **_OWN, **_FINE}
    there = {**_CHOSEN, **_OWN, "scope": OBJECT}
    return (
        _metric(
            "youden_j",
            "J: chooses what was asked for, right facts less wrong ones",
            "youden_j",
            "said_yes",
            chosen,
        ),
        _metric(
            "balanced_right",
            "balanced right: mean over right and wrong facts (chance .25)",
            "balanced",
            "correct",
            chosen,
        ),
        _metric("right", "right: names what is shown (chance .25)", "mean", "correct", chosen),
        _metric("draws", "draws: facts that hold", "label_ratio", "said_yes", chosen),
        _metric(
            "youden_j_yes_no", "J of the same facts with yes or no", "youden_j", "said_yes", yes_no
        ),
        _metric(
            "form_agreement",
            "agreement of both forms",
            "form_agreement",
            "said_yes",
            {**_OWN, **_FINE},
        ),
        _metric(
            "form_kappa",
            "agreement of both forms beyond chance, kappa",
            "form_kappa",
            "said_yes",
            {**_OWN, **_FINE},
        ),
        _metric(
            "youden_j_object",
            "J of which object is there",
            "youden_j",
            "said_yes",
            there,
            by=None,
        ),
        _metric(
            "right_object",
            "right in which object is there (chance .25)",
            "mean",
            "correct",
            there,
            by=None,
        ),
        _metric(
            "own_penalty",
            "own pictures: J less J on the control's",
            "youden_penalty",
            "said_yes",
            {**_CHOSEN, **_FINE},
            direction="none",
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
