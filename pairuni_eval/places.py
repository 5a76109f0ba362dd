"""What lies at a path that a person named: nothing lies at one that no system can look at."""

from __future__ import annotations

import os
from pathlib import Path


def is_file(path: Path) -> bool:
    """Whether there is a file; False for a name that is too long or holds a NUL."""
    return os.path.isfile(path)  # noqa: PTH113 - `Path.is_file` raises for such a name


def is_folder(path: Path) -> bool:
    """As `is_file`, of a folder."""
    return os.path.isdir(path)  # noqa: PTH112


def exists(path: Path) -> bool:
    """As `is_file`, of anything."""
    return os.path.exists(path)  # noqa: PTH110
