"""A stored recipe or arm as the TOML file that `--recipe` and `--arm` take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_toml(table: Mapping[str, Any], comment: str) -> str:
    """A table of settings as a TOML file: plain values first, then its tables.

    Args:
        table: Values by key; None stands for a key that is not set, and is left out.
        comment: What the file is, on its first line.
    """
    plain = {key: one for key, one in table.items() if not isinstance(one, Mapping)}
    tables = {key: one for key, one in table.items() if isinstance(one, Mapping)}
    lines = [f"# {comment}", ""]
    lines += [f"{_key(key)} = {_value(one)}" for key, one in plain.items() if one is not None]
    for key, inner in tables.items():
        lines += ["", f"[{_key(key)}]"]
        lines += [f"{_key(name)} = {_value(one)}" for name, one in inner.items() if one is not None]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """A value in TOML; nested tables stand inline."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _key(name: str) -> str:
    plain = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
    return name if plain else json.dumps(name)
