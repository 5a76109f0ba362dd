"""Recorded ImgEdit cases as calls of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parity.rules.form import Given, Rule, json_of

from pairuni_eval.scorers import rubric


def imgedit_averages(given: Given, _: Path) -> Any:
    scores = {key: rubric.imgedit_score(reply) for key, reply in given["results"].items()}
    return {key: score for key, score in scores.items() if score is not None}


def _edit_types(path: Path) -> dict[str, str]:
    return {key: row["edit_type"] for key, row in json_of(path).items()}


def imgedit_types(given: Given, folder: Path) -> Any:
    return rubric.imgedit_type_means(given["scores"], _edit_types(folder / given["meta"]))


def imgedit_both(given: Given, folder: Path) -> Any:
    scores = imgedit_averages({"results": json_of(folder / given["result_json"])}, folder)
    means = rubric.imgedit_type_means(scores, _edit_types(folder / given["basic_edit"]))
    overall = sum(means.values()) / len(means)
    name = "mean_of_type_scores (leaderboard Overall is the mean of the nine, not printed by the"
    return {"n_scored": len(scores), "typescore": means, f"{name} code)": overall}


RULES: dict[str, Rule] = {
    "extract_scores_and_average": lambda given, _: rubric.imgedit_score(given["entry"]),
    "compute_averages": imgedit_averages,
    "compute_edit_type_averages": imgedit_types,
    "step1+step2": imgedit_both,
}
