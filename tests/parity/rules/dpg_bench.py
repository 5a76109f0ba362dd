"""Recorded DPG-Bench cases as calls of ours. A picture is the answers that it would get."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from parity.rules.form import Given, Rule

from pairuni_eval.scorers import dependent_questions as rule

_PICTURES = 4  # in one file


def _items(given: Given) -> dict[Any, dict[int, rule.Proposition]]:
    """The rows as they come back from a csv, which is how official code reads them."""
    text = pd.DataFrame(given["rows"], columns=given["columns"]).to_csv(index=False)
    table = pd.read_csv(io.StringIO(text))
    return rule.official_propositions(row for _, row in table.iterrows())


def propositions(given: Given, _: Path) -> Any:
    return {
        str(item): {
            "qid2tuple": {str(number): one.about for number, one in listed.items()},
            "qid2dependency": {str(number): list(one.parents) for number, one in listed.items()},
            "qid2question": {str(number): one.question for number, one in listed.items()},
        }
        for item, listed in _items(given).items()
    }


def _answer(answers: Given, question: str, place: int) -> str:
    answer = answers[question]
    return str(answer[place] if isinstance(answer, list) else answer)


def _seen(given: Given) -> list[int]:
    """Whose answers the four places of a file get; the last one's where there is only black."""
    alone = "one quadrant only" in given.get("image", "")
    return [0, *[_PICTURES - 1] * (_PICTURES - 1)] if alone else list(range(_PICTURES))


def _file(name: str, answers: Given, items: Any, places: list[int]) -> tuple[list[float], Any, Any]:
    """Scores of the pictures in one file, its propositions, and what of the last one is right."""
    listed = items.get(name.split(".", maxsplit=1)[0])
    if listed is None:
        raise TypeError(f"no item of {name}")  # as upstream, which asks None for its questions
    scores, right = [], {}
    for place in places:
        right = {n: _answer(answers, one.question, place) == rule.YES for n, one in listed.items()}
        scores.append(rule.share(rule.officially_valid(right, listed)))
    return scores, listed, right


def one_file(given: Given, _: Path) -> Any:
    scores, _listed, right = _file(
        given["file"], given["answers"], _items(given), _seen(given)[: given["pic_num"]]
    )
    return {
        "average_score": sum(scores) / len(scores),
        "scores_of_crops": scores,
        "category_scores_of_last_crop": {str(number): float(one) for number, one in right.items()},
    }


def whole_run(given: Given, _: Path) -> Any:
    items, means = _items(given), []
    broad: dict[str, list[bool]] = {}
    fine: dict[str, list[bool]] = {}
    for name, answers in sorted(given["files"].items()):
        try:
            scores, listed, right = _file(name, answers, items, _seen(given)[: given["pic_num"]])
        except (KeyError, TypeError, ZeroDivisionError):
            continue  # as upstream, which prints "Failed filename"
        means.append(sum(scores) / len(scores))
        for number, one in listed.items():
            fine.setdefault(rule.category_of(one), []).append(right[number])
            broad.setdefault(rule.broad_category_of(one), []).append(right[number])
    return {
        "dpg_bench_score": float(np.mean(means)) * 100 if means else float("nan"),
        "L1": {name: float(np.mean(values)) * 100 for name, values in broad.items()},
        "L2": {name: float(np.mean(values)) * 100 for name, values in fine.items()},
    }


RULES: dict[str, Rule] = {
    "prepare_dpg_data": propositions,
    "compute_dpg_one_sample": one_file,
    "main": whole_run,
}
