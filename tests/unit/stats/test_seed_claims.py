"""Claims about several training seeds that a referee would refuse, each made from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support import example_run as example
from support.renamed_runs import change_card

from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import UserError
from pairuni_eval.stats.aggregate import Array, GradedRows
from pairuni_eval.stats.compare import Word, compare_page
from pairuni_eval.stats.paired import PairedSums, compare_pair, pair_rows
from pairuni_eval.stats.tables import Tables
from pairuni_eval.stats.two_levels import compare_over_seeds
from pairuni_eval.store.read import StoredRun

MEAN = MetricSpec(name="score")
CARD = example.cards(80)[1]


def pair(ours: Sequence[Array], theirs: Sequence[Array]) -> PairedSums:
    count = len(ours[0])

    def rows(values: Array) -> GradedRows:
        return GradedRows(values.astype(float), np.arange(count), np.zeros(count, dtype=int), {})

    names = np.array([str(n) for n in range(count)], dtype=object)
    return pair_rows([rows(one) for one in ours], [rows(one) for one in theirs], MEAN, names)


def store(
    folder: Path, seed: int, *, skill: float = 0.6, arm: str | None = None, weights: str = ""
) -> Tables:
    """A run of 80 questions, of weights of its own, that says how it was trained."""
    rows = {CARD.name: example.graded(CARD, 80, skill, random.Random(seed))}
    weights = weights or folder.name.ljust(64, "0")
    example.store(folder, [CARD], rows, name=folder.name, with_images=False, weights=weights)
    if arm is not None:
        card = StoredRun(folder).card
        recipe = f"{arm} on tiny, seed {seed}"
        change_card(folder, checkpoint=msgspec.structs.replace(card.checkpoint, recipe=recipe))
    return Tables(StoredRun(folder))


def test_seeds_that_go_alike_on_both_sides_have_their_degrees_of_freedom() -> None:
    """Seed i of both arms has one start, so that much is taken off the error: never below R - 1."""
    rng = np.random.default_rng(3)
    starts = [rng.random(17) < chance for chance in (0.35, 0.6, 0.5)]
    changed = [np.where(np.arange(17) == n, ~start, start) for n, start in enumerate(starts)]
    found = compare_over_seeds(pair(starts, changed), margin=0.01, seed=0)
    assert found.freedom is not None and found.freedom >= 2
    assert found.detectable is not None
    # t at 97.5 % and at 80 % with two degrees of freedom
    assert found.detectable <= found.error * (4.302653 + 1.060660) + 1e-6


def test_what_could_be_found_is_within_the_range_and_what_would_decide_is_sane(
    tmp_path: Path,
) -> None:
    ours = tuple(store(tmp_path / f"o{n}", n, skill=0.6 + 0.1 * n) for n in range(3))
    theirs = tuple(store(tmp_path / f"t{n}", 9 + n, skill=0.5 + 0.1 * n) for n in range(3))
    found = compare_page(ours, {"grpo": theirs})["grpo"]
    for row in (*found.differences, *found.groups):
        assert row.detectable is None or row.span is None or row.detectable <= row.span
        if row.deciding is not None:
            assert row.deciding.units < 10_000_000
            assert (row.deciding.seeds or 0) < 100_000


def test_the_spread_of_four_seeds_counts_against_one() -> None:
    """3,000 questions: four seeds at 45, 50, 55 and 60 %, the other side at 52.5 %."""
    order = np.random.default_rng(1).permutation(3000)
    ours = [order < 3000 * share for share in (0.45, 0.50, 0.55, 0.60)]
    theirs = [order < 3000 * 0.525]
    both = pair(ours, theirs)
    blind = compare_pair(both, margin=0.01, seed=0)
    assert blind.tie_p is not None and blind.tie_p < 0.05, "units alone call it a tie"
    found = compare_over_seeds(both, margin=0.01, seed=0)
    assert found.tie_p is not None and found.tie_p > 0.05
    assert found.error == pytest.approx(0.0645497 / 2, rel=0.1)  # of .45 .50 .55 .60, over 2
    assert found.test == "t over seeds and units"


def test_a_page_draws_the_seeds_of_the_side_that_has_them(tmp_path: Path) -> None:
    ours = tuple(store(tmp_path / f"o{n}", n, skill=0.5 + 0.1 * n) for n in range(4))
    other = store(tmp_path / "base", 9)
    found = compare_page(ours, {"base": (other,)})["base"]
    (row,) = found.headlines
    assert row.test == "t over seeds and units" and found.scope == "one seed of base"
    two = compare_page(ours[:2], {"base": (other,)})["base"].headlines[0]
    assert two.test == "t over units" and two.about.scope == "these checkpoints, two seeds"


def test_no_checkpoint_is_a_seed_of_both_sides(tmp_path: Path) -> None:
    ours = tuple(store(tmp_path / f"o{n}", n) for n in range(3))
    with pytest.raises(UserError, match="are given as seeds of o0 and of grpo"):
        compare_page(ours, {"grpo": (ours[1],)})
    again = store(tmp_path / "again", 0, weights="o0".ljust(64, "0"))
    same = compare_page(ours[:1], {"grpo": (again,)})["grpo"]
    assert same.about.same_weights, "one against one says that both are the same"


def test_seeds_of_one_side_are_of_one_arm(tmp_path: Path) -> None:
    ours = tuple(
        store(tmp_path / f"o{n}", n, arm=arm) for n, arm in enumerate(("grpo", "random_pair"))
    )
    with pytest.raises(UserError, match="were trained as 'grpo on tiny' and as 'random_pair on"):
        compare_page(ours, {"base": (store(tmp_path / "base", 9),)})
    unknown = (ours[0], store(tmp_path / "nobody knows", 5))
    assert compare_page(unknown, {"base": (store(tmp_path / "b", 9),)})["base"].headlines


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_a_row_that_does_not_differ_is_a_test_like_any_other(tmp_path: Path, runs: int) -> None:
    """However many runs a side has, no difference has p = 1 and counts in the family."""
    sides = [
        tuple(store(tmp_path / f"{name}{n}", 4) for n in range(runs)) for name in ("ours", "grpo")
    ]
    found = compare_page(sides[0], {"grpo": sides[1]})["grpo"]
    (row,) = found.headlines
    assert row.p == 1 and row.corrected == 1 and row.word is Word.CANNOT_TELL
    assert found.family.tests == len(found.differences) + len(found.groups)


def test_the_joint_interval_of_no_difference_is_the_exact_bound(tmp_path: Path) -> None:
    """One of seven equal headlines of 40 units: 1 - (.05 / 14)^(1/40)."""
    ours = store(tmp_path / "ours", 4)
    arms = {f"arm {n}": (store(tmp_path / f"arm{n}", 4),) for n in range(7)}
    found = compare_page((ours,), arms)
    (row,) = found["arm 0"].headlines
    most = 1 - (0.05 / 14) ** (1 / 40)
    assert row.clusters == 40 and row.joint == pytest.approx((-most, most), rel=1e-6)


def test_rounding_is_no_error() -> None:
    """90 questions that all seeds answer alike, a third of them right: bounds, not [-0.0, 0.0]."""
    values = np.arange(90) % 3 == 0
    found = compare_over_seeds(pair([values] * 3, [values]), margin=0.01, seed=0)
    most = 1 - 0.025 ** (1 / 90)
    assert found.interval == pytest.approx((-most, most)) and found.p == 1
    assert found.detectable is None and found.error == 0
