"""Replies of judges, read as the rubrics' own code reads them: WISE, WISE-Verified, ImgEdit.

WISE legacy (`WISE_legacy/gpt_eval.py`, `Calculate.py`): three criteria of 0 to 2, WiScore = (0.7
consistency + 0.2 realism + 0.1 aesthetic quality) / 2, categories weighted by their size. Odd but
official: any digit passes (so a 9 is a score), the last mention wins, "**Consistency:** 2" is not
read, and one missing prompt cancels the overall.
WISE-Verified (`vllm_eval.py`, `calculate_verified.py`): one score of 0 or 1, the first mention
wins; other prompts under the same ids, other bounds of the categories, other weights.
ImgEdit (`step1_get_avgscore.py`, `step2_typescore.py`): the mean of however many lines read
"something: digits"; "4/5", "4." and "**X:** 4" are passed over, a line "Brief reasoning: 5" counts.
lmms-eval reads WISE the same way and ImgEdit by the last three numbers after a colon; a judge's
failure is 0 there.
Departures: a reply that cannot be read is the judge's failure, a status, never a score of the
model, except under the protocol whose rule it is; and a judge's thoughts are cut off before any
rule reads (`judges/thoughts.py`), which official code does for WISE-Verified alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pairuni_eval.benchmark import MetricValue
from pairuni_eval.judges.judge import JudgeReply
from pairuni_eval.judges.thoughts import without_thoughts as without_thoughts  # noqa: PLC0414 - read here too
from pairuni_eval.records import Status
from pairuni_eval.scorers.judge_calls import marks_without_score

# WISE


class Edition(NamedTuple):
    """One of WISE's two editions.

    Attributes:
        last_id: The last prompt id of each category, in order; the first category begins at 1.
        weights: The weight of each category in the overall.
    """

    last_id: Mapping[str, int]
    weights: Mapping[str, float]


WISE_CRITERIA: tuple[str, ...] = ("consistency", "realism", "aesthetic_quality")
WISE_WEIGHTS: dict[str, float] = {
    "CULTURE": 0.4,
    "TIME": 0.167,
    "SPACE": 0.133,
    "BIOLOGY": 0.1,
    "PHYSICS": 0.1,
    "CHEMISTRY": 0.1,
}
LEGACY = Edition(
    {"CULTURE": 400, "TIME": 567, "SPACE": 700, "BIOLOGY": 800, "PHYSICS": 900, "CHEMISTRY": 1000},
    WISE_WEIGHTS,
)
VERIFIED = Edition(
    {"CULTURE": 400, "TIME": 520, "SPACE": 640, "BIOLOGY": 760, "PHYSICS": 880, "CHEMISTRY": 1000},
    dict.fromkeys(WISE_WEIGHTS, 0.12) | {"CULTURE": 0.4},
)

_WISE_NAMED = re.compile(
    r"\*{0,2}(consistency|realism|aesthetic quality)\*{0,2}\s*:?\s*(\d)", re.IGNORECASE
)
_WISE_BARE = re.compile(r"^\s*([0-2])\s*$", re.MULTILINE)
_VERIFIED_NAMED = re.compile(r"\*{0,2}score\*{0,2}\s*:?\s*([01])\b", re.IGNORECASE)
_VERIFIED_BARE = re.compile(r"^\s*([01])\s*$", re.MULTILINE)


def wise_scores(reply: str) -> dict[str, float]:
    """The criteria that a judge's reply gives under legacy WISE, by name; {} if it gives none.

    Three bare lines of 0 to 2 will do where no criterion is named.

    Source: PKU-YuanGroup/WISE, `WISE_legacy/gpt_eval.py`; lmms-eval 0.7.3, `tasks/WISE/utils.py`.
    """
    named = {
        name.lower().replace(" ", "_"): float(digit) for name, digit in _WISE_NAMED.findall(reply)
    }
    bare = _WISE_BARE.findall(reply)
    if named or len(bare) < len(WISE_CRITERIA):
        return named
    return dict(zip(WISE_CRITERIA, map(float, bare), strict=False))


def wise_is_complete(reply: str) -> bool:
    """Whether a reply gives all three criteria; official code asks again if it does not."""
    return len(wise_scores(reply)) == len(WISE_CRITERIA)


def wiscore(consistency: float, realism: float, aesthetic_quality: float) -> float:
    """WISE's weighted score, in [0, 1] for criteria of 0 to 2."""
    return (0.7 * consistency + 0.2 * realism + 0.1 * aesthetic_quality) / 2


def wise_category(prompt_id: int, edition: Edition = LEGACY) -> str | None:
    """The category that an edition gives an id of 1 to 1000; None outside."""
    if prompt_id < 1:
        return None
    return next((name for name, last in edition.last_id.items() if prompt_id <= last), None)


def wise_marks(reply: JudgeReply, *, failure_counts: float | None = None) -> list[MetricValue]:
    """Grade one picture by legacy WISE: the three criteria and `wiscore`.

    Args:
        reply: What the judge said, or its failure.
        failure_counts: See `marks_without_score`.
    """
    metrics = (*WISE_CRITERIA, "wiscore")
    scores = wise_scores(reply.said) if reply.status is Status.SCORED else {}
    if len(scores) < len(WISE_CRITERIA):
        return marks_without_score(metrics, reply, failure_counts=failure_counts)
    values = [scores[name] for name in WISE_CRITERIA]
    return [
        MetricValue(metric, value, verdict=reply.text, judge=reply.judge)
        for metric, value in zip(metrics, [*values, wiscore(*values)], strict=True)
    ]


def verified_score(reply: str) -> float | None:
    """0 or 1, as WISE-Verified reads a reply without its thoughts; None if it cannot.

    One bare line of 0 or 1 will do where no score is named.

    Source: PKU-YuanGroup/WISE, `vllm_eval.py`.
    """
    named = _VERIFIED_NAMED.search(reply)
    if named:
        return float(named.group(1))
    bare = _VERIFIED_BARE.findall(reply)
    return float(bare[0]) if len(bare) == 1 else None


def verified_marks(reply: JudgeReply) -> list[MetricValue]:
    """Grade one picture by WISE-Verified: `correct`, 0 or 1; arguments as in `wise_marks`."""
    score = None
    if reply.status is Status.SCORED:
        score = verified_score(reply.said)
    if score is None:
        return marks_without_score(("correct",), reply)
    return [MetricValue("correct", score, verdict=reply.text, judge=reply.judge)]


# ImgEdit

_AFTER_COLON = re.compile(r":\s*(\d+)")
_AT_LINE_END = re.compile(r"(\d+)\s*$")


def imgedit_score(reply: str) -> float | None:
    """Mean of the scores in a judge's reply, rounded to two decimals; None if it has none.

    Source: PKU-YuanGroup/ImgEdit, `Benchmark/Basic/step1_get_avgscore.py`.

    Raises:
        ValueError: for a character that counts as a digit and is not a number (a superscript), as
            upstream.
    """
    pieces = [line.strip().split(": ") for line in reply.splitlines()]
    scores = [int(piece[1]) for piece in pieces if len(piece) == 2 and piece[1].isdigit()]
    return round(sum(scores) / len(scores), 2) if scores else None


def lmms_imgedit_scores(reply: str) -> tuple[float, float, float] | None:
    """The last three numbers after a colon, else at the ends of lines; None if there are fewer.

    Source: EvolvingLMMs-Lab/lmms-eval 0.7.3, `tasks/imgedit/utils.py`, where None is three zeros.
    """
    ends = (_AT_LINE_END.search(line.strip()) for line in reply.strip().split("\n"))
    for found in (_AFTER_COLON.findall(reply), [end.group(1) for end in ends if end]):
        if len(found) >= 3:
            first, second, third = map(float, found[-3:])
            return first, second, third
    return None


def lmms_imgedit_score(reply: str) -> float | None:
    """The mean of lmms-eval's three scores, None if it finds fewer."""
    scores = lmms_imgedit_scores(reply)
    return sum(scores) / 3 if scores else None


def imgedit_marks(reply: JudgeReply, protocol: str = "official") -> list[MetricValue]:
    """Grade one edit from a judge's reply: `score`, 1 to 5.

    Args:
        reply: What the judge said, or its failure.
        protocol: "official" or "lmms-eval", under which a failed judge counts 0.

    Raises:
        ValueError: an unknown protocol.
    """
    if protocol not in ("official", "lmms-eval"):
        raise ValueError(f"no protocol '{protocol}' for ImgEdit")
    lmms = protocol == "lmms-eval"
    score = None
    if reply.status is Status.SCORED:
        score = _number(lmms_imgedit_score if lmms else imgedit_score, reply.said)
    if score is None:
        return marks_without_score(("score",), reply, failure_counts=0.0 if lmms else None)
    return [MetricValue("score", score, verdict=reply.text, judge=reply.judge)]


def _number(read: Callable[[str], float | None], reply: str) -> float | None:
    """What a rule reads, None where that is not a number: a superscript, hundreds of digits."""
    try:
        score = read(reply)
    except (ValueError, OverflowError):
        return None
    return score if score is not None and math.isfinite(score) else None
