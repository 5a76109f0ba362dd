"""Verdicts on the test points of a prompt, as UniGenBench++ reads a judge's reply.

Source: CodeGoat24/UniGenBench@49d0bcebb0b9, `eval/src/eval_common.py`. A reply holds `<analysis>`
and `<score>`, each a Python literal with as many elements as the prompt has points; it is stored as
JSON and read from there as a Python literal again. Odd but official: an apostrophe in an analysis
that stands in such quotes makes the reply unreadable, and so does `true`; `True` is read and then
lost, for JSON spells it otherwise, and so are nulls wherever they stand; "1" as text and 2 count as
wrong. What cannot be read after all tries leaves the denominator.

The repaired rule needs `<score>` alone, as JSON or as a Python literal, with or without a fence of
code: 1, 0, true, false and the texts "1" and "0" are verdicts, and whatever else is unreadable.
Departure of both: where official code ends with an exception (an analysis that has no length, a
score that JSON cannot hold), the reply is unreadable.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pairuni_eval.benchmark import MetricValue
from pairuni_eval.judges.judge import JudgeReply
from pairuni_eval.records import Status
from pairuni_eval.scorers.judge_calls import marks_without_score

POINT_METRICS = ("verdicts", "share")
MOST_POINTS = 15  # of a prompt: more decimal digits do not fit into a float

_ANALYSIS = re.compile(r"<analysis>(.*?)</analysis>", re.DOTALL)
_SCORE = re.compile(r"<score>(.*?)</score>", re.DOTALL)
_FENCE = re.compile(r"\A```\w*\s*(.*?)\s*```\Z", re.DOTALL)
_UNREADABLE = (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError)
_VERDICTS = {"1": True, "0": False}


class Evaluation(NamedTuple):
    """What official code takes from a reply: two literals, each as long as the points are many."""

    analysis: Any
    score: Any


def read_evaluation(reply: str, points: Sequence[str]) -> Evaluation | None:
    """The literals of a reply; None if they are not there, no literals or of another length.

    Raises:
        TypeError: for a literal that has no length, as upstream.
    """
    analysis, score = _ANALYSIS.search(reply), _SCORE.search(reply)
    if analysis is None or score is None:
        return None
    try:
        read = Evaluation(_literal(analysis.group(1)), _literal(score.group(1)))
    except (ValueError, SyntaxError):
        return None
    if len(points) != len(read.analysis) or len(points) != len(read.score):
        return None
    return read


def stored_scores(stored: str) -> Any:
    """The scores in a stored result, which official code reads as a Python literal.

    Raises:
        ValueError: if it is none, as JSON with true, false or null.
        KeyError: if it holds no scores.
    """
    return ast.literal_eval(stored)["score"]


def official_verdicts(reply: str, points: Sequence[str]) -> list[bool] | None:
    """Which points are right by the official rule; None if the reply counts for nothing."""
    try:
        read = read_evaluation(reply, points)
        if read is None:
            return None
        scores = stored_scores(json.dumps(read._asdict()))
    except _UNREADABLE:
        return None
    return [score == 1 for score in scores] if isinstance(scores, list) else None


def repaired_verdicts(reply: str, points: Sequence[str]) -> list[bool] | None:
    """Which points are right by the repaired rule; None if the reply cannot be read."""
    found = _SCORE.search(reply)
    if found is None:
        return None
    text = found.group(1).strip()
    fenced = _FENCE.match(text)
    listed = _value(fenced.group(1) if fenced else text)
    if not isinstance(listed, list | tuple):
        listed = [listed]
    verdicts = [_verdict(one) for one in listed]
    known = [one for one in verdicts if one is not None]
    return known if len(known) == len(verdicts) == len(points) else None


def as_digits(verdicts: Sequence[bool]) -> float:
    """Verdicts as one number, a decimal digit each in order: 101 is right, wrong, right.

    What `stats.pooled_points` reads back by the number of points.
    """
    return float(int("".join("01"[one] for one in verdicts)))


def point_marks(reply: JudgeReply, points: Sequence[str], protocol: str) -> list[MetricValue]:
    """Grade one picture: `verdicts` (see `as_digits`) and `share`, that of its points, 0 to 1.

    Args:
        reply: What the judge said, or its failure.
        points: The names of the prompt's points, 1 to `MOST_POINTS`.
        protocol: "official" or "repaired".

    Raises:
        ValueError: an unknown protocol.
    """
    read = POINT_RULES.get(protocol)
    if read is None:
        raise ValueError(f"no protocol '{protocol}' for UniGenBench++")
    verdicts = read(reply.said, points) if reply.status is Status.SCORED else None
    if verdicts is None:
        return marks_without_score(POINT_METRICS, reply)
    values = (as_digits(verdicts), sum(verdicts) / len(verdicts))
    return [
        MetricValue(metric, value, verdict=reply.text, judge=reply.judge)
        for metric, value in zip(POINT_METRICS, values, strict=True)
    ]


def point_tags(tag: str, dimensions: Iterable[str]) -> dict[str, str]:
    """The tags of a sample by which `stats.pooled_points` knows the dimensions of its points.

    Args:
        tag: The tag that holds every dimension once; that of every point stands in TAG_listed.
        dimensions: The dimension of each point, in order, none with a comma.
    """
    listed = list(dimensions)
    return {tag: ", ".join(dict.fromkeys(listed)), f"{tag}_listed": ", ".join(listed)}


POINT_RULES = {"official": official_verdicts, "repaired": repaired_verdicts}


class PointCount(NamedTuple):
    """How many points of one dimension were right, of how many."""

    correct: int = 0
    total: int = 0


def primary_of(point: str) -> str:
    """The primary dimension of a point as official code cuts it: "Action " of "Action - Hand"."""
    return point.split("-", 1)[0]


def count_points(
    names: Iterable[str], scores: Iterable[Any], so_far: Mapping[str, PointCount]
) -> dict[str, PointCount]:
    """Counts by name with the scores of one picture added; only what equals 1 is right."""
    counts = dict(so_far)
    for name, score in zip(names, scores, strict=False):
        correct, total = counts.get(name, PointCount())
        counts[name] = PointCount(correct + (score == 1), total + 1)
    return counts


def _literal(text: str) -> Any:
    return ast.literal_eval(text.strip())


def _value(text: str) -> Any:
    """What JSON or Python makes of a text; None if neither makes anything."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except _UNREADABLE:
            continue
    return None


def _verdict(score: Any) -> bool | None:
    if isinstance(score, str):
        return _VERDICTS.get(score.strip())
    if isinstance(score, int | float) and score in (0, 1):
        return score == 1
    return None
