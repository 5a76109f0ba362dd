"""The form of a recorded case, and the files it may name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Given = dict[str, Any]
Rule = Callable[[Given, Path], Any]
Form = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def same(value: Any) -> Any:
    """A form that changes nothing."""
    return value


def lines_of(path: Path) -> list[Given]:
    """The objects of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def json_of(path: Path) -> Any:
    """The value of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
