"""A run's own JSON: run.json, plan.json, COMPLETE, figures.json, the cards.

Every one of them is read here. What cannot be read is a sentence with file and key. A key that this
version does not know is left out and named, so that a run is not orphaned by a key that is added
later; a value of the wrong type, a missing key or a number that is not finite is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from pairuni_eval import __version__
from pairuni_eval.errors import UserError

T = TypeVar("T")
_NAMED = 5  # unknown keys that a note names
_SHARED = 65_536  # bytes of a document that is read once however often it is met


class Document(NamedTuple, Generic[T]):
    """A document that was read: its value, and where it holds keys that were left out."""

    value: T
    unknown: tuple[str, ...]

    def note(self, path: Path) -> str | None:
        """What a person is told about the keys that were left out; None if there are none."""
        if not self.unknown:
            return None
        several = len(self.unknown) > 1
        named = ", ".join(self.unknown[:_NAMED]) + (", ..." if len(self.unknown) > _NAMED else "")
        return (
            f"{path}: pairuni {__version__} does not know the key{'s' * several} {named}; "
            f"{'they are' if several else 'it is'} left out"
        )


def read_document(
    path: Path, kind: type[T], *, hint: str, digest: str | None = None
) -> Document[T]:
    """Read one document of a run.

    Args:
        path: The file.
        kind: What it holds.
        hint: The way back, for whoever meets an error.
        digest: The SHA-256 that it must have; None compares nothing.

    Raises:
        UserError: if it is missing, changed, no JSON, or not of this kind.
    """
    return parse_document(path, read_bytes(path, digest, hint=hint), kind, hint=hint)


def read_bytes(path: Path, digest: str | None, *, hint: str) -> bytes:
    """The content of a file, compared with the SHA-256 that it must have, if one is known.

    Raises:
        UserError: if it cannot be read, or is changed.
    """
    try:
        data = path.read_bytes()
    except OSError as failure:
        raise UserError(f"{path}: cannot be read: {failure.strerror}.", hint=hint) from failure
    check_digest(path, data, digest, hint=hint)
    return data


def check_digest(path: Path, data: bytes, expected: str | None, *, hint: str) -> None:
    """Compare the SHA-256 of a file's content with the one that was stored, if one was.

    Raises:
        UserError: if they differ.
    """
    found = hashlib.sha256(data).hexdigest()
    if expected is not None and found != expected:
        raise UserError(
            f"{path}: it is changed since the run wrote it: its SHA-256 begins with {found[:12]}, "
            f"not with {expected[:12]}.",
            hint=hint,
        )


def parse_document(path: Path, data: bytes, kind: type[T], *, hint: str) -> Document[T]:
    """As `read_document`, of bytes that were read already."""
    key: Any = kind  # any type can be looked up, which mypy does not see of a variable one
    frozen = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    shared = frozen and len(data) <= _SHARED
    try:
        return _parsed_once(data, key) if shared else _parsed(data, key)
    except msgspec.ValidationError as failure:
        raise UserError(f"{path}: {_explain(str(failure))}.", hint=hint) from failure
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise UserError(f"{path}: cannot be read: {failure}.", hint=hint) from failure


def _parsed(data: bytes, kind: Hashable) -> Document[Any]:
    plain = msgspec.json.decode(data)
    unknown = tuple(dict.fromkeys(_strip(plain, _shape(kind), "")))
    return Document(msgspec.convert(plain, kind), unknown)


_parsed_once = lru_cache(maxsize=256)(_parsed)  # runs of one suite have the same cards


@cache
def _shape(kind: Hashable) -> inspect.Type:
    """What a kind of document is made of; a run has a card of the same kind for every benchmark."""
    return inspect.type_info(kind)


def _explain(message: str) -> str:
    """Msgspec's message with the key in front: "benchmarks.pope.planned: Expected `int`, ..."."""
    problem, _, place = message.partition(" - at ")
    key = place.strip("`").removeprefix("$").removeprefix(".")
    return f"{key}: {problem}" if key else problem


_NESTED = (
    inspect.UnionType,
    inspect.StructType,
    inspect.DictType,
    inspect.ListType,
    inspect.VarTupleType,
)


def _strip(value: Any, kind: inspect.Type, place: str) -> Iterator[str]:
    """Take out of plain JSON the keys that `kind` does not know; yields where they stood."""
    if isinstance(kind, inspect.UnionType):
        kind = next((one for one in kind.types if _fits(value, one)), kind)
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        known = {*fields, kind.tag_field} if kind.tag_field else set(fields)
        for key in [key for key in value if key not in known]:
            del value[key]
            yield f"'{place}{key}'"
        for key in [key for key in value if isinstance(fields.get(key), _NESTED)]:
            yield from _strip(value[key], fields[key], f"{place}{key}.")
    elif isinstance(kind, inspect.DictType) and isinstance(value, dict):
        if isinstance(kind.value_type, _NESTED):  # a seal may name ten thousand pictures
            for key, held in value.items():
                yield from _strip(held, kind.value_type, f"{place}{key}.")
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType) and isinstance(value, list):
        for held in value:
            yield from _strip(held, kind.item_type, place)


def _fits(value: Any, kind: inspect.Type) -> bool:
    if not isinstance(kind, inspect.StructType) or not isinstance(value, dict):
        return False
    return kind.tag_field is None or value.get(kind.tag_field) == kind.tag
