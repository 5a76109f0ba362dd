"""Recorded UniGenBench++ cases as calls of ours."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
from pairuni_registry.unigenbench.judge_prompts import CHINESE, ENGLISH
from parity.rules.form import Given, Rule

from pairuni_eval.scorers.point_verdicts import (
    PointCount,
    count_points,
    primary_of,
    read_evaluation,
    stored_scores,
)

_LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


def question(given: Given, _: Path) -> Any:
    language = _LANGUAGES[given["lang"]]
    text = language.question(given["prompt"], given["testpoint"], given["test_desc"])
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "chars": len(text)}


def evaluation(given: Given, _: Path) -> Any:
    text = given["text"]
    read = None if text is None else read_evaluation(text, given["testpoint"])
    return None if read is None else [_as_recorded(one) for one in read]


def _as_recorded(value: Any) -> Any:
    """As JSON has it: a tuple is a list."""
    return [_as_recorded(one) for one in value] if isinstance(value, list | tuple) else value


def _scores_of(row: Any) -> Any:
    """The scores of a row of a result file, which may stand in a column of their own."""
    stored = row["result_json"]
    scores = stored_scores(stored) if isinstance(stored, str) else row["score"]
    return scores if isinstance(scores, list) else ast.literal_eval(row["score"])


def pooled(given: Given, _: Path) -> Any:
    primary: dict[str, PointCount] = {}
    single: dict[str, PointCount] = {}
    for _, row in pd.DataFrame(given["rows"]).iterrows():
        try:
            points, scores = ast.literal_eval(row["testpoint"]), _scores_of(row)
        except (ValueError, SyntaxError, KeyError, TypeError):
            continue  # as upstream, which prints a warning
        primary = count_points(map(primary_of, points), scores, primary)
        single = count_points(points, scores, single)
    return {"primary_dimensions": _shares(primary), "sub_dimensions": _shares(single)}


def _shares(counts: dict[str, PointCount]) -> Any:
    """Counts as official code prints them, shares rounded."""
    return {
        name: {**one._asdict(), "accuracy": round(one.correct / one.total, 4)}
        for name, one in counts.items()
    }


RULES: dict[str, Rule] = {
    "build_system_prompt": question,
    "parse_evaluation_response": evaluation,
    "calculate_scores": pooled,
}
