"""What a training run leaves for reports: its metrics by step and the inner products of gradients.

A training folder holds `metrics.jsonl` (one JSON object a step: "step" and numbers by name) and,
where gradients were probed, `gradients.jsonl` (one `GradientRow` a line). A run folder may hold a
copy of both in `training/`, so that a report needs nothing but the run. A torn last line is left
out: training may be going on.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pairuni_eval.errors import UserError, writing

TRAINING = "training"
METRICS = "metrics.jsonl"
GRADIENTS = "gradients.jsonl"


def has_training(folder: Path) -> bool:
    """Whether a folder holds metrics or gradients of a training run."""
    return any((folder / name).is_file() for name in (METRICS, GRADIENTS))


def training_folder(folder: Path) -> Path:
    """The training folder that a user named: itself, or `training/` of a run folder.

    Raises:
        UserError: if it holds neither metrics nor gradients.
    """
    for found in (folder, folder / TRAINING):
        if has_training(found):
            return found
    raise UserError(
        f"{folder} is not a training folder: it has neither {METRICS} nor {GRADIENTS}.",
        hint="A training folder is what `pairuni-train run --out FOLDER` writes.",
    )


def keep_training(run: Path, checkpoint: str) -> None:
    """Copy the metrics and gradients beside a checkpoint folder into the run that measures it.

    Nothing happens where the checkpoint is no folder, or no training run wrote it.
    """
    source = Path(checkpoint).resolve().parent
    if not Path(checkpoint).is_dir() or not has_training(source):
        return
    target = run / TRAINING
    with writing(str(target)):
        target.mkdir(exist_ok=True)
        for name in (METRICS, GRADIENTS):
            if (source / name).is_file():
                shutil.copyfile(source / name, target / name)


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The metrics of every step; empty without the file.

    Raises:
        UserError: naming the line that is no step of numbers.
    """
    path = folder / METRICS
    found: list[dict[str, float]] = []
    for number, line in enumerate(_whole_lines(path)):
        try:
            row = json.loads(line)  # unlike msgspec, json reads the NaN of a failed step
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise _unreadable(path, number, 'no JSON object with "step"')
        numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
        found.append(numbers)
    return found


def _whole_lines(path: Path) -> list[bytes]:
    if not path.is_file():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return whole.splitlines()


def _unreadable(path: Path, number: int, why: str) -> UserError:
    return UserError(
        f"{path}, line {number + 1}: cannot be read: {why}.",
        hint="Delete that line, or leave this training out of the report.",
    )
