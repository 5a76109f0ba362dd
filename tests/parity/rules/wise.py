"""Recorded WISE cases as calls of ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from parity.rules.form import Form, Given, Rule, lines_of, same

from pairuni_eval.scorers import rubric


def wise_calculate(given: Given, folder: Path) -> Any:
    groups: dict[str, list[float]] = {}
    seen = set()
    for row in (row for name in given["score_files"] for row in lines_of(folder / name)):
        seen.add(row["prompt_id"])
        category = rubric.wise_category(row["prompt_id"])
        values = [row.get(name) for name in rubric.WISE_CRITERIA]
        if category and all(isinstance(value, int | float) for value in values):
            groups.setdefault(category, []).append(rubric.wiscore(*values))
    means = {name: sum(values) / len(values) for name, values in groups.items()}
    wants_all = given["args"] in ([], ["--category", "all"])
    complete = seen >= set(range(1, 1001)) and set(means) == set(rubric.WISE_WEIGHTS)
    return {
        "means": means,
        "counts": {name: len(values) for name, values in groups.items()},
        "overall": f"{rubric.wise_overall(means):.2f}" if wants_all and complete else None,
    }


def wise_calculated(expected: Given) -> Given:
    printed = re.search(r"^Overall WiScore: ([\d.]+)$", expected["stdout"], re.MULTILINE)
    return {
        "means": expected["category_means_full_precision"],
        "counts": expected["category_counts"],
        "overall": printed.group(1) if printed else None,
    }


RULES: dict[str, Rule] = {
    "legacy_extract_scores": lambda given, _: rubric.wise_scores(given["text"]),
    "legacy_calculate_wiscore": lambda given, _: rubric.wiscore(**given),
    "legacy_calculate": wise_calculate,
}

FORMS: dict[str, Form] = {"legacy_calculate": (wise_calculated, same)}
