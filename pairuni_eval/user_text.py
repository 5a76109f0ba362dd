"""Text files that a user brings: one reader for all of them.

They are UTF-8, with or without its mark in front, plain or packed as `.gz`. A file in another
encoding is a sentence with the file and the line, and never half read. JSON is read as Python reads
it, for Python wrote most of these files: `NaN` is a number, and half of a surrogate pair (what is
left where an answer was cut in the middle of a character) costs that one character, in keys and in
values, and neither the row nor the file.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import shlex
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pairuni_eval.errors import UserError

_PACKED = ".gz"
_MARK = codecs.BOM_UTF8
_OTHER_MARKS = {  # the longer ones first: UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_LONGEST_LINE = 1 << 28  # bytes; a packed file of a megabyte may hold one line of a gigabyte
_LARGEST = 1 << 31  # bytes of a whole text
_BLANKS = re.compile(r"\s*")
_GZIP = b"\x1f\x8b"
_HALF_PAIR = re.compile("[\ud800-\udfff]")

Kind = TypeVar("Kind")


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that hold something, stripped, with their numbers from 1.

    Raises:
        UserError: naming the file and the line, for what is not UTF-8; for a file that cannot be
            read or unpacked.
    """
    try:
        with _opened(path) as stream:
            number = 0
            while line := stream.readline(_LONGEST_LINE):
                number += 1
                if len(line) == _LONGEST_LINE:
                    raise UserError(f"{path}, line {number}: longer than {_LONGEST_LINE:,} bytes.")
                if number == 1:
                    line = _unmarked(path, line)
                text = _decoded(path, line, number).strip()
                if text:
                    yield number, text
    except (OSError, EOFError, zlib.error) as failure:
        raise UserError(f"{path}: cannot be read: {failure}.") from failure


def text_of(path: Path) -> str:
    """The whole text of a file.

    Raises:
        UserError: as `lines_of`.
    """
    try:
        with _opened(path) as stream:
            data = stream.read(_LARGEST)
    except (OSError, EOFError, zlib.error) as failure:
        raise UserError(f"{path}: cannot be read: {failure}.") from failure
    if len(data) == _LARGEST:
        raise UserError(f"{path}: longer than {_LARGEST:,} bytes.")
    return _decoded(path, _unmarked(path, data), 1)


def json_of(text: str, place: str) -> Any:
    """The value of a JSON text.

    Args:
        text: The text.
        place: Where it stands, for the error: "answers.jsonl, line 3".

    Raises:
        UserError: naming the place, if it is not JSON.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        pass  # NaN and half pairs, which Python reads, or no JSON at all
    except RecursionError as failure:
        raise UserError(f"{place}: not JSON that can be read: nested too deeply.") from failure
    try:
        value = json.loads(text)
    except json.JSONDecodeError as failure:
        lines = f"line {failure.lineno}, " if failure.lineno > 1 else ""
        where = f"{lines}character {failure.colno}"
        raise UserError(f"{place}: not JSON: {failure.msg} ({where}).") from failure
    except (ValueError, RecursionError) as failure:
        raise UserError(f"{place}: not JSON that can be read: {failure}.") from failure
    return _whole(value) if _may_hold_half_pairs(text) else value


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The values of a file of JSON lines, with their line numbers from 1.

    Raises:
        UserError: naming file and line, for a line that is not JSON or not UTF-8.
    """
    for number, line in lines_of(path):
        yield number, json_of(line, f"{path}, line {number}")


class Repeated(dict[str, Any]):
    """A JSON object that holds a key twice: a mapping of the last values, and all `pairs`."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = tuple(pairs)


def json_values(path: Path) -> Iterator[tuple[int, Any]]:
    """All values of a JSON file in order, however many lines each takes, with their first lines.

    An object that holds a key twice is a `Repeated`.

    Raises:
        UserError: naming file and line, for what is not JSON or not UTF-8.
    """
    text = text_of(path)
    decoder = json.JSONDecoder(object_pairs_hook=_object_of)
    position, line, counted = _behind_blanks(text, 0), 1, 0
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as failure:
            where = f"{path}, line {failure.lineno}"
            raise UserError(
                f"{where}: not JSON: {failure.msg} (character {failure.colno})."
            ) from failure
        except (ValueError, RecursionError) as failure:
            raise UserError(
                f"{path}, line {line}: not JSON that can be read: {failure}."
            ) from failure
        yield line, _whole(value) if _may_hold_half_pairs(text) else value
        position = _behind_blanks(text, end)


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Repeated(pairs)


def _behind_blanks(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    return found.end() if found else position


def records_of(path: Path, kind: type[Kind]) -> list[Kind]:
    """The rows of a file of JSON lines as records of one type.

    Raises:
        UserError: naming file and line, for a line that is not such a record.
    """
    found = []
    for number, value in json_lines(path):
        try:
            found.append(msgspec.convert(value, kind))
        except msgspec.ValidationError as failure:
            raise UserError(f"{path}, line {number}: {failure}.") from failure
    return found


def json_value(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        UserError: naming the file, if it is missing, no JSON or not UTF-8.
    """
    return json_of(text_of(path), str(path))


def _opened(path: Path) -> io.BufferedIOBase:
    return gzip.open(path, "rb") if _is_packed(path) else path.open("rb")


def _unmarked(path: Path, data: bytes) -> bytes:
    """What stands behind the mark of UTF-8; the marks of other encodings are refused.

    So is what is packed still, or again.
    """
    if data.startswith(_GZIP):
        raise _still_packed(path)
    for mark, name in _OTHER_MARKS.items():
        if data.startswith(mark):
            raise _not_utf8(path, 1, name)
    return data.removeprefix(_MARK)


def _decoded(path: Path, data: bytes, line: int) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as failure:
        line += data.count(b"\n", 0, failure.start)
        raise _not_utf8(path, line, _guess(data)) from failure
    if "\0" in text[:4]:  # UTF-16 without its mark: every second byte of plain letters
        raise _not_utf8(path, line, "UTF-16LE" if text[1:2] == "\0" else "UTF-16BE")
    return text


def _guess(data: bytes) -> str:
    """An encoding that fits, for the example of a command; which one it is nobody can know."""
    if b"\0" in data:
        return "UTF-16LE" if data[1:2] == b"\0" else "UTF-16BE"
    try:
        data.decode("gbk")
    except UnicodeDecodeError:
        return "LATIN1"
    return "GBK"


def _not_utf8(path: Path, line: int, name: str) -> UserError:
    named = f"{name}, not UTF-8" if name.startswith("UTF") else "not UTF-8"
    source, target = shlex.quote(str(path)), shlex.quote(f"utf8-{_unpacked_name(path)}")
    convert = f"iconv -f {name} -t UTF-8"
    made = f"gzip -dc {source} | {convert}" if _is_packed(path) else f"{convert} {source}"
    return UserError(
        f"{path}, line {line}: {named}.", hint=f"Save the file as UTF-8, e.g. {made} > {target}"
    )


def _still_packed(path: Path) -> UserError:
    if not _is_packed(path):
        return UserError(
            f"{path}: packed by gzip, but not called so.", hint=f"Rename it to {path.name}{_PACKED}"
        )
    source, target = shlex.quote(str(path)), shlex.quote(f"once-{path.name}")
    return UserError(
        f"{path}: packed by gzip twice.", hint=f"Unpack it once: gzip -dc {source} > {target}"
    )


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == _PACKED


def _unpacked_name(path: Path) -> str:
    return path.stem if _is_packed(path) else path.name


def _may_hold_half_pairs(text: str) -> bool:
    return "\\ud" in text or "\\uD" in text


def _whole(value: Any) -> Any:
    """The value with a replacement character for every half of a surrogate pair."""
    if isinstance(value, str):
        return _HALF_PAIR.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        pairs = value.pairs if isinstance(value, Repeated) else value.items()
        return _object_of([(_whole(key), _whole(item)) for key, item in pairs])
    return value
