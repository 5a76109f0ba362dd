"""Claims that a referee would refuse, each made from a seed, with the words that stand instead."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import t
from support import example_run as example

from pairuni_eval.cards import Card, MetricSpec
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.records import Item, make_item
from pairuni_eval.report.baseline_comparison import describe
from pairuni_eval.stats.aggregate import Bounds
from pairuni_eval.stats.compare import Comparison, Word, compare_page
from pairuni_eval.stats.intervals import agreeing_interval
from pairuni_eval.stats.scope import checked_seeds, seeds_warning
from pairuni_eval.stats.tables import Tables
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
    weights: str | None = None,
    seed: int = 7,
    reply: str = "Yes.",
    temperature: float = 0.0,
) -> Tables:
    """A run that scores these values on benchmarks of these names, in groups of one size."""
    cards = [
        msgspec.structs.replace(
            card(one, missing=missing, by=by), decoding=Decoding(temperature=temperature)
        )
        for one in values
    ]
    graded = {
        one.name: [
            example.Graded(question(one, n, n * groups // len(scores)), reply, {"correct": score})
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
        weights=weights or folder.name * 4,
        seed=seed,
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
    assert {row.why for row in found.headlines} == {"the same score in all 3"}
    assert {row.sentence.rpartition("; ")[2] for row in found.headlines} == {
        "the same score in all 3"
    }
    said = describe("grpo", found.headlines, found.refusals)
    assert "tied on" not in said and "6 undecided of 6" in said


def test_seventeen_equal_questions_of_a_group_are_no_tie(tmp_path: Path) -> None:
    """A true difference of 5 points shows none of itself in 17 questions in 42 % of cases."""
    values = {"asks": [1.0, 0.0] * 17}
    sides = [run(tmp_path / name, values, by="task", groups=2) for name in ("ours", "grpo")]
    found = against(*sides)
    assert [row.why for row in found.groups] == ["the same score in all 17"] * 2
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
    assert describe("grpo", found.headlines, (), about=found.about).endswith(
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


def test_equal_weights_with_other_outputs_are_no_tie(tmp_path: Path) -> None:
    """Other pictures with the same scores: only equal outputs say that nothing differs."""

    def word(name: str, reply: str, seed: int, temperature: float) -> Word:
        sides = [
            run(
                tmp_path / f"{name}{side}",
                {"asks": [1.0, 0.0, 1.0]},
                weights="w" * 64,
                reply=one[0],
                seed=one[1],
                temperature=temperature,
            )
            for side, one in (("a", (reply, seed)), ("b", ("Yes.", 0)))
        ]
        (row,) = against(*sides).differences
        assert row.equal and row.about.same_weights
        if row.word is Word.CANNOT_TELL:
            assert row.sentence == "Asks: cannot tell; 2 -> 2 of 3; the same score in all 3"
        else:
            assert row.beside is None and row.p_beside is None  # no test says so
        return row.word

    assert word("other", "No.", 1, 1.0) is Word.CANNOT_TELL
    assert word("greedy, other", "No.", 0, 0.0) is Word.CANNOT_TELL
    assert word("chance", "Yes.", 1, 1.0) is Word.CANNOT_TELL  # three equal draws of many
    assert word("greedy", "Yes.", 1, 0.0) is Word.TIED
    assert word("one seed", "Yes.", 0, 1.0) is Word.TIED


def test_what_would_be_found_is_said_at_the_corrected_level(tmp_path: Path) -> None:
    """Seven headlines: t at 1 - .05 / 14 instead of 97.5 %, in the sentence and in the units."""
    rng = np.random.default_rng(13)
    values = {f"asks{n}": flips(rng, 200, 14 + n, 10) for n in range(7)}
    found = against(
        run(tmp_path / "ours", {name: both[0] for name, both in values.items()}),
        run(tmp_path / "grpo", {name: both[1] for name, both in values.items()}),
    )
    assert {row.word for row in found.headlines} == {Word.CANNOT_TELL}
    for row in found.headlines:
        assert row.error is not None and row.freedom is not None and row.value is not None
        points = t.ppf(1 - 0.05 / 14, row.freedom) + t.ppf(0.8, row.freedom)
        assert row.detectable == pytest.approx(row.error * points)
        assert row.deciding is not None and row.detectable is not None
        assert row.deciding.target == pytest.approx(row.value)
        assert row.deciding.units == ceil(200 * (row.detectable / row.value) ** 2) > 200
        assert f"less than {100 * row.detectable:.1f} points would not be found" in row.sentence


def test_no_unit_count_where_missing_outputs_leave_it_open(tmp_path: Path) -> None:
    """20 won, 30 lost, 30 of ours missing, 15 of which the other has right: -25 to +5 of 420."""
    ours: Values = [1.0] * 20 + [0.0] * 30 + [1.0] * 340 + [None] * 30
    theirs: Values = [0.0] * 20 + [1.0] * 30 + [1.0] * 340 + [1.0] * 15 + [0.0] * 15
    sides = (
        run(tmp_path / "ours", {"asks": ours}, missing=True),
        run(tmp_path / "grpo", {"asks": theirs}, missing=True),
    )
    (row,) = against(*sides).differences
    assert row.word is Word.CANNOT_TELL and row.deciding is None
    assert row.ends == pytest.approx((-25 / 420, 5 / 420))
    assert row.sentence == (
        "Asks: cannot tell; 370 -> 360 of 390; 30 of 420 outputs of ours are missing; they may "
        "make the difference -6.0 to +1.2"
    )
    said = describe("grpo", [row], ())
    assert "it would have taken" not in said


def test_equal_scores_do_not_hide_what_is_missing(tmp_path: Path) -> None:
    ours: Values = [1.0] * 108 + [None] * 12
    sides = (
        run(tmp_path / "ours", {"asks": ours}, missing=True),
        run(tmp_path / "grpo", {"asks": [1.0] * 120}, missing=True),
    )
    (row,) = against(*sides).differences
    assert row.equal and row.word is Word.CANNOT_TELL and row.deciding is None
    assert row.why == (
        "12 of 120 outputs of ours are missing; they may make the difference -10.0 to +0.0"
    )


def test_the_interval_beside_an_end_is_at_the_corrected_level(tmp_path: Path) -> None:
    """40 won, 10 lost, 10 missing; as wrong ones 20 lost: p = .013, of seven headlines .09."""
    rng = np.random.default_rng(17)
    ours: Values = [1.0] * 40 + [0.0] * 10 + [None] * 10 + [1.0] * 140
    theirs: Values = [0.0] * 40 + [1.0] * 20 + [1.0] * 140
    others = {f"asks{n}": flips(rng, 200, 12, 12) for n in range(6)}
    found = against(
        run(
            tmp_path / "ours",
            {"pope": ours, **{k: one[0] for k, one in others.items()}},
            missing=True,
        ),
        run(
            tmp_path / "grpo",
            {"pope": theirs, **{k: one[1] for k, one in others.items()}},
            missing=True,
        ),
    )
    row = found.headlines[0]
    assert row.word is Word.CANNOT_TELL and row.ends is not None and row.at_ends is not None
    assert row.ends[0] == pytest.approx(20 / 200)
    plain = row.at_ends[0].interval
    assert plain is not None and plain.low > 0 and row.joint is not None
    assert row.joint.low <= 0
    assert row.why is not None and row.why.startswith(
        f"10 of 200 outputs of ours are missing; counted as wrong they make it +10.0 "
        f"[{100 * row.joint.low:.1f}, "
    )


def test_a_tie_stands_beside_the_interval_and_p_of_its_own_test(tmp_path: Path) -> None:
    """None of 300 differs: at most 1 - .05^(1/300) = 0.99 points each way, p = .99^300."""
    values: Values = [1.0, 0.0] * 150
    sides = [run(tmp_path / name, {"asks": values}) for name in ("ours", "grpo")]
    (row,) = against(*sides).differences
    most = 1 - 0.05 ** (1 / 300)
    assert row.word is Word.TIED and row.margin == 0.01 and most < 0.01
    assert row.beside == pytest.approx((-most, most))
    assert row.p_beside == row.tie_p == pytest.approx(0.99**300, rel=1e-6)
    assert row.sentence.startswith(
        "Asks is tied: 150 -> 150 of 300; no score differs, and they differ by less than 1.0 "
        "points, p = .049"
    )
    assert row.p == 1 and row.joint is not None and row.joint.high > row.margin


def test_lost_rows_of_a_run_that_ended_are_missing(tmp_path: Path) -> None:
    """Of 320 planned outputs 20 are gone: 20 could be anything, so equal runs are not tied."""
    values: Values = [1.0, 0.0] * 160
    ours = run(tmp_path / "ours", {"asks": values}, missing=True)
    theirs = run(tmp_path / "grpo", {"asks": values}, missing=True)
    assert against(ours, theirs).differences[0].word is Word.TIED
    cut(tmp_path / "ours", "outputs", 300)
    (row,) = against(Tables(StoredRun(tmp_path / "ours")), theirs).differences
    assert (row.planned, row.shared, row.missing.ours) == (320, 300, 20)
    assert row.word is Word.CANNOT_TELL and row.why is not None
    assert row.why.startswith("20 of 320 outputs of ours are missing; ")
    cut(tmp_path / "ours", "samples", 300)
    found = against(Tables(StoredRun(tmp_path / "ours")), theirs)
    assert found.differences == ()
    assert found.refusals[0].reason == "our side holds 300 of the 320 samples that it planned"


def cut(folder: Path, table: str, rows: int) -> None:
    """Keep the first rows of a table, as if the run itself had left it so."""
    path = folder / f"{table}.parquet"
    pq.write_table(pq.read_table(path).slice(0, rows), path)
    example.reseal(folder)


def test_the_whole_benchmark_is_counted_where_a_run_has_it(tmp_path: Path) -> None:
    """Of 320 questions 80 were asked; only what a run holds of a group is known."""
    rng = np.random.default_rng(21)
    ours, theirs = flips(rng, 320, 20, 16)
    few = run(tmp_path / "ours", {"asks": ours[:80]}, by="task", groups=1)
    part = run(tmp_path / "grpo", {"asks": theirs[:80]}, by="task", groups=1)
    found = against(few, part)
    (row,), (group,) = found.differences, found.groups
    assert (row.available, row.available_counted) == (320, False)
    assert (group.available, group.available_counted) == (None, False)
    assert row.deciding is not None and "320" in row.deciding.sentence
    assert "about 320" in row.deciding.sentence
    whole = run(tmp_path / "whole", {"asks": theirs}, by="task", groups=1)
    found = against(few, whole)
    (row,), (group,) = found.differences, found.groups
    assert row.clusters == 80
    assert (row.available, row.available_counted) == (320, True)
    assert (group.available, group.available_counted) == (320, True)


def test_three_of_three_has_one_interval_however_it_is_rounded() -> None:
    """The weights of a mean may miss 1 by the last digits: the exact bound is .05^(1/3)."""
    for value in (1.0, 0.9999999999999999):
        found = agreeing_interval(value, 3, Bounds(0.0, 1.0))
        assert found is not None and found.low == pytest.approx(0.05 ** (1 / 3))
        assert found.high >= value
