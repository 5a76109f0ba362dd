"""VIEScore's reading of a judge, as GEdit-Bench uses it (`viescore/__init__.py`, `utils.py`).

A judge rates an edit twice, in JSON with a list `score` of 0 to 10: how well the instruction was
followed and the rest was kept (SC, from source and edited picture), and how good the edited picture
looks (PQ, from it alone). SC and PQ are the lowest of their lists, the overall is sqrt(SC * PQ).
Odd but official: a bare "[7, 8]" or "7" is read on the first try only, whatever stands between the
first "{" and the last "}" is the JSON, "70" passes, and if one of the two replies cannot be read
both are asked again.
Departures: from the second try on official code draws a random number for a reply without braces,
and it never stops asking where there are braces but no JSON. Here both are the judge's failure, the
latter after `TRIES` tries, and so is a pair of scores whose product has no root. A judge's thoughts
are cut off before anything is read (`judges/thoughts.py`): their braces would be taken for JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from pairuni_eval.benchmark import MetricValue
from pairuni_eval.judges.judge import Judge, JudgeReply, Question, consult_all
from pairuni_eval.records import Status
from pairuni_eval.scorers.judge_calls import marks_without_score

METRICS: tuple[str, ...] = ("semantics", "quality", "overall")
TRIES = 5  # official code has no limit
RATE_LIMIT = "rate_limit_exceeded"  # what upstream's client says in place of a reply

_DELIMITER = "||V^=^V||"
_BARE_KEY = re.compile(r"(\w+):")
_ENTRY = re.compile(r'(".*?"):(.*?)(,|})')
_NUMBER = re.compile(r"-?\d+(\.\d+)?$")
_LITERAL = re.compile(r"(true|false|null)$", re.IGNORECASE)
_TWO_SCORES = re.compile(r"\[\d+, ?\d+\]$")


class Unread(Enum):
    """Why there is nothing in a reply."""

    FAILED = "official code asks again"
    GUESSED = "official code draws a random number"


# One reply


def is_int_between_0_and_10(text: str) -> bool:
    """Whether Python reads the whole text as an integer of 0 to 10."""
    try:
        return 0 <= int(text) <= 10
    except ValueError:
        return False


def fix_json(text: str) -> str:
    """Quote bare keys and bare values, and put single numbers into a list.

    Source: stepfun-ai/Step1X-Edit, `GEdit-Bench/viescore/utils.py:fix_json`.
    """
    quoted = _BARE_KEY.sub(r'"\1":', text)
    end = max(quoted.rfind(","), quoted.rfind("}")) + 1  # no entry ends behind this
    return _ENTRY.sub(_fixed_entry, quoted[:end]) + quoted[end:]


def _fixed_entry(entry: re.Match[str]) -> str:
    key, value, end = entry.group(1), entry.group(2).strip(), entry.group(3)
    if _NUMBER.match(value):
        value = f"[{value}]"
    elif not _LITERAL.match(value):
        value = f'"{value}"'
    return f"{key}: {value}{end}"


def parse(reply: str, *, first_try: bool = True) -> Any:
    """What a reply holds: nearly always a dict with a list `score`, or an `Unread`.

    Exactly as lenient as upstream: JSON that had to be mended, or stands between delimiters, may be
    anything.

    Source: stepfun-ai/Step1X-Edit, `GEdit-Bench/viescore/utils.py:mllm_output_to_dict`.

    Raises:
        json.JSONDecodeError: for two bare scores in digits that are none to JSON, as upstream.
    """
    if reply == RATE_LIMIT:
        return reply
    if reply.count(_DELIMITER) == 2:
        return _decode(reply[reply.find(_DELIMITER) + len(_DELIMITER) : reply.rfind(_DELIMITER)])
    if "{" in reply and "}" in reply:
        return _decode(reply[reply.find("{") : reply.rfind("}") + 1])
    return _bare_scores(reply) if first_try else Unread.GUESSED


def _bare_scores(reply: str) -> Any:
    listed = reply[reply.find("[") : reply.rfind("]") + 1]
    if _TWO_SCORES.match(listed):
        scores, kind = json.loads(listed), "a list of scores"
    elif is_int_between_0_and_10(reply):
        scores, kind = [int(reply)], "a number"
    else:
        return Unread.FAILED
    return {"score": scores, "reasoning": f"System: output is simply {kind}"}


def _decode(between: str) -> Any:
    """The JSON in a piece of a reply, mended if need be."""
    if not between:
        return Unread.FAILED
    text = between.strip().replace("\n", "")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return _mended(text)
    if not isinstance(found, dict) or "score" not in found:
        return _mended(text)
    if not isinstance(found["score"], list):
        found["score"] = [found["score"]]
    return found


def _mended(text: str) -> Any:
    try:
        return json.loads(fix_json(text))
    except (ValueError, RecursionError):
        return Unread.FAILED


# Both replies


class Rating(NamedTuple):
    """The scores of one edit, as upstream returns them."""

    semantics: float
    quality: float
    overall: float


def overall(semantics: float, quality: float) -> float:
    """sqrt(SC * PQ).

    Raises:
        ValueError: if the product is negative.
    """
    return math.sqrt(semantics * quality)


def rating(semantics: Any, quality: Any) -> Rating:
    """The scores of two parsed replies.

    Raises:
        ValueError: an empty list of scores, a negative product, or a client at its rate limit.
        TypeError: scores that are not numbers, or a reply that is not an object.
        KeyError: an object without `score`.
    """
    if RATE_LIMIT in (semantics, quality):
        raise ValueError(RATE_LIMIT)
    lowest, looks = min(semantics["score"]), min(quality["score"])
    return Rating(lowest, looks, overall(lowest, looks))


class EditQuestions(NamedTuple):
    """The two questions about one edit."""

    semantics: Question
    quality: Question


class EditReplies(NamedTuple):
    """The two replies about one edit after the last try, and what they hold."""

    replies: tuple[JudgeReply, JudgeReply]
    parsed: tuple[Any, Any]

    @property
    def unread(self) -> Unread | None:
        """Whether a reply holds nothing: a failure that is asked again wins over a guess."""
        reasons = [one for one in self.parsed if isinstance(one, Unread)]
        return Unread.FAILED if Unread.FAILED in reasons else next(iter(reasons), None)


def ask_edits(
    judge: Judge | None, edits: Sequence[EditQuestions], *, tries: int = TRIES
) -> list[EditReplies]:
    """Ask both questions about every edit at once, then again where one reply cannot be read.

    Args:
        judge: None gives the status `skipped`, once.
        edits: Asked in the order SC, PQ, SC, PQ, ...
        tries: How often the two are asked at most.
    """
    found: dict[int, EditReplies] = {}
    again = list(range(len(edits)))
    for attempt in range(tries):
        if not again:
            break
        asked = [question._replace(attempt=attempt) for i in again for question in edits[i]]
        replies = iter(consult_all(judge, asked))
        for i in again:
            found[i] = _edit_replies((next(replies), next(replies)), first_try=attempt == 0)
        again = [i for i in again if found[i].unread is Unread.FAILED and judge is not None]
    return [found[i] for i in range(len(edits))]


def _edit_replies(replies: tuple[JudgeReply, JudgeReply], *, first_try: bool) -> EditReplies:
    """Read both replies; a call that failed is an empty one, as upstream's client makes it."""
    texts = [one.said if one.status is Status.SCORED else "" for one in replies]
    semantics, quality = (_parse_or_fail(text, first_try=first_try) for text in texts)
    return EditReplies(replies, (semantics, quality))


def _parse_or_fail(text: str, *, first_try: bool) -> Any:
    try:
        return parse(text, first_try=first_try)
    except ValueError:
        return Unread.FAILED


def edit_marks(edit: EditReplies, *, failure_counts: float | None = None) -> list[MetricValue]:
    """Grade one edit: `semantics`, `quality` and `overall`, 0 to 10.

    Args:
        edit: What the judge said at last.
        failure_counts: See `judge_calls.marks_without_score`.
    """
    found = None if edit.unread else _finite_rating(*edit.parsed)
    said = " | ".join(dict.fromkeys(reply.text for reply in edit.replies))
    judge = edit.replies[0].judge
    if found is None:
        reply = JudgeReply(said, _worse(edit.replies), judge)
        return marks_without_score(METRICS, reply, failure_counts=failure_counts)
    return [
        MetricValue(metric, float(value), verdict=said, judge=judge)
        for metric, value in zip(METRICS, found, strict=True)
    ]


def _finite_rating(semantics: Any, quality: Any) -> Rating | None:
    """The rating, None where replies that are JSON make no number."""
    try:
        found = rating(semantics, quality)
        return found if all(math.isfinite(value) for value in found) else None
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _worse(replies: tuple[JudgeReply, JudgeReply]) -> Status:
    """The status of the first reply that did not come; else that they could not be read."""
    return next((r.status for r in replies if r.status is not Status.SCORED), Status.SCORED)
