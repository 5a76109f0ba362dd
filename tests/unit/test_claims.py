"""Claims that a referee would refuse, each made from a seed, with the words that stand instead."""

from __future__ import annotations

from pathlib import Path

import example_run as example
import msgspec
import numpy as np
import pytest

from pairuni_eval.analysis.compare import Comparison, Word, compare_page
from pairuni_eval.analysis.scope import checked_seeds, seeds_warning
from pairuni_eval.analysis.tables import Tables
from pairuni_eval.cards import Card, MetricSpec
from pairuni_eval.errors import UserError
from pairuni_eval.records import Item, make_item
from pairuni_eval.report.versus import told
from pairuni_eval.store.read import StoredRun

Values = list[float | None]


def card(name: str = "asks", *, missing: bool = False, by: str | None = None) -> Card:
    """A benchmark of single questions; with `missing`, an unparsed answer has no value."""
    rule = example.protocol("accuracy", MetricSpec(name="accuracy", by=by))
    rule = msgspec.structs.replace(rule, unparsed="excluded" if missing else "wrong")
    return example.card(name, name.title(), "understand", 320, tiny=False, protocols={"a": rule})


def run(
    folder: Path,
    values: dict[str, Values],
    *,
    missing: bool = False,
    name: str | None = None,
    parent: str | None = None,
    by: str | None = None,
    groups: int = 1,
) -> Tables:
    """A run that scores these values on benchmarks of these names, in groups of one size."""
    cards = [card(one, missing=missing, by=by) for one in values]
    graded = {
        one.name: [
            example.Graded(question(one, n, n * groups // len(scores)), "Yes.", {"correct": score})
            for n, score in enumerate(scores)
        ]
        for one, scores in zip(cards, values.values(), strict=True)
    }
    example.store(
        folder,
        cards,
        graded,
        name=name or folder.name,
        with_images=False,
        weights=folder.name * 4,
        parent=parent,
    )
    return Tables(StoredRun(folder))


def question(asks: Card, number: int, group: int) -> Item:
    """A question that is a unit of its own."""
    return make_item(
        benchmark=asks.name,
        version=asks.version,
        key=str(number),
        parts=(f"Question {number}",),
        capability=asks.capability,
        reference={},
        unit=str(number),
        tags={"task": f"t{group}"},
    )


def against(ours: Tables, theirs: Tables) -> Comparison:
    return compare_page((ours,), {"grpo": (theirs,)})["grpo"]


def flips(rng: np.random.Generator, count: int, won: int, lost: int) -> tuple[Values, Values]:
    """Right or wrong on `count` questions: so many ours alone has right, so many theirs alone."""
    kind = rng.permutation([1] * won + [2] * lost + [3] * (count - won - lost))
    right = rng.random(count) < 0.5
    ours = np.where(kind == 1, 1.0, np.where(kind == 2, 0.0, right))
    theirs = np.where(kind == 1, 0.0, np.where(kind == 2, 1.0, right))
    return ours.tolist(), theirs.tolist()


def test_three_equal_samples_are_no_tie(tmp_path: Path) -> None:
    """With --limit 3: as many benchmarks as a report has, no output differs."""
    rng = np.random.default_rng(3)
    values = {f"asks{n}": rng.integers(0, 2, 3).astype(float).tolist() for n in range(6)}
    found = against(run(tmp_path / "ours", values), run(tmp_path / "grpo", values))
    assert {row.word for row in found.headlines} == {Word.CANNOT_TELL}
    assert {row.why for row in found.headlines} == {"the same in all 3"}
    assert {row.sentence.rpartition("; ")[2] for row in found.headlines} == {"the same in all 3"}
    said = told("grpo", found.headlines, found.refusals)
    assert "tied on" not in said and "6 undecided of 6" in said


def test_seventeen_equal_questions_of_a_group_are_no_tie(tmp_path: Path) -> None:
    """A true difference of 5 points shows none of itself in 17 questions in 42 % of cases."""
    values = {"asks": [1.0, 0.0] * 17}
    sides = [run(tmp_path / name, values, by="task", groups=2) for name in ("ours", "grpo")]
    found = against(*sides)
    assert [row.why for row in found.groups] == ["the same in all 17"] * 2
    most = 1 - 0.025 ** (1 / 17)
    assert found.groups[0].interval == pytest.approx((-most, most))


def test_half_of_our_wrong_answers_missing_is_not_better(tmp_path: Path) -> None:
    rng = np.random.default_rng(49)
    ours, theirs = flips(rng, 320, 60, 48)
    wrong = [n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a < (b or 0)][:16]
    wrong += [n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a == b == 0][:33]
    for n in wrong:
        ours[n] = None
    found = against(
        run(tmp_path / "ours", {"asks": ours}, missing=True),
        run(tmp_path / "grpo", {"asks": theirs}, missing=True),
    )
    (row,) = found.differences
    assert row.value == pytest.approx(28 / 271) and row.p is not None and row.p < 0.005
    assert row.interval is not None and row.interval.low > 0
    assert (row.shared, row.planned, row.missing.ours) == (271, 320, 49)
    assert row.ends is not None and row.ends[0] == pytest.approx(12 / 320)
    assert row.word is Word.CANNOT_TELL and row.joint is not None and row.joint.low < 0
    assert row.corrected is not None and row.corrected > 0.05
    assert row.why is not None and row.why.startswith(
        "49 of 320 outputs of ours are missing; counted as wrong they make it +3.8 [-2.6, "
    )
    assert row.deciding is None  # more questions would not help
    whole = against(
        run(tmp_path / "ours2", {"asks": [value or 0.0 for value in ours]}),
        run(tmp_path / "grpo2", {"asks": theirs}),
    ).differences[0]
    assert row.at_ends is not None and row.at_ends[0].interval == whole.interval


def test_a_word_that_stands_at_both_ends_stands(tmp_path: Path) -> None:
    ours: Values = [1.0] * 60 + [0.0] * 17 + [None] * 3
    found = against(
        run(tmp_path / "ours", {"asks": ours}, missing=True),
        run(tmp_path / "grpo", {"asks": [0.0] * 60 + [0.0] * 17 + [1.0] * 3}, missing=True),
    ).differences[0]
    assert found.word is Word.BETTER and found.why is None
    assert found.ends == pytest.approx((57 / 80, 60 / 80))
    assert found.joint is not None and found.joint.low < 57 / 80


def test_one_seed_is_said_in_the_sentence_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    ours, theirs = flips(rng, 100, 30, 5)
    one = run(tmp_path / "ours", {"asks": ours})
    other = run(tmp_path / "grpo", {"asks": theirs})
    found = against(one, other)
    (row,) = found.differences
    assert row.sentence.startswith("Asks is better than grpo: ")
    assert row.sentence.endswith("; this checkpoint, one seed")
    assert told("grpo", found.headlines, (), about=found.about).endswith(
        "; this checkpoint, one seed."
    )
    assert seeds_warning([found.about]) == (
        "ours and grpo are one training seed each; another seed could change the verdict"
    )
    assert found.about.needed == "three training seeds a side"


def seeds(folder: Path, name: str, chance: float, moves: tuple[float, ...]) -> tuple[Tables, ...]:
    rng = np.random.default_rng([6, *map(ord, name)])
    return tuple(
        run(
            folder / f"{name}{n}",
            {"asks": (rng.random(200) < chance + move).astype(float).tolist()},
            name=name,
        )
        for n, move in enumerate(moves)
    )


def test_three_seeds_of_each_arm_speak_about_the_recipe(tmp_path: Path) -> None:
    """Two arms whose seeds are 15 points apart: one seed of each may say what three do not."""
    ours = seeds(tmp_path, "ours", 0.6, (0.15, 0.0, -0.15))
    theirs = seeds(tmp_path, "grpo", 0.6, (-0.15, 0.0, 0.15))
    alone = compare_page(ours[:1], {"grpo": theirs[:1]})["grpo"]
    assert alone.differences[0].word is Word.BETTER and alone.scope == "this checkpoint, one seed"
    found = compare_page(ours, {"grpo": theirs})["grpo"]
    (row,) = found.differences
    assert found.scope is None and row.test == "t over seeds and units" and row.seeds == (3, 3)
    assert row.word is Word.CANNOT_TELL and row.deciding is not None
    assert row.deciding.seeds is not None and row.deciding.seeds > 3
    assert "seeds of each arm" in row.deciding.sentence


def test_two_runs_of_one_seed_are_no_two_seeds(tmp_path: Path) -> None:
    one = run(tmp_path / "ours", {"asks": [1.0] * 8})
    with pytest.raises(UserError, match="runs of the same weights"):
        checked_seeds("grpo", [one.run, one.run])
    with pytest.raises(UserError, match="training seeds of grpo"):
        compare_page((run(tmp_path / "mine", {"asks": [1.0] * 8}),), {"grpo": (one, one)})


def test_an_interval_without_0_does_not_stand_beside_cannot_tell(tmp_path: Path) -> None:
    """One of seven headlines: p = .02 by itself, .14 among all of them."""
    rng = np.random.default_rng(7)
    ours, theirs = flips(rng, 200, 24, 10)
    values = {f"asks{n}": flips(rng, 200, 12, 12) for n in range(6)} | {"pope": (ours, theirs)}
    found = against(
        run(tmp_path / "ours", {name: both[0] for name, both in values.items()}),
        run(tmp_path / "grpo", {name: both[1] for name, both in values.items()}),
    )
    row = found.headlines[-1]
    assert row.p is not None and row.p < 0.05 and row.interval is not None and row.interval.low > 0
    assert row.corrected is not None and row.corrected > 0.05
    assert row.word is Word.CANNOT_TELL
    assert row.joint is not None and row.joint.low <= 0 < row.interval.high < row.joint.high
    assert found.family.tests == 7 and found.family.families == 1
    assert found.family.sentence == (
        "7 tests in 1 family (7 headlines). If nothing differed, at most 5 % of such pages would "
        "show a false better or worse among the headlines. 'Tied' is not corrected for the number "
        "of tests."
    )
