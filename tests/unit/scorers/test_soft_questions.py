"""Soft-TIFA, TIFA and VQAScore, by hand."""

from __future__ import annotations

import json
import math

import pytest

from pairuni_eval.judges.first_token import read_token_probabilities, token_probabilities
from pairuni_eval.judges.judge import JudgeReply
from pairuni_eval.records import Status
from pairuni_eval.scorers.soft_questions import (
    geometric_mean,
    is_likeliest,
    mass,
    official_tokens,
    repaired_tokens,
    soft_marks,
    vqascore_marks,
)

COUNT = "How many kites are there?"
SEEN = {"4": 0.35, " ": 0.25, " four": 0.1, "Four": 0.05, "five": 0.2}


@pytest.mark.parametrize(
    ("question", "answer", "seen", "official", "repaired"),
    [
        (COUNT, "four", SEEN, 0.75, 0.5),
        (COUNT, "ten", {"1": 0.6, "ten": 0.1, " ": 0.1}, 0.8, 0.1),
        (COUNT, "some", {"some": 0.5, "other": 0.2}, 0.7, 0.5),
        ("how many kites?", "four", {"four": 1.0}, 0.0, 1.0),
        ("Is it red?", "Yes", {"Yes": 0.4, " yes": 0.3, "YES": 0.1}, 0.7, 0.7),
        ("Is it red?", "No", {"Yes": 0.4, "No": 0.5}, 0.4, 0.5),
    ],
)
def test_what_counts_as_right(
    question: str, answer: str, seen: dict[str, float], official: float, repaired: float
) -> None:
    assert mass(seen, official_tokens(question, answer)) == pytest.approx(official)
    assert mass(seen, repaired_tokens(question, answer)) == pytest.approx(repaired)


def test_the_likeliest_token() -> None:
    assert is_likeliest(SEEN, COUNT, "four")
    assert is_likeliest({"Yes": 0.5, "No": 0.4}, "Is it red?", "Yes")
    assert not is_likeliest({"Yes": 0.4, "No": 0.5}, "Is it red?", "Yes")


def test_geometric_mean() -> None:
    assert geometric_mean([0.25, 1.0]) == pytest.approx(0.5)
    assert geometric_mean([0.0, 1.0]) == 0.0
    with pytest.raises(ZeroDivisionError):
        geometric_mean([])


def said(**seen: float) -> JudgeReply:
    return JudgeReply(json.dumps(seen), judge="j")


def test_marks_of_a_picture() -> None:
    questions = [("Is there a kite?", "Yes"), ("Is it red?", "Yes"), (COUNT, "four")]
    skills = ["object", "attribute", "count"]
    replies = [said(Yes=1.0), said(Yes=0.5, No=0.5), said(four=0.25, five=0.25)]
    marks = soft_marks(replies, questions, skills, "official")
    values = {mark.metric: mark.value for mark in marks}
    assert values == pytest.approx(
        {
            "gm": 0.5,  # the cube root of 1 x 1/2 x 1/4
            "am": 1.75 / 3,
            "tifa": 1.0,  # of two that are equally likely the one that is listed first
            "outside": 0.5 / 3,
            "object": 1.0,
            "attribute": 0.5,
            "count": 0.25,
            "position": 0.0,
            "verb": 0.0,
        }
    )
    assert {mark.judge for mark in marks} == {"j"}
    with pytest.raises(ValueError, match="no protocol 'other'"):
        soft_marks(replies, questions, skills, "other")


@pytest.mark.parametrize(
    "reply",
    [
        JudgeReply("down", Status.JUDGE_FAILED, "j"),
        JudgeReply("Yes", judge="j"),
        JudgeReply("{}", judge="j"),
        JudgeReply('{"Yes": 2}', judge="j"),
        JudgeReply('{"Yes": NaN}', judge="j"),
    ],
)
def test_a_question_without_probabilities_costs_the_picture_its_score(reply: JudgeReply) -> None:
    questions = [("Is there a kite?", "Yes"), ("Is it red?", "Yes")]
    marks = soft_marks([said(Yes=1.0), reply], questions, ["object", "attribute"], "official")
    assert {(mark.value, mark.status) for mark in marks} == {(None, Status.JUDGE_FAILED)}
    assert {mark.value for mark in vqascore_marks(reply)} == {None}


def test_vqascore() -> None:
    score, outside = vqascore_marks(said(Yes=0.5, yes=0.2, No=0.2))
    assert (score.value, outside.value) == (pytest.approx(0.7), pytest.approx(0.1))


def test_probabilities_go_through_a_reply_and_back() -> None:
    text = token_probabilities(
        [("Yes", math.log(0.5)), ("\ufffd", math.log(0.1)), ("Yes", -9999.0)]
    )
    assert read_token_probabilities(text) == pytest.approx({"Yes": 0.5, "\ufffd": 0.1})
