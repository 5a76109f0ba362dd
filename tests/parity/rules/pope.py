"""Recorded POPE cases as calls of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parity.rules.form import Given, Rule, lines_of
from support.official_tables import confusion

from pairuni_eval.scorers import yes_no


def pope_table(labels: list[str], said: list[str]) -> Given:
    counts = confusion(labels, said)
    return {
        "TP": counts.tp,
        "FP": counts.fp,
        "TN": counts.tn,
        "FN": counts.fn,
        "accuracy": counts.accuracy,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "yes_ratio": said.count("yes") / len(said),
    }


def pope_evaluate(given: Given, _: Path) -> Any:
    return pope_table(given["labels"], [yes_no.pope_label(text) for text in given["answers"]])


def pope_splits(given: Given, folder: Path) -> Any:
    tables = {}
    for split, path in given["answer_files"].items():
        labels = [row["label"] for row in lines_of(folder / given["label_files"][split])]
        said = [yes_no.pope_label(row["answer"]) for row in lines_of(folder / path)]
        tables[split] = pope_table(labels, said)
    mean = sum(table["f1"] for table in tables.values()) / len(tables)
    return tables | {"mean_of_three_f1 (what LLaVA-style papers report)": mean}


def _pope_rows(given: Given, folder: Path) -> Iterator[tuple[str, str]]:
    """Gold label and answer of every row of the three splits."""
    for split, path in given["answer_files"].items():
        labels = [row["label"] for row in lines_of(folder / given["label_files"][split])]
        said = [row["answer"] for row in lines_of(folder / path)]
        yield from zip(labels, said, strict=True)


def pope_by_lmms(given: Given, folder: Path) -> Any:
    """Over all rows; an answer that is not exactly yes or no is in none of the four counts."""
    return _lmms_table(list(_pope_rows(given, folder)))


def pope_by_lmms_and_split(given: Given, folder: Path) -> Any:
    tables = {}
    for split, path in given["answer_files"].items():
        one = {"answer_files": {split: path}, "label_files": given["label_files"]}
        tables[split] = pope_by_lmms(one, folder)
    return tables


def _lmms_table(answers: list[tuple[str, str]]) -> Any:
    rows = [(label, yes_no.lmms_pope_label(text)) for label, text in answers]
    read = [(label, said) for label, said in rows if said]
    counts = confusion([label for label, _ in read], [said for _, said in read])
    return {
        "pope_accuracy": sum(label == said for label, said in rows) / len(rows),
        "pope_precision": counts.precision,
        "pope_recall": counts.recall,
        "pope_f1_score": counts.f1,
        # lmms-eval takes this share from the gold labels.
        "pope_yes_ratio": sum(label == "yes" for label, _ in rows) / len(rows),
    }


def pope_by_vlmevalkit(given: Given, folder: Path) -> Any:
    """Over all rows, in per cent; what is neither yes nor no counts as not yes, and as wrong."""
    rows = [(label, yes_no.vlmevalkit_label(text)) for label, text in _pope_rows(given, folder)]
    counts = confusion(
        [label for label, _ in rows], ["yes" if said == "yes" else "no" for _, said in rows]
    )
    return {
        "Overall": 100 * counts.f1,
        "acc": 100 * sum(label == said for label, said in rows) / len(rows),
        "precision": 100 * counts.precision,
        "recall": 100 * counts.recall,
    }


def pope_by_vlmevalkit_and_split(given: Given, folder: Path) -> Any:
    tables = {"Overall": pope_by_vlmevalkit(given, folder)}
    for split, path in given["answer_files"].items():
        one = {"answer_files": {split: path}, "label_files": given["label_files"]}
        tables[split] = pope_by_vlmevalkit(one, folder)
    return tables


RULES: dict[str, Rule] = {
    "answer_to_label": lambda given, _: yes_no.pope_label(given["answer"]),
    "evaluate.py": pope_evaluate,
    "coco_three_splits": pope_splits,
}

# What the recordings also tell about the same input, under the other harnesses' names.
OTHERS: dict[str, dict[str, Rule]] = {
    "coco_three_splits": {
        "lmms_eval_0.7.3_pope_all_9000": pope_by_lmms,
        "lmms_eval_0.7.3_per_split": pope_by_lmms_and_split,
        "vlmevalkit_POPE_rating_exploded_9000": pope_by_vlmevalkit_and_split,
    },
    "answer_to_label": {
        "lmms_eval_0.7.3_prediction": lambda given, _: (
            yes_no.lmms_pope_label(given["answer"]) or given["answer"].lower().strip()
        ),
        "lmms_eval_counts_as_correct_if_gold_no": lambda given, _: (
            yes_no.lmms_pope_label(given["answer"]) == "no"
        ),
        "vlmevalkit": lambda given, _: (
            yes_no.vlmevalkit_label(given["answer"]) or "Unknown"
        ).capitalize(),
    },
}
