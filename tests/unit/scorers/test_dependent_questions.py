"""DPG-Bench's questions: official and repaired rule over the same answers, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pairuni_eval.judges.judge import JudgeReply
from pairuni_eval.records import Status
from pairuni_eval.scorers.dependent_questions import (
    Proposition,
    broad_category_of,
    category_of,
    dpg_marks,
    official_propositions,
    officially_valid,
    repaired_propositions,
    said_yes_or_no,
    validly_right,
)


def row(item: str, number: int, parents: str, about: str = "entity - whole (x)") -> dict[str, Any]:
    return {
        "item_id": item,
        "proposition_id": str(number),
        "dependency": parents,
        "tuple": about,
        "question_natural_language": f"{item}{number}?",
    }


ROWS = [row("a", 1, "0"), row("a", 2, "1"), row("b", 1, "0"), row("a", 3, "1, 2")]


def test_the_first_row_and_former_blocks_are_lost_officially() -> None:
    items = official_propositions(ROWS)
    assert {item: list(listed) for item, listed in items.items()} == {"a": [3], "b": [1]}
    assert items["a"][3].parents == (1, 2)
    whole = repaired_propositions(ROWS)
    assert {item: list(listed) for item, listed in whole.items()} == {"a": [1, 2, 3], "b": [1]}


def listed(*parents: tuple[int, ...]) -> dict[int, Proposition]:
    return {n: Proposition("other (x)", one, "?") for n, one in enumerate(parents, start=1)}


@pytest.mark.parametrize(
    ("parents", "right", "official", "repaired"),
    [
        (((0,), (1,), (2,)), (True, True, True), 3, 3),
        (((0,), (1,), (2,)), (False, True, True), 0, 0),
        (((0,), (1,), (1,)), (True, False, True), 2, 2),
        (((2,), (0,)), (True, False), 0, 0),
        # A child in front of a parent that falls with its own parent keeps its point officially.
        (((2,), (3,), (0,)), (True, True, False), 1, 0),
        (((2,), (1,)), (True, True), 2, 2),  # a circle
    ],
)
def test_parents(parents: Any, right: Any, official: int, repaired: int) -> None:
    propositions = listed(*parents)
    answers = dict(enumerate(right, start=1))
    assert sum(officially_valid(answers, propositions).values()) == official
    assert sum(validly_right(answers, propositions).values()) == repaired


def test_a_parent_that_is_not_there_ends_the_official_rule_alone() -> None:
    propositions = {2: Proposition("entity - whole (x)", (1,), "?")}
    with pytest.raises(KeyError):
        officially_valid({2: True}, propositions)
    assert validly_right({2: True}, propositions) == {2: True}
    (first, *_) = dpg_marks({2: JudgeReply("yes")}, propositions, "official")
    assert (first.value, first.status) == (None, Status.SKIPPED)
    assert "first row" in (first.verdict or "")


def test_categories() -> None:
    one = Proposition("global - (oil painting)", (0,), "?")
    assert (category_of(one), broad_category_of(one)) == ("global -", "global")
    assert broad_category_of(Proposition("relation - non-spatial (a, b)", (0,), "?")) == "relation"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("yes", True),
        ("Yes.", True),
        ("**No**, there is none", False),
        ("no", False),
        ("not at all", None),
        ("I see yes", None),
        ("", None),
    ],
)
def test_answers_in_words(reply: str, says: bool | None) -> None:
    assert said_yes_or_no(reply) is says


def test_marks_of_a_picture() -> None:
    propositions = {
        1: Proposition("entity - whole (dog)", (0,), "?"),
        2: Proposition("attribute - color (dog, red)", (1,), "?"),
        3: Proposition("entity - part (tail)", (1,), "?"),
    }
    replies = {n: JudgeReply(said, judge="j") for n, said in ((1, "Yes"), (2, "yes"), (3, "yes"))}
    official = {m.metric: m.value for m in dpg_marks(replies, propositions, "official")}
    # "Yes" is wrong, and with it its children; categories count 2 and 3 all the same.
    assert official == dict.fromkeys(official, 0) | {"entity": 1, "attribute": 1}
    spoken = dpg_marks(replies, propositions, "vlm")
    assert [mark.value for mark in spoken] == [1, 2, 1, 0, 0, 0]
    assert {mark.judge for mark in spoken} == {"j"}
    with pytest.raises(ValueError, match="no protocol 'other'"):
        dpg_marks(replies, propositions, "other")
