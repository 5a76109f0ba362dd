"""Recorded MMStar cases as calls of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parity.rules.form import Given, Rule, lines_of

from pairuni_eval.scorers import choice, vlmevalkit_rules


def mmstar_files(given: Given, folder: Path) -> Any:
    rows = lines_of(folder / given["rows_file"])
    right = [choice.mmstar_correct(str(row["prediction"]), str(row["answer"])) for row in rows]
    table = {"final score": sum(right) / 1500}
    for name in {row["category"] for row in rows}:
        inside = [ok for ok, row in zip(right, rows, strict=True) if row["category"] == name]
        table[name] = sum(inside) / 250
    for pair in {(row["category"], row["l2_category"]) for row in rows}:
        inside = [
            ok
            for ok, row in zip(right, rows, strict=True)
            if (row["category"], row["l2_category"]) == pair
        ]
        table[f"{pair[0]}({pair[1]})"] = sum(inside) / len(inside)
    # Upstream divides by the number of rows of each of its eighteen sub-categories.
    if len(table) < 1 + 6 + 18:
        raise ZeroDivisionError("a sub-category without rows")
    return table


def mmstar_by_lmms(given: Given, folder: Path) -> Any:
    """lmms-eval's figures: means over sub-categories, within a category and over all of them."""
    hits: dict[tuple[str, str], list[bool]] = {}
    for row in lines_of(folder / given["rows_file"]):
        right = choice.lmms_letter(str(row["prediction"])) == str(row["answer"]).strip().upper()
        hits.setdefault((row["category"], row["l2_category"]), []).append(right)
    means = {pair: sum(found) / len(found) for pair, found in hits.items()}
    table = {"average": sum(means.values()) / len(means)}
    for name in {category for category, _ in means}:
        inside = [mean for (category, _), mean in means.items() if category == name]
        table[name] = sum(inside) / len(inside)
    return table


RULES: dict[str, Rule] = {
    "single_row_correct": lambda given, _: choice.mmstar_correct(
        str(given["prediction"]), str(given["answer"])
    ),
    "MMStar_eval": mmstar_files,
}

# What the recordings also tell about the same input, under the other harnesses' names.
OTHERS: dict[str, dict[str, Rule]] = {
    "single_row_correct": {
        "lmms_eval_letter": lambda given, _: choice.lmms_letter(str(given["prediction"])) or "",
        "lmms_eval_0.7.3": lambda given, _: (
            choice.lmms_letter(str(given["prediction"])) == str(given["answer"]).strip().upper()
        ),
        "vlmevalkit_can_infer_option": lambda given, _: (
            vlmevalkit_rules.vlmevalkit_letter(str(given["prediction"]), "ABCD") or False
        ),
    },
    "MMStar_eval": {"lmms_eval_0.7.3": mmstar_by_lmms},
}
