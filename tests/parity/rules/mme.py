"""Recorded MME cases as calls of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parity.rules.form import Given, Rule, lines_of
from support.official_tables import MmeRow, mme_table
from support.official_tables import mme_metric as official_metric

from pairuni_eval.scorers import yes_no


def _rows(given: Given, folder: Path) -> list[MmeRow]:
    return [
        MmeRow(row["task"], row["image"], row["gt"], str(row["pred"]))
        for row in lines_of(folder / given["rows_file"])
    ]


def mme_files(given: Given, folder: Path) -> Any:
    table = mme_table(_rows(given, folder))
    tasks = {"Perception": table.perception, "Cognition": table.cognition}
    # Upstream reads one file per task.
    for task in (*yes_no.MME_PERCEPTION, *yes_no.MME_COGNITION):
        if task not in table.perception | table.cognition:
            raise FileNotFoundError(task)
    totals = dict(zip(tasks, table.totals, strict=True))
    return {name: {"tasks": scores, "total": totals[name]} for name, scores in tasks.items()}


def mme_metric(given: Given, _: Path) -> Any:
    found = official_metric(given["gts"], given["preds"])
    return {
        "TP": found.tp,
        "FN": found.fn,
        "TN": found.tn,
        "FP": found.fp,
        "precision": found.precision,
        "recall": found.recall,
        "other_num": found.other,
        "acc": found.accuracy,
    }


def mme_by_lmms(given: Given, folder: Path) -> Any:
    """lmms-eval's two totals: images are pairs of rows of the same task and name."""
    images: dict[tuple[str, str], list[bool]] = {}
    for row in _rows(given, folder):
        gold = row.answer.lower().strip().replace(".", "")
        said = yes_no.lmms_mme_label(row.prediction)
        images.setdefault((row.task, row.image), []).append(gold == said)
    scores: dict[str, list[float]] = {}
    for (task, _), right in images.items():
        scores.setdefault(task, []).append(50 * sum(right) + 100 * all(right))
    means = {task: sum(found) / len(found) for task, found in scores.items()}
    return {
        "mme_perception_score": sum(means.get(task, 0) for task in yes_no.MME_PERCEPTION),
        "mme_cognition_score": sum(means.get(task, 0) for task in yes_no.MME_COGNITION),
    }


RULES: dict[str, Rule] = {
    "parse_pred_ans": lambda given, _: yes_no.mme_label(given["prediction"]) or "other",
    "compute_metric": mme_metric,
    "process_result": mme_files,
}

# What the recordings also tell about the same input, under the other harnesses' names.
OTHERS: dict[str, dict[str, Rule]] = {
    "parse_pred_ans": {
        "lmms_eval_0.7.3": lambda given, _: yes_no.lmms_mme_label(given["prediction"]) or "other",
        "vlmevalkit_YOrN_Extraction": lambda given, _: (
            yes_no.vlmevalkit_label(given["prediction"]) or "Unknown"
        ).capitalize(),
    },
    "process_result": {"lmms_eval_0.7.3": mme_by_lmms},
}
