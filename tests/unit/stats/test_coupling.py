"""Numbers over two-by-two tables and twins, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate
from pairuni_eval.stats.intervals import Estimate, estimate

Asked = tuple[int, str, float]  # unit, label, said yes


def answers(rows: list[Asked], **tags: list[str]) -> GradedRows:
    count = len(rows)
    columns = {"label": [label for _, label, _ in rows], **tags}
    return GradedRows(
        np.array([said for _, _, said in rows]),
        np.array([unit for unit, _, _ in rows]),
        np.zeros(count, dtype=np.int64),
        {name: np.array(column, dtype=object) for name, column in columns.items()},
    )


def twins(facts: list[tuple[int, str, float, float]], order: list[int] | None = None) -> GradedRows:
    """Facts as (unit, label of the asked one, asked right, twin right); one fact a unit."""
    rows: list[tuple[int, str, str, str, float]] = []
    for number, (unit, label, asked, other) in enumerate(facts):
        opposite = "no" if label == "yes" else "yes"
        rows += [
            (unit, label, "asked", f"f{number}", asked),
            (unit, opposite, "other", f"f{number}", other),
        ]
    rows = [rows[i] for i in order or range(len(rows))]
    return GradedRows(
        np.array([row[4] for row in rows]),
        np.array([row[0] for row in rows]),
        np.zeros(len(rows), dtype=np.int64),
        {
            name: np.array([row[i] for row in rows], dtype=object)
            for i, name in ((1, "label"), (2, "twin"), (3, "fact"))
        },
    )


def number(aggregate: str, rows: GradedRows) -> Estimate:
    return estimate(make_aggregate(MetricSpec(name="n", aggregate=aggregate), rows), rows)


# 8 that hold, of which 6 approved; 4 that do not, of which 1 approved.
TABLE = answers(
    [(n, "yes", float(n < 6)) for n in range(8)] + [(n, "no", float(n == 8)) for n in range(8, 12)]
)


def test_youden_j_and_kappa_by_hand() -> None:
    assert number("youden_j", TABLE).value == pytest.approx(6 / 8 - 1 / 4)
    chance = (8 * 7 + 4 * 5) / 144
    assert number("kappa", TABLE).value == pytest.approx((9 / 12 - chance) / (1 - chance))


@pytest.mark.parametrize("aggregate", ["youden_j", "kappa"])
@pytest.mark.parametrize("label", ["yes", "no"])
def test_a_constant_truth_has_no_number(aggregate: str, label: str) -> None:
    assert number(aggregate, answers([(n, label, 1.0) for n in range(20)])).value is None


def test_few_units_of_a_class_have_no_interval() -> None:
    assert number("youden_j", TABLE).interval is None  # 4 that do not hold
    rows = [(n, "yes", float(n % 2)) for n in range(10)] + [(n, "no", 0.0) for n in range(10, 20)]
    assert number("youden_j", answers(rows)).interval is not None
    assert number("youden_j", answers(rows[:-1])).interval is None


def test_a_row_without_a_value_counts_for_nothing() -> None:
    rows = TABLE._replace(value=np.where(np.arange(12) == 0, np.nan, TABLE.value))
    assert number("youden_j", rows).value == pytest.approx(5 / 7 - 1 / 4)


# Two of three that hold are seen; one of two that do not. The last pair lacks an answer.
TWINS = [
    (0, "yes", 1.0, 1.0),
    (1, "yes", 1.0, 1.0),
    (1, "yes", 1.0, 0.0),
    (2, "no", 1.0, 1.0),
    (2, "no", 0.0, 1.0),
    (3, "yes", 1.0, math.nan),
]


def test_twins_by_hand() -> None:
    rows = twins(TWINS)
    assert number("twins", rows).value == pytest.approx(3 / 5)
    assert number("balanced_twins", rows).value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert number("twin_gap", rows).value == pytest.approx(3 / 5 - 3 / 5)


def test_the_order_of_rows_moves_nothing() -> None:
    order = list(np.random.default_rng(1).permutation(2 * len(TWINS)))
    for name in ("twins", "balanced_twins", "twin_gap"):
        assert number(name, twins(TWINS, order)).value == number(name, twins(TWINS)).value


def test_a_lone_question_is_no_fact() -> None:
    rows = twins(TWINS).take(np.arange(2 * len(TWINS)) != 1)
    assert number("twins", rows).value == pytest.approx(2 / 4)


def test_the_penalty_is_the_difference_of_two_painters() -> None:
    own = [(0, "yes", 1.0), (0, "yes", 0.0), (0, "no", 0.0), (0, "no", 0.0)]  # J .5
    control = [(0, "yes", 1.0), (0, "no", 1.0), (0, "no", 0.0), (0, "no", 0.0)]  # J 2/3
    rows = answers([*own, *control], pictures=["painter"] * 4 + ["control"] * 4)
    assert number("youden_penalty", rows).value == pytest.approx(1 / 2 - 2 / 3)
    assert number("youden_penalty", rows.take(np.arange(8) < 4)).value is None


def test_a_reader_who_answers_both_painters_alike_has_an_interval_around_none() -> None:
    facts = [(n, ("yes", "no")[n // 20], float(n % 4 == 0)) for n in range(40)]
    rows = answers([*facts, *facts], pictures=["painter"] * 40 + ["control"] * 40)
    found = number("youden_penalty", rows)
    assert found.value == pytest.approx(0.0, abs=1e-12) and found.interval is not None
    reach = 2 * (1 - 0.025 ** (1 / 40))  # so many unseen units may differ, by all of J's range
    assert found.interval.low == pytest.approx(-reach) and found.interval.high == pytest.approx(
        reach
    )


def test_self_selection_by_hand() -> None:
    # unit 0: pictures right, wrong, wrong, right; approved 2, 2, 0, 1: the tie is half right, so
    # nothing is gained over the mean of .5. Unit 1: wrong and right, the right one approved: .5.
    pictures = [("right", 2), ("wrong", 2), ("wrong", 0), ("right", 1)]
    rows, draws, tags = [], [], []
    for draw, (word, votes) in enumerate(pictures):
        for fact in range(2):
            rows.append((0, "yes", float(fact < votes)))
            draws.append(str(draw))
            tags.append(word)
    for draw, (word, votes) in enumerate([("wrong", 0), ("right", 1)]):
        rows.append((1, "yes", float(votes)))
        draws.append(str(draw))
        tags.append(word)
    found = number("self_selection", answers(rows, draw=draws, picture=tags))
    assert found.value == pytest.approx((0.0 + 0.5) / (0.5 + 0.5))


# Two forms of one question


def forms(facts: list[tuple[int, float, list[float]]]) -> GradedRows:
    """Facts as (unit, said yes, named what is asked in each choice); one fact a unit."""
    rows: list[tuple[int, str, str, float]] = []
    for unit, said, chosen in facts:
        rows.append((unit, "yes_no", "asked", said))
        rows += [(unit, "choice", "", value) for value in chosen]
    columns = {"form": [row[1] for row in rows], "twin": [row[2] for row in rows]}
    return GradedRows(
        np.array([row[3] for row in rows]),
        np.array([row[0] for row in rows]),
        np.zeros(len(rows), dtype=np.int64),
        {name: np.array(column, dtype=object) for name, column in columns.items()},
    )


def test_two_forms_agree_by_hand() -> None:
    # Yes and 3 of 4; no and 1 of 4: six of eight agree. Yes 4 of 8, chosen 4 of 8: chance is half.
    rows = forms([(0, 1.0, [1, 1, 1, 0]), (1, 0.0, [0, 0, 0, 1])])
    assert number("form_agreement", rows).value == 6 / 8
    assert number("form_kappa", rows).value == pytest.approx((6 / 8 - 1 / 2) / (1 - 1 / 2))


def test_a_form_without_an_answer_agrees_with_nothing() -> None:
    rows = forms([(0, math.nan, [1, 1]), (1, 1.0, [1, math.nan])])
    assert number("form_agreement", rows).value == 1.0
    assert number("form_agreement", forms([(0, math.nan, [1, 1])])).value is None
    assert number("form_kappa", rows).value is None, "all said yes"


def test_balanced_by_hand() -> None:
    # 3 of 4 right where it holds, 1 of 2 where it does not: their mean, not 4 of 6.
    rows = answers(
        [(n, "yes", float(n < 3)) for n in range(4)] + [(n, "no", float(n == 4)) for n in (4, 5)]
    )
    assert number("balanced", rows).value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert number("balanced", answers([(0, "yes", 1.0)])).value is None
