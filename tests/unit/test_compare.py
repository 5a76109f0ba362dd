"""Two runs: paired differences, permutation p, Holm and the words."""

from __future__ import annotations

from pathlib import Path

import example_run as example
import numpy as np
import pytest

from pairuni_eval.analysis.compare import Difference, Word, compare_runs, holm
from pairuni_eval.cards import Card, MetricSpec, ProtocolSpec
from pairuni_eval.records import Capability, make_item
from pairuni_eval.store.read import StoredRun


def card(name: str = "toy", direction: str = "up", unparsed: str = "wrong") -> Card:
    metric = MetricSpec(name="accuracy", direction=direction)  # type: ignore[arg-type]
    rule = ProtocolSpec(
        summary="", source="", headline="accuracy", metrics=(metric,), unparsed=unparsed
    )  # type: ignore[arg-type]
    return Card(
        name=name,
        title=name,
        summary="",
        version="1",
        expected=8,
        unit="image",
        capability=Capability.UNDERSTAND,
        licence="none",
        protocols={"official": rule},
    )


def run(
    folder: Path,
    values: list[float | None],
    *,
    per_unit: int = 1,
    first: int = 0,
    cards: tuple[Card, ...] = (card(),),
) -> StoredRun:
    """A run whose sample n (from `first`) scores values[n]; `per_unit` samples share a cluster."""
    graded = {}
    for one in cards:
        made = []
        for n, value in enumerate(values, start=first):
            item = make_item(
                benchmark=one.name,
                version="1",
                key=str(n),
                parts=(f"q{n}",),
                capability=one.capability,
                reference={},
                unit=f"u{n // per_unit}",
            )
            made.append(example.Graded(item, "answer", {"correct": value}))
        graded[one.name] = made
    example.store(folder, list(cards), graded)
    return StoredRun(folder)


def only(ours: StoredRun, theirs: StoredRun) -> Difference:
    (found,) = compare_runs(ours, theirs)
    return found


def test_clear_improvement_is_better(tmp_path: Path) -> None:
    found = only(run(tmp_path / "a", [1.0] * 20), run(tmp_path / "b", [0.0] * 18 + [1.0] * 2))
    assert found.value == pytest.approx(0.9)
    assert found.word is Word.BETTER and found.shared == 20 and found.clusters == 20
    assert found.interval is not None and found.interval.low > 0.7
    assert found.p is not None and found.p <= 2 / 2001


def test_down_is_better_where_the_card_says_so(tmp_path: Path) -> None:
    cards = (card(direction="down"),)
    ours = run(tmp_path / "a", [1.0] * 20, cards=cards)
    found = only(ours, run(tmp_path / "b", [0.0] * 20, cards=cards))
    # every cluster agrees: Wilson at 20 of 20 on the range from -1 to 1
    assert found.word is Word.WORSE
    assert found.interval == pytest.approx((2 * 20 / (20 + 1.959964**2) - 1, 1.0), abs=1e-5)


def test_exact_permutation_by_hand(tmp_path: Path) -> None:
    # five clusters, every one in favour: only all-kept and all-swapped are as extreme, 2 / 32
    values = [1.0, 1.0, 1.0, 1.0, 1.0]
    found = only(run(tmp_path / "a", values), run(tmp_path / "b", [0.0] * 5))
    assert found.p == pytest.approx(2 / 32)
    assert found.word is Word.CANNOT_TELL


def test_clusters_are_swapped_whole(tmp_path: Path) -> None:
    ours = run(tmp_path / "a", [1.0] * 10, per_unit=2)
    found = only(ours, run(tmp_path / "b", [0.0] * 10, per_unit=2))
    assert found.clusters == 5 and found.p == pytest.approx(2 / 32)


def test_equal_runs_are_tied(tmp_path: Path) -> None:
    values: list[float | None] = [1.0, 0.0] * 10
    found = only(run(tmp_path / "a", values), run(tmp_path / "b", values))
    assert found.value == 0 and found.word is Word.TIED and found.p == 1
    assert found.interval is None  # never one of zero width


def test_noise_cannot_be_told(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    one, two = (draw.integers(0, 2, 40).astype(float).tolist() for _ in range(2))
    assert only(run(tmp_path / "a", one), run(tmp_path / "b", two)).word is Word.CANNOT_TELL


def test_small_spread_on_many_rows_is_tied(tmp_path: Path) -> None:
    base = [1.0, 0.0] * 1000
    other = [*base[2:], 0.0, 1.0]
    other[0], other[1] = other[1], other[0]
    found = only(run(tmp_path / "a", base), run(tmp_path / "b", other))
    assert found.word is Word.TIED


def test_only_shared_rows_count(tmp_path: Path) -> None:
    ours = run(tmp_path / "a", [1.0] * 8)
    theirs = run(tmp_path / "b", [0.0] * 8, first=4)
    found = only(ours, theirs)
    assert found.shared == 4 and found.ours == 1 and found.theirs == 0


def test_a_row_without_a_value_on_one_side_leaves_both(tmp_path: Path) -> None:
    cards = (card(unparsed="excluded"),)
    ours = run(tmp_path / "a", [1.0, None, 0.0, 1.0], cards=cards)
    found = only(ours, run(tmp_path / "b", [1.0, 0.0, None, 1.0], cards=cards))
    assert found.shared == 2 and found.ours == 1 and found.theirs == 1


def test_one_cluster_cannot_be_told(tmp_path: Path) -> None:
    found = only(
        run(tmp_path / "a", [1.0] * 4, per_unit=4), run(tmp_path / "b", [0.0] * 4, per_unit=4)
    )
    assert found.word is Word.CANNOT_TELL and found.interval is None and found.p is None


def test_nothing_in_common(tmp_path: Path) -> None:
    ours = run(tmp_path / "a", [1.0] * 4)
    assert compare_runs(ours, run(tmp_path / "b", [1.0] * 4, cards=(card("other"),))) == ()
    found = only(ours, run(tmp_path / "c", [1.0] * 4, first=100))
    assert found.shared == 0 and found.value is None and found.word is Word.CANNOT_TELL


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.9, 0.8]) == pytest.approx((1.0, 1.0))
    assert holm([]) == ()


def test_headlines_are_corrected_together(tmp_path: Path) -> None:
    cards = tuple(card(name) for name in ("one", "two", "three"))
    rows = compare_runs(
        run(tmp_path / "a", [1.0] * 6, cards=cards), run(tmp_path / "b", [0.0] * 6, cards=cards)
    )
    assert [row.p for row in rows] == pytest.approx([2 / 64] * 3)
    assert [row.corrected for row in rows] == pytest.approx([6 / 64] * 3)
    assert {row.word for row in rows} == {Word.CANNOT_TELL}
