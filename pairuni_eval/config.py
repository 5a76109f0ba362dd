"""Strict TOML: how every file that a person writes becomes one frozen record.

Cards, suites, judge files, recipes, pair configurations and experiments are read here. An unknown
key, a value of the wrong type or one that is none of the known words is an error that names the
file, the key and the nearest valid one. Values can be replaced by dotted key (`gen.decoding.top_k`,
a number is a place in a list), also as they stand on a command line (KEY=VALUE, in TOML).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from pairuni_eval.errors import UserError, offer
from pairuni_eval.user_text import text_of

_UNKNOWN_KEY = re.compile(r"unknown field `([^`]+)`")
_STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")  # a key, or a place in a list
_MISSING_KEY = re.compile(r"missing required field `([^`]+)`")
_UNKNOWN_WORD = re.compile(r"Invalid enum value '([^']+)'")
_UNKNOWN_TAG = re.compile(r"Invalid value '([^']+)'")  # the word that says which record it is


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of a configuration: frozen, keyword-only, unknown keys refused."""


Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]

Record = TypeVar("Record", bound=msgspec.Struct)


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read and check a TOML file.

    Raises:
        UserError: naming the file and the key, for what is not TOML, an unknown key, a wrong value.
    """
    return as_record(read_table(path), kind, path)


def read_table(path: Path) -> dict[str, Any]:
    """The table of a TOML file, not checked yet; UserError if it is not TOML or not UTF-8."""
    try:
        return tomllib.loads(text_of(path))
    except ValueError as failure:
        raise UserError(f"{path}: not valid TOML: {failure}.") from failure


def as_record(
    table: Mapping[str, Any], kind: type[Record], place: object, *, also: Collection[str] = ()
) -> Record:
    """Check a table and make it a record.

    Args:
        table: Values by key.
        kind: The record; where it forbids unknown keys they are errors.
        place: Where the table stands, for errors: a file, an option.
        also: Keys that may stand beside those of `kind` in the same file.

    Raises:
        UserError: naming the place, the key and the nearest valid key or word.
    """
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as failure:
        raise UserError(f"{place}: {_explain(str(failure), kind, also)}") from failure


def changed(record: Record, changes: Mapping[str, Any], place: object) -> Record:
    """A record with values replaced by dotted key; a table that is None begins with its defaults.

    Raises:
        UserError: naming the place, for a key that the record does not have or a wrong value.
    """
    table = msgspec.to_builtins(record)
    for key, value in changes.items():
        *outer, last = key.split(".")
        inner: Any = table
        for name in outer:
            inner = _inside(inner, name)
        if not isinstance(inner, dict):
            raise UserError(f"{place}: there is no key '{key}': '{outer[-1]}' is not a table.")
        inner[last] = value
    return as_record(table, type(record), f"{place}, with {', '.join(changes)} changed")


def _inside(table: Any, name: str) -> Any:
    """What stands in a table or a list under a name; None for what is not there."""
    if isinstance(table, dict):
        if table.get(name) is None:
            table[name] = {}
        return table[name]
    there = isinstance(table, list | tuple) and name.isdigit() and int(name) < len(table)
    return table[int(name)] if there else None


def read_assignments(settings: Iterable[str]) -> dict[str, Any]:
    """Changes written as KEY=VALUE, the value in TOML; what is not TOML is taken as text.

    Raises:
        UserError: for one without a key or without "=".
    """
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key.strip() and equals):
            raise UserError(
                f"--set '{setting}' is not of the form KEY=VALUE.",
                hint="e.g. --set gen.decoding.cfg_scale=2.0",
            )
        try:
            found[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value
    return found


def assignment(key: str, value: Any) -> str:
    """KEY=VALUE as `read_assignments` reads it, the value in TOML on one line."""
    return f"{key}={_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(assignment(key, inner) for key, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _explain(message: str, kind: type[msgspec.Struct], also: Collection[str]) -> str:
    """Msgspec's message, with the nearest valid key or word for an unknown one."""
    where = message.partition(" - at ")[2].strip("`").removeprefix("$").removeprefix(".")
    there, place = _known(inspect.type_info(kind), where), f" in {where}" if where else ""
    if missing := _MISSING_KEY.search(message):
        return f"the key '{missing[1]}' is missing{place}."
    if unknown := _UNKNOWN_KEY.search(message):
        keys = there.keys if where else [*there.keys, *also]
        return f"unknown key '{unknown[1]}'{place}.{_near(unknown[1], keys)}"
    if word := _UNKNOWN_WORD.search(message) or _UNKNOWN_TAG.search(message):
        return f"'{word[1]}' is not a value of {where}.{_near(word[1], there.words)}"
    return message.replace(" - at `$.", " at `") + "."


def _near(name: str, known: Sequence[str]) -> str:
    """The nearest of the known, or all of them."""
    return offer(name, sorted(known)) or (f" Known: {', '.join(known)}." if known else "")


class _Known(NamedTuple):
    """The keys that a table may have, and the words that may stand for a value."""

    keys: list[str]
    words: list[str]


def _known(kind: inspect.Type, where: str) -> _Known:
    """What may stand at a place within a type, e.g. "arms[1].pairs"."""
    found, tags = _options([kind]), list[str]()
    for step in _STEP.findall(where):
        records = [one for one in found if isinstance(one, inspect.StructType)]
        tags = [str(one.tag) for one in records if one.tag_field == step]
        found = _options(inner for one in found for inner in _inside_type(one, step))
    keys = [field.encode_name for one in found for field in getattr(one, "fields", ())]
    words = [*tags, *(str(word) for one in found for word in _words_of(one))]
    return _Known(list(dict.fromkeys(keys)), list(dict.fromkeys(words)))


def _options(kinds: Iterable[inspect.Type]) -> list[inspect.Type]:
    """The types themselves, and those of unions one by one."""
    return [
        option
        for kind in kinds
        for option in (_options(kind.types) if isinstance(kind, inspect.UnionType) else [kind])
    ]


def _inside_type(kind: inspect.Type, step: str) -> list[inspect.Type]:
    """What a key of a table or a place of a list holds."""
    if isinstance(kind, inspect.StructType):
        return [field.type for field in kind.fields if field.encode_name == step]
    if isinstance(kind, inspect.DictType):
        return [kind.value_type]
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return [kind.item_type]
    return []


def _words_of(kind: inspect.Type) -> Iterable[object]:
    if isinstance(kind, inspect.LiteralType):
        return kind.values
    return [member.value for member in kind.cls] if isinstance(kind, inspect.EnumType) else []
