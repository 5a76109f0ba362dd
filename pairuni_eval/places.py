"""What lies at a path that a person named: nothing lies at one that no system can look at."""

from __future__ import annotations

import os
import re
from pathlib import Path

_STEP = re.compile(r"(checkpoint|step|epoch|iter|global_step)[-_]?\d+")


def is_file(path: Path) -> bool:
    """Whether there is a file; False for a name that is too long or holds a NUL."""
    return os.path.isfile(path)  # noqa: PTH113 - `Path.is_file` raises for such a name


def is_folder(path: Path) -> bool:
    """As `is_file`, of a folder."""
    return os.path.isdir(path)  # noqa: PTH112


def exists(path: Path) -> bool:
    """As `is_file`, of anything."""
    return os.path.exists(path)  # noqa: PTH110


def name_of(path: str) -> str:
    """What a path is called: its last part; before a training step's the name of the training.

    Every training has a `checkpoint-100`: "a/checkpoint-100" is "a-checkpoint-100".
    """
    above, _, last = path.rpartition("/")
    training = above.rpartition("/")[2]
    return f"{training}-{last}" if training and _STEP.fullmatch(last) else last
