"""Append-only rows: one JSON object a line, each with its number and a check.

    {"id":"...", ..., "row":17,"check":"3f9a0c5d12ab77e0"}

The check is the first 16 hex digits of the SHA-256 of the run's address and the line without it, so
a line of another run fails it (the judges' usage has no address). A line that fails its
check, cannot be decoded, or lacks a check below a line that has one is dropped, as a torn last line
is: its row is owed again. In a run that began with checks (`planned.json` lies beside its rows)
no line lacks one. The numbers tell where lines were taken out: whatever stands beside a gap
may have lost a neighbor. A line without number and check (an older run) is read and counted as
unchecked. A line that stands there twice is taken once; two different rows of one identity, both
with a right check, are an error, for nothing says which of them is true.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from pairuni_eval.errors import UserError, writing
from pairuni_eval.store import layout
from pairuni_eval.store.disk import wait_for_disk
from pairuni_eval.store.json_lines import append
from pairuni_eval.store.write import write_whole

_SYNC_AFTER = 1.0  # seconds of rows that a power cut may cost
_END = re.compile(rb'(,"row":([1-9][0-9]{0,17}))(,"check":"([0-9a-f]{16})")\}\Z')
_LONGEST_END = 64  # bytes that number and check take at most
_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Row = TypeVar("Row", bound=msgspec.Struct)
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class Recovered(Generic[Row]):
    """What a file of rows holds.

    Attributes:
        rows: The whole rows in the order of their numbers, each once.
        damaged: The lines that were dropped, counted from 1; a torn last line is not among them.
        unchecked: How many of the rows have no check.
        loose: Rows beside which another may be missing: the last one, and those at every gap.
    """

    rows: list[Row]
    damaged: tuple[int, ...] = ()
    unchecked: int = 0
    loose: tuple[Row, ...] = ()


class RowLog(Generic[Row]):
    """An append-only file of records.

    Args:
        path: The file; created with its folder on the first append.
        kind: The record type.
        identity: What may stand in the file once only; None for records that may repeat.
        address: The address of the run that the rows are of, see `RunCard.rows_address`.

    Attributes:
        damage: What is to be told about the lines that `recover` dropped, one sentence a time.
    """

    def __init__(
        self,
        path: Path,
        kind: type[Row],
        identity: Callable[[Row], Hashable] | None = None,
        *,
        address: str = "",
    ) -> None:
        self.path = path
        self.damage: tuple[str, ...] = ()
        self._kind = kind
        self._identity = identity
        self._address = address
        self._number: int | None = None  # of the last row
        self._synced = -math.inf

    def recover(
        self, owed: Callable[[Row], bool] | None = None, *, mend: bool = True
    ) -> Recovered[Row]:
        """Read all whole rows, and take out of the file what is not one.

        Args:
            owed: Says of a whole row whether it is to be made again; it is taken out as well.
            mend: Whether the file is changed; else the rows alone are left out.

        Raises:
            UserError: for two different rows of one identity, or a whole row of another kind.
        """
        if not self.path.exists():
            self._number = 0
            return Recovered([])
        data = self.path.read_bytes()
        lines = _lines(self.path, data, self._kind, self._identity, self._address)
        kept = [line for line in lines.whole if owed is None or not owed(line.row)]
        if mend:
            self._mend(data, lines, kept)
        self._number = max((line.number for line in lines.whole), default=0)
        if lines.damaged:
            self.damage = (*self.damage, _sentence(self.path, lines.damaged))
        return _recovered(kept, lines.damaged)

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows in one write; the first ones, and once a second, wait for the disk."""
        number = self._number if self._number is not None else self._count()
        written = []
        for row in rows:
            number += 1
            written.append(checked_line(row, number, self._address))
        wait = time.monotonic() - self._synced >= _SYNC_AFTER
        append(self.path, b"".join(written), wait=wait)
        if wait:
            self._synced = time.monotonic()
        self._number = number

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        if self.path.exists():
            with writing(str(self.path)):
                wait_for_disk([str(self.path)])

    def _count(self) -> int:
        return self.path.read_bytes().count(b"\n") if self.path.exists() else 0

    def _mend(self, data: bytes, lines: _FileLines[Row], kept: Sequence[_RowLine[Row]]) -> None:
        """Let the file hold the kept lines alone; a torn tail is cut off in place."""
        if len(kept) < lines.count:
            write_whole(self.path, b"".join(line.text + b"\n" for line in kept))
        elif lines.end < len(data):
            os.truncate(self.path, lines.end)


def read_rows(
    path: Path,
    kind: type[Row],
    identity: Callable[[Row], Hashable] | None = None,
    *,
    address: str = "",
) -> Recovered[Row]:
    """The whole rows of a file, which stays as it is.

    Args:
        path: The file.
        kind: The record type.
        identity: See `RowLog`.
        address: See `RowLog`.

    Raises:
        UserError: as `RowLog.recover`.
    """
    lines = _lines(path, path.read_bytes(), kind, identity, address)
    return _recovered(lines.whole, lines.damaged)


def checked_line(row: msgspec.Struct, number: int, address: str = "") -> bytes:
    """A record as a line with its number and its check; the address is that of its run."""
    head = b'%b,"row":%d' % (_encoder.encode(row)[:-1], number)
    return b'%b,"check":"%b"}\n' % (head, check_of(head, address))


def check_of(head: bytes, address: str = "") -> bytes:
    """The check of a line: 16 hex digits, from its run and what stands in front of it."""
    return hashlib.sha256(address.encode() + head + b"}").hexdigest()[:16].encode()


def _end(text: bytes) -> re.Match[bytes] | None:
    """Number and check at the end of a line."""
    return _END.search(text, max(0, len(text) - _LONGEST_END))


@dataclass(frozen=True)
class _RowLine(Generic[Row]):
    """A whole line; `place` counts the lines of the file from 1."""

    row: Row
    number: int
    place: int
    checked: bool
    text: bytes


@dataclass(frozen=True)
class _FileLines(Generic[Row]):
    """A file taken apart: its whole lines in order, `count` lines in all up to the byte `end`."""

    whole: list[_RowLine[Row]]
    damaged: tuple[int, ...]
    count: int
    end: int


def _lines(
    path: Path,
    data: bytes,
    kind: type[Row],
    identity: Callable[[Row], Hashable] | None,
    address: str,
) -> _FileLines[Row]:
    end = data.rfind(b"\n") + 1
    texts = data[:end].split(b"\n")[:-1]
    decoder = msgspec.json.Decoder(kind)
    whole: list[_RowLine[Row]] = []
    damaged: list[int] = []
    checks = path.with_name(layout.PLANNED).exists()
    for place, text in enumerate(texts, 1):
        line = _checked(path, place, text, decoder, address)
        if line is None and not checks and _end(text) is None:
            line = _unchecked(place, text, kind, decoder)
        if line is None:
            damaged.append(place)
        else:
            checks |= line.checked
            whole.append(line)
    whole.sort(key=lambda line: line.number)
    once = _once(path, whole, identity)
    return _FileLines(once, tuple(damaged), len(texts), end)


def _checked(
    path: Path, place: int, text: bytes, decoder: msgspec.json.Decoder[Row], address: str
) -> _RowLine[Row] | None:
    """A line whose check is right; None for any other."""
    end = _end(text)
    if end is None or check_of(text[: end.end(1)], address) != end.group(4):
        return None
    try:
        row = decoder.decode(text[: end.start()] + b"}")
    except _NOT_DECODED as failure:
        raise UserError(
            f"{path}, line {place}: cannot be read, though its check is right: {failure}.",
            hint="Delete that line: the same command makes its row again.",
        ) from failure
    return _RowLine(row, int(end.group(2)), place, checked=True, text=text)


def _unchecked(
    place: int, text: bytes, kind: type[Row], decoder: msgspec.json.Decoder[Row]
) -> _RowLine[Row] | None:
    """A line without a check, if it holds a row and nothing else."""
    try:
        plain = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        row = decoder.decode(text)
    except _NOT_DECODED:
        return None
    tag = kind.__struct_config__.tag_field
    if not plain.keys() <= {*kind.__struct_encode_fields__, *([tag] if tag else [])}:
        return None
    return _RowLine(row, place, place, checked=False, text=text)


def _once(
    path: Path, lines: Sequence[_RowLine[Row]], identity: Callable[[Row], Hashable] | None
) -> list[_RowLine[Row]]:
    """Every row once.

    Raises:
        UserError: for two different rows of one identity.
    """
    kept: list[_RowLine[Row]] = []
    seen: dict[Hashable, _RowLine[Row]] = {}
    for line in lines:
        key: Hashable = line.text if identity is None else identity(line.row)
        first = seen.setdefault(key, line)
        if first is line:
            kept.append(line)
        elif first.row != line.row:
            raise UserError(
                f"{path}, lines {first.place} and {line.place}: two different rows of "
                f"{in_words(key)}, and neither is damaged.",
                hint="Delete the one that is wrong, or both: the same command makes them again.",
            )
    return kept


def _sentence(path: Path, damaged: tuple[int, ...]) -> str:
    """What a person is told of lines that were dropped."""
    several = len(damaged) > 1
    places = ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else "")
    return (
        f"{path}: {len(damaged)} row{'s' * several} {'were' if several else 'was'} damaged and "
        f"dropped (line{'s' * several} {places}); what {'they' if several else 'it'} held is made "
        "again."
    )


def in_words(key: Hashable) -> str:
    """What is known by a key, for people."""
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _recovered(lines: Sequence[_RowLine[Row]], damaged: tuple[int, ...]) -> Recovered[Row]:
    loose: dict[int, Row] = {}
    before = 0
    for place, line in enumerate(lines):
        if line.number != before + 1:
            loose[place] = line.row
            if place:
                loose[place - 1] = lines[place - 1].row
        before = line.number
    if lines:
        loose[len(lines) - 1] = lines[-1].row
    unchecked = sum(not line.checked for line in lines)
    return Recovered([line.row for line in lines], damaged, unchecked, tuple(loose.values()))
