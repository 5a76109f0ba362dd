"""In what an arm differs: keys of the pair configuration, keys of the recipe.

A change to the value that is there anyway is none. So the 0.6 of a threshold table is the same arm,
with the same pair set and the same runs, as the method itself in every other table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from pairuni_eval.errors import UserError
from pairuni_train.pair_data.config import PairConfig


def real_changes(config: PairConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes that change something.

    Raises:
        UserError: as `changed`.
    """
    return {key: new for key, new in changes.items() if changed(config, {key: new}) != config}


def changed(config: PairConfig, changes: Mapping[str, str | int | float]) -> PairConfig:
    """A pair configuration with some keys replaced; a number in a key is a place in a list.

    Raises:
        UserError: for a key it does not have, or a value that does not fit.
    """
    table = msgspec.to_builtins(config)
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        inner: Any = table
        for step in path:
            inner = _inside(inner, step)
        if not isinstance(inner, dict) or last not in inner:
            raise UserError(f"The pair configuration has no key '{dotted}'.")
        inner[last] = value
    try:
        return msgspec.convert(table, PairConfig)
    except msgspec.ValidationError as failure:
        raise UserError(f"changes {changes}: {failure}.") from failure


def _inside(table: Any, step: str) -> Any:
    if isinstance(table, list | tuple):
        return table[int(step)] if step.isdigit() and int(step) < len(table) else None
    return table.get(step) if isinstance(table, dict) else None


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Keys of the recipe as `--set KEY=VALUE`, values in TOML on one line."""
    return [word for key, value in settings.items() for word in ("--set", assignment(key, value))]


def assignment(key: str, value: Any) -> str:
    """KEY=VALUE, the value in TOML on one line."""
    return f"{key}={_toml(value)}"


def _toml(value: Any) -> str:
    """A value in TOML, on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(assignment(key, inner) for key, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)
