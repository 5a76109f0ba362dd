"""Verdicts on test points: official and repaired reading of the same replies."""

from __future__ import annotations

import pytest

from pairuni_eval.judges.judge import JudgeReply
from pairuni_eval.records import Status
from pairuni_eval.scorers.point_verdicts import (
    as_digits,
    official_verdicts,
    point_marks,
    repaired_verdicts,
)

POINTS = ["Style", "World Knowledge", "Attribute - Quantity"]


def reply(score: str, analysis: str = '["a", "b", "c"]') -> str:
    return f"<analysis>{analysis}</analysis>\n<score>{score}</score>"


@pytest.mark.parametrize(
    ("text", "official", "repaired"),
    [
        (reply("[1, 0, 1]"), [True, False, True], [True, False, True]),
        (reply("1, 0, 1"), [True, False, True], [True, False, True]),
        (reply("[1.0, 0, 1]"), [True, False, True], [True, False, True]),
        # An apostrophe in the analysis loses the official verdicts.
        (reply("[1, 0, 1]", "['it's', 'b', 'c']"), None, [True, False, True]),
        (reply("[1, 0, 1]", '["a", None, "c"]'), None, [True, False, True]),
        (reply("[1, 0, 1]", '["a", "b"]'), None, [True, False, True]),
        (reply("[1, 0, 1]", "5"), None, [True, False, True]),
        (reply("[true, false, true]"), None, [True, False, True]),
        (reply("[True, False, True]"), None, [True, False, True]),
        (reply('["1", "0", 1]'), [False, False, True], [True, False, True]),
        (reply("[2, 0, 1]"), [False, False, True], None),
        (reply("[0.5, 0, 1]"), [False, False, True], None),
        (reply("{1, 0, 2}"), None, None),
        (reply("```json\n[1, 0, 1]\n```"), None, [True, False, True]),
        (reply("[1, 0]"), None, None),
        (reply("[1, null, 1]"), None, None),
        (reply("__import__('os').getcwd()"), None, None),
        (reply("[" * 3000), None, None),
        ("<score>[1, 0, 1]</score>", None, [True, False, True]),
        ("The picture shows two pandas.", None, None),
    ],
)
def test_replies(text: str, official: list[bool] | None, repaired: list[bool] | None) -> None:
    assert official_verdicts(text, POINTS) == official
    assert repaired_verdicts(text, POINTS) == repaired


def test_a_bare_number_is_a_verdict_on_one_point_when_repaired() -> None:
    text = reply("1", '["a"]')
    assert official_verdicts(text, ["Style"]) is None
    assert repaired_verdicts(text, ["Style"]) == [True]
    assert repaired_verdicts(text, POINTS) is None


def test_digits_name_the_points_in_order() -> None:
    assert as_digits([True, False, True]) == 101
    assert as_digits([False, False, True]) == 1
    assert as_digits([True] * 15) == 111_111_111_111_111


def test_marks_of_a_picture() -> None:
    marks = point_marks(JudgeReply(reply("[0, 1, 1]"), judge="j"), POINTS, "official")
    assert [(mark.metric, mark.value, mark.judge) for mark in marks] == [
        ("verdicts", 11.0, "j"),
        ("share", pytest.approx(2 / 3), "j"),
    ]
    failed = JudgeReply("down", Status.JUDGE_FAILED, "j")
    for said in (JudgeReply("no", judge="j"), failed):
        marks = point_marks(said, POINTS, "repaired")
        assert {(mark.value, mark.status) for mark in marks} == {(None, Status.JUDGE_FAILED)}
    with pytest.raises(ValueError, match="no protocol 'other'"):
        point_marks(failed, POINTS, "other")
