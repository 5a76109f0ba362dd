"""Files of JSON lines that are only appended to: what a kill tears is the last line alone.

Rows of a run, whose lines carry a number and a check, are `store.rows`; files that a person brings
are `user_text`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pairuni_eval.errors import UserError, writing
from pairuni_eval.store.write import write_whole

Row = TypeVar("Row")


def encode_lines(rows: Iterable[Any]) -> bytes:
    """Records as JSON, one a line."""
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def append(path: Path, lines: bytes, *, wait: bool = False) -> None:
    """Add whole lines to a file in one write; it and its folder are made if they are not there.

    Args:
        path: The file.
        lines: The lines with their ends.
        wait: Return only when they are on the disk.

    Raises:
        UserError: if the disk is full or the file may not be written.
    """
    with writing(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(lines)
            stream.flush()
            if wait:
                os.fsync(stream.fileno())


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file without their ends, a torn last one left out; none without the file."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return whole.split(b"\n") if whole else []


def read_lines(path: Path, decode: Callable[[bytes], Row], *, hint: str) -> list[Row]:
    """The whole lines of a file, decoded.

    Args:
        path: The file; one that is not there holds no line.
        decode: Makes a row of a line, or raises ValueError or msgspec's DecodeError.
        hint: The way back from a line that cannot be read.

    Raises:
        UserError: naming the file and the line that cannot be read.
    """
    found = []
    for number, line in enumerate(whole_lines(path), 1):
        try:
            found.append(decode(line))
        except (ValueError, msgspec.DecodeError) as failure:
            why = f"{path}, line {number}: cannot be read: {failure}."
            raise UserError(why, hint=hint) from failure
    return found


def keep_lines(path: Path, kept: Callable[[bytes], bool]) -> None:
    """Take lines out of a file, and its torn last one; nothing happens without the file."""
    if path.is_file():
        write_whole(path, b"".join(line + b"\n" for line in whole_lines(path) if kept(line)))
