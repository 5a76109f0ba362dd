"""Recorded GEdit-Bench cases as calls of ours."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pairuni_registry.gedit import judge_prompts
from parity.rules.form import Given, Rule

from pairuni_eval.catalog import find_card
from pairuni_eval.judges.judge import Judge, JudgeReply, Question
from pairuni_eval.records import Status
from pairuni_eval.scorers import viescore
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate

GROUPS = (
    "background_change",
    "color_alter",
    "material_alter",
    "motion_change",
    "ps_human",
    "style_change",
    "subject-add",
    "subject-remove",
    "subject-replace",
    "text_change",
    "tone_transfer",
)


def parsed(given: Given, _: Path) -> Any:
    """What a reply holds; False where official code asks again, None where it draws a number."""
    found = viescore.parse(given["input_string"], first_try=not given["give_up_parsing"])
    if isinstance(found, viescore.Unread):
        return False if found is viescore.Unread.FAILED else None
    return found


class Scripted(Judge):
    """Gives the recorded replies in order, then none."""

    snapshot = "scripted"

    def __init__(self, replies: Sequence[str]) -> None:
        self.images: list[int] = []
        self._replies = replies

    def ask(self, questions: Sequence[Question]) -> list[JudgeReply]:
        return [self._next(question) for question in questions]

    def _next(self, question: Question) -> JudgeReply:
        self.images.append(len(question.images))
        if len(self.images) > len(self._replies):
            return JudgeReply("the script has ended", Status.JUDGE_FAILED)
        return JudgeReply(self._replies[len(self.images) - 1])


def evaluated(given: Given, _: Path) -> Any:
    """Both questions about one edit; None where official code guesses or hangs."""
    judge = Scripted(given["replies"])
    pictures: Any = ("source", "edited")  # a scripted judge does not look
    first = Question(judge_prompts.semantics(given["instruction"]), pictures, {})
    questions = viescore.EditQuestions(first, Question(judge_prompts.QUALITY, pictures[1:], {}))
    (edit,) = viescore.ask_edits(judge, [questions])
    if edit.unread:
        assert [mark.status for mark in viescore.edit_marks(edit)] == ([Status.JUDGE_FAILED] * 3)
        return None
    return {
        "SC_PQ_O": list(viescore.rating(*edit.parsed)),
        "judge_calls": len(judge.images),
        "images_in_call": judge.images,
        "random_used": 0,
    }


def asked(given: Given, _: Path) -> Any:
    semantics, quality = judge_prompts.semantics(given["instruction"]), judge_prompts.QUALITY
    spec = find_card("gedit").judge
    assert spec is not None
    return {
        "SC_sha256": hashlib.sha256(semantics.encode()).hexdigest(),
        "SC_chars": len(semantics),
        "PQ_sha256": hashlib.sha256(quality.encode()).hexdigest(),
        "PQ_chars": len(quality),
        "SC_images": "source then edited",
        "PQ_images": "edited only",
        # The card pins the dated snapshot behind the name that upstream asks for.
        "gpt4o backbone really asks for model": {
            "model_name": re.sub(r"-\d{4}-\d{2}-\d{2}$", "", spec.snapshot or "")
        },
    }


# Statistics


class Row(NamedTuple):
    """One judged edit of a score file."""

    group: str
    semantics: float
    quality: float
    intersection: bool


def _rows(folder: Path, language: str) -> list[Row]:
    import pandas as pd

    rows = []
    for group in GROUPS:
        frame = pd.read_csv(folder / f"m_{group}_gpt_score.csv")
        mine = frame[frame["instruction_language"] == language]
        columns = (mine["sementics_score"], mine["quality_score"], mine["intersection_exist"])
        rows += [Row(group, *cells) for cells in zip(*columns, strict=True)]
    return rows


def _table(rows: Sequence[Row], name: str, metric: str, value: Callable[[Row], float]) -> Given:
    """Group means and their mean by the card's metric; a group without rows makes NaN, as there."""
    spec = find_card("gedit").protocols["official"].metric(metric)
    means = {}
    for group in GROUPS:
        mine = [value(row) for row in rows if row.group == group]
        means[group] = sum(mine) / len(mine) if mine else math.nan
    column = np.array([row.group for row in rows], dtype=object)
    flat = GradedRows(
        np.array([value(row) for row in rows], dtype=np.float64),
        np.arange(len(rows)),
        np.zeros(len(rows), dtype=np.int64),
        {"task_type": column},
    )
    aggregate = make_aggregate(spec, flat)
    mean = float(aggregate.finish(aggregate.features(flat).sum(axis=0)))
    whole = not any(math.isnan(one) for one in means.values())
    return means | {f"avg_{name}": mean if whole else math.nan}


def analyzed(given: Given, folder: Path) -> Any:
    rows = _rows(folder / given["csv_dir"].split(" ")[0], given["language"])
    common = [row for row in rows if row.intersection]
    values: dict[str, Callable[[Row], float]] = {
        "semantics": lambda row: row.semantics,
        "quality": lambda row: row.quality,
        "overall": lambda row: viescore.overall(row.semantics, row.quality),
    }
    tables = {name: _table(rows, name, name, value) for name, value in values.items()}
    return tables | {
        f"{name}_intersection": _table(common, name, f"{name}_intersection", value)
        for name, value in values.items()
    }


RULES: dict[str, Rule] = {
    "is_int_between_0_and_10": lambda given, _: viescore.is_int_between_0_and_10(given["s"]),
    "fix_json": lambda given, _: viescore.fix_json(given["input_str"]),
    "mllm_output_to_dict": parsed,
    "VIEScore.evaluate": evaluated,
    "judge_prompts": asked,
    "analyze_scores": analyzed,
}
