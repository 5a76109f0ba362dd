"""Badges of published figures: how far the rule a figure rests on is one of a run's."""

from __future__ import annotations

import pytest

from pairuni_eval.cards import Card, MetricSpec, ProtocolSpec, Published
from pairuni_eval.catalog import benchmark_folders, find_card
from pairuni_eval.records import Capability
from pairuni_eval.report.published import ProtocolMatch, match, published_rows

OURS = ("official", "lmms-eval")
JUDGE = "gpt-4o-2024-05-13"


@pytest.mark.parametrize(
    ("stated", "judges", "badge"),
    [
        ("official", (), ProtocolMatch.WHOLE),
        ("pope@official", (), ProtocolMatch.WHOLE),
        ("official (legacy edition)", (), ProtocolMatch.WHOLE),
        ("official; sampling settings not published", (), ProtocolMatch.IN_PART),
        ("official (legacy edition); judge not stated", (JUDGE,), ProtocolMatch.IN_PART),
        (f"official, {JUDGE}", (JUDGE,), ProtocolMatch.WHOLE),
        (f"official (legacy edition), {JUDGE}", (JUDGE,), ProtocolMatch.WHOLE),
        (f"official, {JUDGE}; cfg 4", (JUDGE,), ProtocolMatch.IN_PART),
        (f"official, {JUDGE}", (), ProtocolMatch.OTHER_JUDGE),
        (f"official, {JUDGE}", (f"{JUDGE} with another prompt",), ProtocolMatch.OTHER_JUDGE),
        (f"official, {JUDGE}", (JUDGE, "another"), ProtocolMatch.OTHER_JUDGE),
        (f"official, {JUDGE}; cfg 4", ("another",), ProtocolMatch.OTHER_JUDGE),
        ("vlmevalkit; in its own prompt", (), ProtocolMatch.NONE),
        ("officially", (), ProtocolMatch.NONE),
        ("BAGEL's own script, chain of thought", (), ProtocolMatch.NONE),
        ("not stated", (JUDGE,), ProtocolMatch.UNKNOWN),
    ],
)
def test_badges(stated: str, judges: tuple[str, ...], badge: ProtocolMatch) -> None:
    assert match(stated, OURS, judges) is badge


def test_a_figure_is_named_as_the_card_names_its_metric() -> None:
    metrics = (MetricSpec(name="f1", title="F1 over all rows"), MetricSpec(name="recall"))
    card = Card(
        name="b",
        title="B",
        summary="",
        version="1",
        capability=Capability.UNDERSTAND,
        expected=1,
        unit="image",
        licence="MIT",
        protocols={"official": ProtocolSpec(summary="", source="", headline="f1", metrics=metrics)},
        published=tuple(
            Published(model="M", metric=name, value=86.2, source="table 1", protocol="official")
            for name in ("f1", "recall", "gone")
        ),
    )
    rows = published_rows(card, ["official"], ())
    assert [row.title for row in rows] == ["F1 over all rows", "recall", "gone"]
    assert {row.match for row in rows} == {ProtocolMatch.WHOLE}


def test_the_protocols_in_the_cards_are_worded_so_that_they_are_understood() -> None:
    """Of all cards, the only figure whose protocol is none of the card's is BAGEL's of MMMU."""
    others = {
        (name, figure.model)
        for name in benchmark_folders()
        for card in (find_card(name),)
        for figure in card.published
        if match(figure.protocol, tuple(card.protocols), ()) is ProtocolMatch.NONE
    }
    assert others == {("mmmu", "BAGEL")}
