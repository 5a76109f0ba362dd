"""Two runs: paired differences, permutation p, Holm and the words."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from support import example_run as example

from pairuni_eval.cards import Card, MetricSpec, ProtocolSpec
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.records import Capability, make_item
from pairuni_eval.stats.compare import (
    Comparison,
    Counts,
    Difference,
    Units,
    Word,
    compare_page,
    holm,
)
from pairuni_eval.stats.scope import seeds_warning
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.write import write_record


def card(
    name: str = "toy",
    direction: str = "up",
    unparsed: str = "wrong",
    by: str | None = None,
    version: str = "1",
) -> Card:
    metric = MetricSpec(name="accuracy", direction=direction, by=by)  # type: ignore[arg-type]
    rule = ProtocolSpec(
        summary="", source="", headline="accuracy", metrics=(metric,), unparsed=unparsed
    )  # type: ignore[arg-type]
    return Card(
        name=name,
        title=name,
        summary="",
        version=version,
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
    tasks: tuple[str, ...] = ("counting",),
    name: str = "tiny",
    weights: str | None = None,
    parent: str | None = None,
) -> StoredRun:
    """A run whose sample n (from `first`) scores values[n]; `per_unit` samples share a cluster.

    The samples go through `tasks` in blocks of equal size.
    """
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
                tags={"task": tasks[(n - first) * len(tasks) // len(values)]},
            )
            made.append(example.Graded(item, "answer", {"correct": value}))
        graded[one.name] = made
    example.store(folder, list(cards), graded, name=name, weights=weights, parent=parent)
    return StoredRun(folder)


def compared(ours: Tables, theirs: Tables, **settings: float) -> Comparison:
    name = theirs.run.printed_name
    return compare_page((ours,), {name: (theirs,)}, **settings)[name]


def both(ours: StoredRun, theirs: StoredRun) -> Comparison:
    return compared(Tables(ours), Tables(theirs))


def only(ours: StoredRun, theirs: StoredRun) -> Difference:
    (found,) = both(ours, theirs).differences
    return found


def test_clear_improvement_is_better(tmp_path: Path) -> None:
    found = only(run(tmp_path / "a", [1.0] * 20), run(tmp_path / "b", [0.0] * 18 + [1.0] * 2))
    assert found.value == pytest.approx(0.9)
    assert found.word is Word.BETTER and found.shared == 20 and found.clusters == 20
    assert found.interval is not None and found.interval.low > 0.6
    assert found.p is not None and found.p <= 2 / 2001


def test_down_is_better_where_the_card_says_so(tmp_path: Path) -> None:
    cards = (card(direction="down"),)
    ours = run(tmp_path / "a", [1.0] * 20, cards=cards)
    found = only(ours, run(tmp_path / "b", [0.0] * 20, cards=cards))
    # every cluster agrees: exactly .025^(1/20) of them may be others, on the range from -1 to 1
    assert found.word is Word.WORSE
    assert found.interval == pytest.approx((1 - 2 * (1 - 0.025 ** (1 / 20)), 1.0), abs=1e-9)


def test_exact_permutation_by_hand(tmp_path: Path) -> None:
    # five clusters, every one in favor: only all-kept and all-swapped are as extreme, 2 / 32
    values = [1.0, 1.0, 1.0, 1.0, 1.0]
    found = only(run(tmp_path / "a", values), run(tmp_path / "b", [0.0] * 5))
    assert found.p == pytest.approx(2 / 32)
    assert found.word is Word.CANNOT_TELL


def test_clusters_are_swapped_whole(tmp_path: Path) -> None:
    ours = run(tmp_path / "a", [1.0] * 10, per_unit=2)
    found = only(ours, run(tmp_path / "b", [0.0] * 10, per_unit=2))
    assert found.clusters == 5 and found.p == pytest.approx(2 / 32)


@pytest.mark.parametrize(("count", "word"), [(20, Word.CANNOT_TELL), (300, Word.TIED)])
def test_equal_outputs_are_tied_where_there_are_enough(
    tmp_path: Path, count: int, word: Word
) -> None:
    values: list[float | None] = [1.0, 0.0] * (count // 2)
    sides = [run(tmp_path / name, values, weights=name * 64) for name in "ab"]
    found = only(*sides)
    assert found.value == 0 and found.word is word and found.p == 1 and found.equal
    most = 1 - 0.025 ** (1 / count)
    assert found.interval == pytest.approx((-most, most)) == found.joint
    if word is Word.CANNOT_TELL:
        assert found.why == "the same score in all 20"
        assert found.sentence == "toy: cannot tell; 10 -> 10 of 20; the same score in all 20"
        assert found.deciding is not None and found.deciding.units == 299


def test_equal_weights_are_said_to_be_equal(tmp_path: Path) -> None:
    ours, theirs = (run(tmp_path / name, [1.0] * 8 + [0.0] * 9, weights="c" * 64) for name in "ab")
    found = both(ours, theirs)
    assert found.same_weights and found.scope is None and found.note == "Both are the same weights."
    (row,) = found.differences
    assert row.word is Word.TIED
    assert row.sentence == (
        "toy is tied: 8 -> 8 of 17; both are the same weights, and no shared output differs"
    )


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
    assert both(ours, run(tmp_path / "b", [1.0] * 4, cards=(card("other"),))).differences == ()
    found = only(ours, run(tmp_path / "c", [1.0] * 4, first=100))
    assert found.shared == 0 and found.value is None and found.word is Word.CANNOT_TELL


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.9, 0.8]) == pytest.approx((1.0, 1.0))
    assert holm([]) == ()


def test_headlines_are_corrected_together(tmp_path: Path) -> None:
    cards = tuple(card(name) for name in ("one", "two", "three"))
    rows = both(
        run(tmp_path / "a", [1.0] * 6, cards=cards), run(tmp_path / "b", [0.0] * 6, cards=cards)
    ).differences
    assert [row.p for row in rows] == pytest.approx([2 / 64] * 3)
    assert [row.corrected for row in rows] == pytest.approx([6 / 64] * 3)
    assert {row.word for row in rows} == {Word.CANNOT_TELL}


def rewrite(run: StoredRun, table: str, **columns: str) -> StoredRun:
    """The run with some columns of a stored table replaced."""
    path = run.folder / f"{table}.parquet"
    pd.read_parquet(path).assign(**columns).to_parquet(path)
    return StoredRun(example.reseal(run.folder))


def test_a_regression_is_named_in_words(tmp_path: Path) -> None:
    cards = (card("tiny-toy", by="task"),)
    tasks = ("single_object", "counting")
    ours = run(tmp_path / "a", [1.0] * 40 + [0.0] * 20 + [1.0] * 20, cards=cards, tasks=tasks)
    theirs = run(tmp_path / "b", [0.0] * 2 + [1.0] * 78, cards=cards, tasks=tasks)
    found = both(ours, theirs)
    worse, single = found.groups[1], found.groups[0]
    assert worse.sentence == (
        "counting (tiny-toy) is worse than tiny: 40 -> 20 of 40, p < .001; "
        "this checkpoint, one seed"
    )
    assert worse.counts == Counts(20, 40, 40) and worse.units == Units(0, 20, 20)
    assert worse.p == pytest.approx(2 / 2**20) and worse.corrected == pytest.approx(8 / 2**20)
    assert single.word is Word.CANNOT_TELL and single.p == 0.5
    assert [row.subject for row in found.regressions] == ["tiny-toy", "counting (tiny-toy)"]
    assert found.gains == ()


def test_mcnemar_for_single_outputs(tmp_path: Path) -> None:
    ours = run(tmp_path / "a", [1.0] * 15 + [0.0] * 5)
    theirs = run(tmp_path / "b", [1.0] * 5 + [0.0] * 14 + [1.0])
    found = only(ours, theirs)
    # 10 against 1 of 11: 2 (1 + 11) / 2048
    assert found.test == "McNemar, exact" and found.p == pytest.approx(24 / 2048)
    assert found.sentence == (
        "toy is better than tiny: 6 -> 15 of 20, p = .01; this checkpoint, one seed"
    )


@pytest.mark.parametrize(("direction", "won"), [("up", Units(2, 1, 1)), ("down", Units(1, 2, 1))])
def test_a_unit_is_won_after_the_direction_of_the_metric(
    tmp_path: Path, direction: str, won: Units
) -> None:
    cards = (card(direction=direction),)
    ours = run(tmp_path / "a", [1, 1, 1, 1, 0, 0, 1, 1], per_unit=2, cards=cards)
    theirs = run(tmp_path / "b", [0, 0, 1, 0, 0, 1, 1, 1], per_unit=2, cards=cards)
    assert only(ours, theirs).units == won


def test_a_benchmark_of_one_run_alone_is_refused(tmp_path: Path) -> None:
    cards = (card("one"), card("two"))
    ours = run(tmp_path / "a", [1.0] * 4, cards=cards)
    found = both(ours, run(tmp_path / "b", [1.0] * 4, cards=cards[1:]))
    assert [one.sentence for one in found.refusals] == [
        "one: the other side was not measured on it"
    ]
    assert found.checked() is found
    turned = both(run(tmp_path / "c", [1.0] * 4, cards=cards[1:]), ours)
    assert [one.sentence for one in turned.refusals] == ["one: our side was not measured on it"]


def test_a_protocol_of_one_run_alone_is_refused(tmp_path: Path) -> None:
    one = card()
    lenient = msgspec.structs.replace(
        one, protocols={**one.protocols, "lenient": one.protocols["official"]}
    )
    ours = run(tmp_path / "a", [1.0] * 4, cards=(lenient,))
    found = both(ours, run(tmp_path / "b", [1.0] * 4))
    assert [row.protocol for row in found.differences] == ["official"]
    assert [one.sentence for one in found.refusals] == [
        "toy@lenient: the other side was not graded under this protocol"
    ]


def test_nothing_in_common_is_an_error_that_says_why(tmp_path: Path) -> None:
    ours = run(tmp_path / "a", [1.0] * 4)
    found = both(ours, run(tmp_path / "b", [1.0] * 4, cards=(card("other"),)))
    with pytest.raises(UserError, match="toy: the other side was not measured on it"):
        found.checked()
    found = both(ours, run(tmp_path / "c", [1.0] * 4, first=100))
    with pytest.raises(UserError, match="accuracy: no output has a value on both sides"):
        found.checked()


def test_another_judge_is_refused_and_both_numbers_shown(tmp_path: Path) -> None:
    ours = rewrite(run(tmp_path / "a", [1.0] * 20), "scores", judge="gpt-4o-2024-05-13")
    theirs = rewrite(run(tmp_path / "b", [0.0] * 20), "scores", judge="qwen2.5-vl-72b")
    found = only(ours, theirs)
    reason = "the judge is gpt-4o-2024-05-13 in one run and qwen2.5-vl-72b in another"
    assert found.reason == reason and found.word is Word.CANNOT_TELL
    assert (found.ours, found.theirs, found.p, found.interval) == (1.0, 0.0, None, None)
    assert found.sentence == f"toy: not compared, {reason}"
    assert [one.reason for one in both(ours, theirs).refusals] == [reason]


def test_another_scorer_is_refused(tmp_path: Path) -> None:
    theirs = rewrite(run(tmp_path / "b", [0.0] * 20), "scores", scorer="made_up/2")
    found = only(run(tmp_path / "a", [1.0] * 20), theirs)
    assert found.reason == "the scorer is made_up/1 in one run and made_up/2 in another"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (
            card(unparsed="excluded"),
            "the rule for unparsed answers is wrong in one run and excluded",
        ),
        (card(direction="down"), "the metric's `direction` is up in one run and down"),
        (card(version="2"), "the benchmark's version is 1 in one run and 2"),
    ],
)
def test_another_rule_is_refused(tmp_path: Path, other: Card, reason: str) -> None:
    found = only(run(tmp_path / "a", [1.0] * 20), run(tmp_path / "b", [0.0] * 20, cards=(other,)))
    assert found.reason == f"{reason} in another" and found.ours is None
    assert found.word is Word.CANNOT_TELL


def test_other_decoding_is_said_beside_the_verdict(tmp_path: Path) -> None:
    ours, theirs = run(tmp_path / "a", [1.0] * 20), run(tmp_path / "b", [0.0] * 20)
    part = theirs.card.benchmarks["toy"]
    other = msgspec.structs.replace(part, decoding=Decoding(temperature=1.0))
    write_record(
        theirs.folder / layout.RUN_FILE,
        msgspec.structs.replace(theirs.card, benchmarks={"toy": other}),
    )
    found = only(ours, StoredRun(example.reseal(theirs.folder)))
    assert found.settings == ("temperature 0.0 and 1.0",) and not found.same_settings
    assert found.word is Word.BETTER


def test_the_margin_is_stated_and_can_be_chosen(tmp_path: Path) -> None:
    base = [1.0, 0.0] * 200
    other = [0.0, 1.0, *base[2:]]
    tables = Tables(run(tmp_path / "a", base)), Tables(run(tmp_path / "b", other))
    # two of 400 differ: the error is sqrt(2 / 399) / 20 = 0.00354, so 1 % is 2.8 errors away
    (narrow,) = compared(*tables).differences
    assert narrow.margin == pytest.approx(0.01) and narrow.word is Word.TIED
    assert narrow.sentence == (
        "toy is tied: 200 -> 200 of 400; they differ by less than 1.0 points, p = .04; "
        "this checkpoint, one seed"
    )
    (strict,) = compared(*tables, margin=0.005).differences
    assert strict.word is Word.CANNOT_TELL and strict.tie_p is not None and strict.tie_p > 0.05


def test_power_stands_beside_cannot_tell(tmp_path: Path) -> None:
    ours = run(tmp_path / "a", [1.0, 0.0] * 10)
    found = only(ours, run(tmp_path / "b", [0.0, 1.0] * 9 + [1.0, 0.0]))
    # 18 of 20 differ by 1, and two of variance an eighth are added: error sqrt(18.25 / 21 / 20);
    # t(21) is 2.079614 and 0.859074
    detectable = (2.079614 + 0.859074) * (18.25 / 21 / 20) ** 0.5
    assert found.detectable == pytest.approx(detectable, abs=1e-5)
    assert found.sentence == (
        "toy: cannot tell; 10 -> 10 of 20, p = 1; less than 61.3 points would not be found"
    )


def test_a_group_of_one_run_alone_is_refused(tmp_path: Path) -> None:
    cards = (card(by="task", unparsed="excluded"),)
    tasks = ("colors", "counting")
    ours = run(tmp_path / "a", [1.0] * 8, cards=cards, tasks=tasks)
    theirs = run(tmp_path / "b", [1.0] * 4 + [None] * 4, cards=cards, tasks=tasks)
    found = both(ours, theirs)
    assert [row.group for row in found.groups] == ["colors", "counting"]
    assert [one.sentence for one in found.refusals] == [
        "toy@official, accuracy, counting: no output has a value on both sides"
    ]


def test_one_run_each_is_said(tmp_path: Path) -> None:
    ours = run(tmp_path / "a", [1.0] * 4, name="mine")
    found = both(ours, run(tmp_path / "b", [0.0] * 4, name="grpo"))
    assert found.scope == "this checkpoint, one seed"
    assert seeds_warning([found.about, found.about]) == (
        "mine and grpo are one training seed each; another seed could change the verdict"
    )
    assert found.about.needed == "three training seeds a side"
    assert found.note == (
        "mine has one training seed: what is said about it holds for this checkpoint, not for "
        "training it again. grpo has one training seed: what is said about it holds for this "
        "checkpoint, not for training it again."
    )


@pytest.mark.parametrize("by", ["weights", "name"])
def test_only_against_its_parent_did_a_checkpoint_get_worse(tmp_path: Path, by: str) -> None:
    theirs = run(tmp_path / "b", [1.0] * 20, name="base", weights="b" * 64)
    parent = "b" * 64 if by == "weights" else "base"
    ours = run(tmp_path / "a", [0.0] * 20, name="mine", parent=parent)
    found = both(ours, theirs)
    assert found.about.needed == "three training seeds of mine"  # the parent is not trained again
    assert found.differences[0].sentence == (
        "toy got worse: 20 -> 0 of 20, p < .001; this checkpoint, one seed"
    )
    turned = both(theirs, ours)
    assert turned.scope == "one seed of mine"
    assert turned.differences[0].sentence == (
        "toy is better than mine: 0 -> 20 of 20, p < .001; one seed of mine"
    )
