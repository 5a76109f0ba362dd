"""Questions that depend on each other, as DPG-Bench asks them about a picture.

Source: TencentQQGYLab/ELLA@3c228f1dc6c4, `dpg_bench/compute_dpg_bench.py`. A question is right if
the answer is "yes"; one whose parent is wrong is wrong, too; a picture is worth the share of its
questions that are right. Odd but official: the first row of the file is thrown away, so that the
children of its proposition name a parent that is not there and their item has no score; of an item
whose rows do not stand together the last block counts; parents are looked at in the order of the
rows, so that a child in front of a parent that falls with its own parent keeps its point; "Yes" and
"yes." are wrong; scores by category leave the parents out of account.

The repaired rule keeps every row, looks at all parents of a question and at theirs, whatever the
order, and passes over a parent that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pairuni_eval.benchmark import MetricValue
from pairuni_eval.judges.judge import JudgeReply
from pairuni_eval.records import Status
from pairuni_eval.scorers.judge_calls import marks_without_score

BROAD_CATEGORIES = ("entity", "attribute", "relation", "global", "other")
DPG_METRICS = ("score", *BROAD_CATEGORIES)
YES = "yes"
NO_PARENT = 0


class Proposition(NamedTuple):
    """One question about a picture.

    Attributes:
        about: What it is about, its category in front: "entity - whole (dog)".
        parents: Numbers of the propositions without which it makes no sense; 0 is none.
        question: What is asked.
    """

    about: str
    parents: tuple[int, ...]
    question: str


Propositions = Mapping[int, Proposition]
"""The propositions of an item by their numbers, in the order of the rows."""


def official_propositions(rows: Iterable[Mapping[str, Any]]) -> dict[Any, dict[int, Proposition]]:
    """The propositions of every item as official code reads them from the rows of its file.

    Raises:
        ValueError: for a number or a parent that is none, as upstream.
        AttributeError: for parents that are no text, as upstream.
    """
    items: dict[Any, dict[int, Proposition]] = {}
    former: Any = ""
    for place, row in enumerate(rows):
        if place == 0:
            continue
        item = row["item_id"]
        if item != former:
            items[item] = {}
        items[item][int(row["proposition_id"])] = _proposition(row)
        former = item
    return items


def repaired_propositions(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, Proposition]]:
    """The propositions of every item, from all rows; errors as `official_propositions`."""
    items: dict[str, dict[int, Proposition]] = {}
    for row in rows:
        items.setdefault(row["item_id"], {})[int(row["proposition_id"])] = _proposition(row)
    return items


def officially_valid(right: Mapping[int, bool], propositions: Propositions) -> dict[int, bool]:
    """Which questions are right once those with a wrong parent are wrong, in the order of the rows.

    Raises:
        KeyError: for a parent that is not there, as upstream.
    """
    valid = dict(right)
    for number, one in propositions.items():
        if any(parent != NO_PARENT and not valid[parent] for parent in one.parents):
            valid[number] = False
    return valid


def validly_right(right: Mapping[int, bool], propositions: Propositions) -> dict[int, bool]:
    """The same of the repaired rule: right is what is right with all of its ancestors."""
    return {
        number: all(right[one] for one in _with_ancestors(number, propositions))
        for number in propositions
    }


def share(valid: Mapping[int, bool]) -> float:
    """The share of questions that are right.

    Raises:
        ZeroDivisionError: without a question, as upstream.
    """
    return sum(valid.values()) / len(valid)


def category_of(proposition: Proposition) -> str:
    """The finer category of a question, "entity - whole"; of "global - (oil)" it is "global -"."""
    return proposition.about.split("(")[0].strip()


def broad_category_of(proposition: Proposition) -> str:
    """The broad category of a question: "entity"."""
    return category_of(proposition).split("-")[0].strip()


def said_yes_or_no(reply: str) -> bool | None:
    """Whether a reply in words says yes; None if its first word is neither yes nor no."""
    words = reply.split(maxsplit=1)
    first = words[0].strip(".,;:!*\"'`()").casefold() if words else ""
    return {YES: True, "no": False}.get(first)


def dpg_marks(
    replies: Mapping[int, JudgeReply], propositions: Propositions, protocol: str
) -> list[MetricValue]:
    """Grade one picture: `score`, 0 to 1, and by broad category how many questions are right.

    Of an item whose score officially ends with an exception nothing has a value.

    Args:
        replies: The answer to every question, by its number.
        propositions: The item's, as the protocol reads them.
        protocol: "official", "repaired", or "vlm", whose answers are in words.

    Raises:
        ValueError: an unknown protocol.
    """
    if protocol not in ("official", "repaired", "vlm"):
        raise ValueError(f"no protocol '{protocol}' for DPG-Bench")
    right = {
        number: said_yes_or_no(reply.said) is True if protocol == "vlm" else reply.text == YES
        for number, reply in replies.items()
    }
    rule = officially_valid if protocol == "official" else validly_right
    try:
        score = share(rule(right, propositions))
    except (KeyError, ZeroDivisionError):
        lost = "officially no score: a question of this item stood in the first row, which is lost"
        return marks_without_score(DPG_METRICS, JudgeReply(lost, Status.SKIPPED))
    hits = [
        sum(right[n] for n, one in propositions.items() if broad_category_of(one) == name)
        for name in BROAD_CATEGORIES
    ]
    wrong = ", ".join(str(number) for number, one in right.items() if not one)
    judge = next(iter(replies.values())).judge
    words = f"no to question {wrong}" if wrong else "yes to every question"
    return [
        MetricValue(metric, float(value), verdict=words, judge=judge)
        for metric, value in zip(DPG_METRICS, (score, *hits), strict=True)
    ]


def _proposition(row: Mapping[str, Any]) -> Proposition:
    parents = tuple(int(parent.strip()) for parent in row["dependency"].split(","))
    return Proposition(row["tuple"], parents, row["question_natural_language"])


def _with_ancestors(number: int, propositions: Propositions) -> set[int]:
    """A question, its parents, theirs and so on; circles end where they began."""
    found: set[int] = set()
    waiting = [number]
    while waiting:
        one = waiting.pop()
        if one in propositions and one not in found:
            found.add(one)
            waiting.extend(propositions[one].parents)
    return found
