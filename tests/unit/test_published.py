"""Printed figures beside ours."""

from __future__ import annotations

from pathlib import Path

import example_run as example
import msgspec
import pytest

from pairuni_eval.analysis.published import Badge, badge_of, beside_published
from pairuni_eval.analysis.tables import Tables
from pairuni_eval.cards import Card, Published
from pairuni_eval.store.read import StoredRun

OURS = ("official", "lmms-eval")


@pytest.mark.parametrize(
    ("stated", "badge", "reservation"),
    [
        ("official", Badge.SAME, ""),
        ("mme@lmms-eval", Badge.SAME, ""),
        ("not stated", Badge.UNKNOWN, ""),
        ("vlmevalkit; in its own prompt", Badge.OTHER, "in its own prompt"),
        ("official; judge not stated", Badge.UNKNOWN, "judge not stated"),
        ("official, gpt-4o-2024-11-20", Badge.SAME, "gpt-4o-2024-11-20"),
        ("official, gpt-4o-2024-05-13", Badge.UNKNOWN, "gpt-4o-2024-05-13"),
        ("official (legacy edition)", Badge.UNKNOWN, "(legacy edition)"),
        ("their own script", Badge.OTHER, ""),
    ],
)
def test_a_badge_claims_no_more_than_the_card_states(
    stated: str, badge: Badge, reservation: str
) -> None:
    assert badge_of(stated, OURS, "gpt-4o-2024-11-20") == (badge, reservation)


def printed(card: Card, folder: Path) -> Tables:
    example.write_run(folder, benchmarks=[card], with_images=False)
    return Tables(StoredRun(folder))


def figures(*published: Published) -> Card:
    """A benchmark that is not tiny, of which every row is graded."""
    card = example.choice_cards(48)[0]
    return msgspec.structs.replace(card, name="mmmu", published=published)


def test_our_number_stands_beside_under_the_same_protocol(tmp_path: Path) -> None:
    one = Published(model="A", metric="accuracy", value=50.0, source="s", protocol="lmms-eval")
    other = Published(model="B", metric="by_subject", value=60.0, source="s")
    tables = printed(figures(one, other), tmp_path / "run")
    tables.run.cards["mmmu"] = msgspec.structs.replace(tables.run.cards["mmmu"], tiny=False)
    same, unknown = beside_published(tables, "mmmu")
    assert same.protocol == "lmms-eval" and same.badge is Badge.SAME
    assert same.ours.value is not None
    assert same.gap == pytest.approx(100 * same.ours.value - 50.0)
    assert unknown.badge is Badge.UNKNOWN and unknown.spec is None and unknown.gap is None


def test_a_tiny_benchmark_stands_beside_nobody(tmp_path: Path) -> None:
    one = Published(model="A", metric="accuracy", value=50.0, source="s", protocol="official")
    assert beside_published(printed(figures(one), tmp_path / "run"), "mmmu") == ()
