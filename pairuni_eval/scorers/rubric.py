"""Replies of judges, read as the rubrics' own code reads them: WISE (legacy) and ImgEdit.

WISE legacy (`WISE_legacy/gpt_eval.py`, `Calculate.py`): three criteria of 0 to 2, WiScore = (0.7
consistency + 0.2 realism + 0.1 aesthetic quality) / 2, categories weighted by their size. Odd but
official: any digit passes (so a 9 is a score), the last mention wins, "**Consistency:** 2" is not
read, and one missing prompt cancels the overall.
ImgEdit (`step1_get_avgscore.py`, `step2_typescore.py`): the mean of however many lines read
"something: digits"; "4/5", "4." and "**X:** 4" are passed over, a line "Brief reasoning: 5" counts.
Departure: a reply that cannot be read is the judge's failure, a status, never a score of the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pairuni_eval.benchmark import Mark
from pairuni_eval.judges.judge import Verdict
from pairuni_eval.records import Status

# WISE, legacy

WISE_CRITERIA: tuple[str, ...] = ("consistency", "realism", "aesthetic_quality")
WISE_WEIGHTS: dict[str, float] = {
    "CULTURE": 0.4,
    "TIME": 0.167,
    "SPACE": 0.133,
    "BIOLOGY": 0.1,
    "PHYSICS": 0.1,
    "CHEMISTRY": 0.1,
}
_WISE_LAST_ID = {
    "CULTURE": 400,
    "TIME": 567,
    "SPACE": 700,
    "BIOLOGY": 800,
    "PHYSICS": 900,
    "CHEMISTRY": 1000,
}
_WISE_NAMED = re.compile(
    r"\*{0,2}(consistency|realism|aesthetic quality)\*{0,2}\s*:?\s*(\d)", re.IGNORECASE
)
_WISE_BARE = re.compile(r"^\s*([0-2])\s*$", re.MULTILINE)


def wise_scores(reply: str) -> dict[str, float]:
    """The criteria that a judge's reply gives, by name; {} if it gives none.

    Three bare lines of 0 to 2 will do where no criterion is named.

    Source: PKU-YuanGroup/WISE, `WISE_legacy/gpt_eval.py`.
    """
    named = {
        name.lower().replace(" ", "_"): float(digit) for name, digit in _WISE_NAMED.findall(reply)
    }
    bare = _WISE_BARE.findall(reply)
    if named or len(bare) < len(WISE_CRITERIA):
        return named
    return dict(zip(WISE_CRITERIA, map(float, bare), strict=False))


def wiscore(consistency: float, realism: float, aesthetic_quality: float) -> float:
    """WISE's weighted score, in [0, 1] for criteria of 0 to 2."""
    return (0.7 * consistency + 0.2 * realism + 0.1 * aesthetic_quality) / 2


def wise_category(prompt_id: int) -> str | None:
    """The category that legacy WISE gives an id of 1 to 1000; None outside."""
    if prompt_id < 1:
        return None
    return next((name for name, last in _WISE_LAST_ID.items() if prompt_id <= last), None)


def wise_overall(means: Mapping[str, float]) -> float:
    """The overall WiScore from the means of all six categories, weighted by WISE's sizes.

    Raises:
        KeyError: if a category has no mean: officially there is no overall then.
    """
    return sum(weight * means[name] for name, weight in WISE_WEIGHTS.items())


def wise_marks(verdict: Verdict, judge: str | None) -> list[Mark]:
    """Grade one picture from a judge's verdict: the three criteria and `wiscore`.

    Args:
        verdict: The judge's reply, or its failure.
        judge: The judge's snapshot; None if none was asked.
    """
    metrics = (*WISE_CRITERIA, "wiscore")
    scores = wise_scores(verdict.text) if verdict.status is Status.SCORED else {}
    if len(scores) < len(WISE_CRITERIA):
        return _no_verdict(metrics, verdict, judge)
    values = [scores[name] for name in WISE_CRITERIA]
    return [
        Mark(metric, value, verdict=verdict.text, judge=judge)
        for metric, value in zip(metrics, [*values, wiscore(*values)], strict=True)
    ]


def _no_verdict(metrics: Iterable[str], verdict: Verdict, judge: str | None) -> list[Mark]:
    """Marks without value: the judge's own status, or that its reply cannot be read."""
    failed = Status.JUDGE_FAILED if verdict.status is Status.SCORED else verdict.status
    return [Mark(metric, None, failed, verdict.text, judge) for metric in metrics]


# ImgEdit


def imgedit_score(reply: str) -> float | None:
    """Mean of the scores in a judge's reply, rounded to two decimals; None if it has none.

    Source: PKU-YuanGroup/ImgEdit, `Benchmark/Basic/step1_get_avgscore.py`.

    Raises:
        ValueError: for a character that counts as a digit and is no number (a superscript), as
            upstream.
    """
    pieces = [line.strip().split(": ") for line in reply.splitlines()]
    scores = [int(piece[1]) for piece in pieces if len(piece) == 2 and piece[1].isdigit()]
    return round(sum(scores) / len(scores), 2) if scores else None


def imgedit_type_means(scores: Mapping[str, float], types: Mapping[str, str]) -> dict[str, float]:
    """Mean score per edit type, rounded to two decimals; keys without a type are left out.

    The leaderboard's overall is the mean of these.

    Source: PKU-YuanGroup/ImgEdit, `Benchmark/Basic/step2_typescore.py`.
    """
    groups: dict[str, list[float]] = {}
    for key, score in scores.items():
        if key in types:
            groups.setdefault(types[key], []).append(score)
    return {name: round(sum(group) / len(group), 2) for name, group in groups.items()}


def imgedit_marks(verdict: Verdict, judge: str | None) -> list[Mark]:
    """Grade one edit from a judge's verdict: `score`, 1 to 5.

    Args:
        verdict: The judge's reply, or its failure.
        judge: The judge's snapshot; None if none was asked.
    """
    score = None
    if verdict.status is Status.SCORED:
        try:
            score = imgedit_score(verdict.text)
        except ValueError:
            score = None
    if score is None:
        return _no_verdict(("score",), verdict, judge)
    return [Mark("score", score, verdict=verdict.text, judge=judge)]
