"""Rows in the schema of GenEval's `evaluation_metadata.jsonl`; prompts and order are made up.

Every task comes round in turn: what is asked for stands in `include`, for counting `exclude` too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pairuni_eval.scorers.objects import COLORS, OBJECT_NAMES

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
RELATIONS = ("left of", "right of", "above", "below")
FILE = "evaluation_metadata.jsonl"

Row = dict[str, Any]


def rows(count: int) -> list[Row]:
    """The first `count` rows; no two prompts are alike as long as there are names and colors."""
    return [_row(number) for number in range(count)]


def write(folder: Path, count: int) -> Path:
    """Write rows to FOLDER/geneval, where `--data FOLDER` finds them; returns FOLDER."""
    path = folder / "geneval" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count)), encoding="utf-8")
    return folder


def _row(number: int) -> Row:
    task, turn = TASKS[number % len(TASKS)], number // len(TASKS)
    # Steps without a common factor with the length of the lists: every name and color has its turn.
    names = [OBJECT_NAMES[(number * 7 + step) % len(OBJECT_NAMES)] for step in (30, 41)]
    colors = [COLORS[(turn * 3 + step) % len(COLORS)] for step in (0, 4)]
    if task == "counting":
        count = 2 + turn % 3
        exclude = [{"class": names[0], "count": count + 1}]
        include: list[Row] = [{"class": names[0], "count": count}]
        said = f"Draw {count} of this: {names[0]}."
        return {"tag": task, "include": include, "exclude": exclude, "prompt": said}
    if task == "position":
        relation = RELATIONS[turn % len(RELATIONS)]
        include = [
            {"class": names[0], "count": 1},
            {"class": names[1], "count": 1, "position": [relation, 0]},
        ]
        said = f"Draw the {names[1]} {relation} the {names[0]}."
    elif task == "single_object":
        include = [{"class": names[0], "count": 1}]
        said = f"Draw one {names[0]}."
    elif task == "two_object":
        include = [{"class": name, "count": 1} for name in names]
        said = f"Draw one {names[0]} with one {names[1]}."
    elif task == "colors":
        include = [{"class": names[0], "count": 1, "color": colors[0]}]
        said = f"Draw one {names[0]}, {colors[0]}."
    else:
        include = [
            {"class": name, "count": 1, "color": color}
            for name, color in zip(names, colors, strict=True)
        ]
        said = f"Draw one {names[0]}, {colors[0]}, with one {names[1]}, {colors[1]}."
    return {"tag": task, "include": include, "prompt": said}
