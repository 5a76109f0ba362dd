"""Writing a run folder so that a kill at any moment loses at most the batch in flight.

Rows are appended a batch at a time and handed to the operating system, which keeps them when the
process dies; once a second they are also waited for until they are on the disk, so a power cut
costs a second more. A torn last line is cut off on the next start and is simply owed again.
Pictures are written under a temporary name and renamed to the hash of their content. Whole files
(cards, plan, parquet, pictures) appear by rename after they are on the disk, so their existence
means that they are complete.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, NamedTuple, Self, TypeVar

import msgspec
from filelock import FileLock, Timeout

from pairuni_eval.errors import UserError, writing
from pairuni_eval.records import Picture
from pairuni_eval.store import layout
from pairuni_eval.store.disk import wait_for_disk

_SYNC_AFTER = 1.0  # seconds of rows that a power cut may cost

Row = TypeVar("Row", bound=msgspec.Struct)
_encoder = msgspec.json.Encoder()
_STRUCTURED = {list, tuple, dict}  # what parquet holds as JSON text


class RowLog(Generic[Row]):
    """An append-only file of records, one JSON object a line.

    Args:
        path: The file; created with its folder on the first append.
        kind: The record type.
    """

    def __init__(self, path: Path, kind: type[Row]) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder(kind)
        self._synced = -math.inf

    def recover(self) -> list[Row]:
        """Read all whole rows and cut off a torn tail.

        Raises:
            UserError: if a whole line cannot be read: the file was changed from outside.
        """
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self.path, whole)
        return [self._decode(number, line) for number, line in enumerate(data[:whole].splitlines())]

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows in one write; the first ones, and once a second, wait for the disk."""
        block = b"".join(_encoder.encode(row) + b"\n" for row in rows)
        with writing(str(self.path)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as stream:
                stream.write(block)
                stream.flush()
                if time.monotonic() - self._synced >= _SYNC_AFTER:
                    os.fsync(stream.fileno())
                    self._synced = time.monotonic()

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        if self.path.exists():
            with writing(str(self.path)):
                wait_for_disk([str(self.path)])

    def _decode(self, number: int, line: bytes) -> Row:
        try:
            return self._decoder.decode(line)
        except msgspec.DecodeError as failure:
            raise UserError(
                f"{self.path}, line {number + 1}: cannot be read: {failure}.",
                hint="Delete that line: the run continues and makes it again.",
            ) from failure


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it exists only when complete."""
    with writing(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(_partial(str(path)))
        with partial.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)


def write_record(path: Path, record: Any) -> None:
    """Write one record (or any JSON-like value) as indented JSON, whole or not at all."""
    write_whole(path, msgspec.json.format(_encoder.encode(record), indent=2) + b"\n")


class Pictures:
    """Pictures on their way into a run folder, each stored once under its content id.

    `add` writes a picture under a temporary name; `settle` waits until all of them are on the disk
    and gives them their names. As a context it settles at the end; after a failure the temporary
    files are left to `clear_temporaries`.

    Args:
        run: The run folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._known: set[str] = set()
        self._written: list[_Written] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is None:
            self.settle()

    def add(self, picture: Picture) -> str:
        """Write a picture unless it is there already; returns its id."""
        if picture.id in self._known:
            return picture.id
        self._known.add(picture.id)
        path = str(layout.image_path(self._run, picture.id))
        if not os.path.exists(path):  # noqa: PTH110 - strings: this is done for every row
            partial = _partial(path)
            with writing(path):
                _write_new(partial, picture.data)
            self._written.append(_Written(partial, path))
        return picture.id

    def settle(self) -> None:
        """Let the pictures appear under their names once they are on the disk."""
        with writing(str(self._run / layout.IMAGES)):
            wait_for_disk([one.partial for one in self._written])
            for one in self._written:
                os.replace(one.partial, one.path)  # noqa: PTH105
        self._written.clear()


class _Written(NamedTuple):
    """A file that is written whole, and the name it is to have."""

    partial: str
    path: str


def _write_new(path: str, data: bytes) -> None:
    """Write a file, and make its folder if there is none yet."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        handle = os.open(path, flags, 0o666)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, flags, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
    finally:
        os.close(handle)


def write_picture(run: Path, picture: Picture) -> str:
    """Store a picture under its content id, once; returns the id."""
    with Pictures(run) as pictures:
        return pictures.add(picture)


def _partial(path: str) -> str:
    """The temporary name of a file that is being written; `clear_temporaries` knows its form."""
    folder, name = os.path.split(path)
    return f"{folder}/.{name}.{os.getpid()}.tmp"


def clear_temporaries(run: Path) -> None:
    """Remove what a killed process was in the middle of writing."""
    for leftover in run.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


class Journal:
    """The only place where times are kept; nothing reads it to make a number."""

    def __init__(self, run: Path) -> None:
        self._path = run / layout.JOURNAL

    def note(self, event: str, **facts: Any) -> None:
        """Append one event with the wall clock."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts})
        with writing(str(self._path)), self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


@contextmanager
def exclusive(run: Path) -> Iterator[None]:
    """Hold the run folder; the operating system lets go of it even after a kill.

    Raises:
        UserError: if another process holds it.
    """
    with writing(str(run)):
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / layout.LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as failure:
            raise UserError(
                f"Another process is working on {run}.",
                hint="Wait for it, or give this run a folder of its own with --out.",
            ) from failure
    try:
        yield
    finally:
        lock.release()


def compact(run: Path, tables: dict[str, Sequence[msgspec.Struct]]) -> None:
    """Turn the rows into parquet files and mark the run COMPLETE.

    Structured columns (parts, reference, tags) become JSON text. The rows are removed only after
    the marker stands.
    """
    digests = {name: _write_parquet(run / f"{name}.parquet", rows) for name, rows in tables.items()}
    counts = {name: len(rows) for name, rows in tables.items()}
    write_record(run / layout.COMPLETE, {"rows": counts, "sha256": digests})
    remove_rows(run)


def remove_rows(run: Path) -> None:
    """Remove the append-only rows of a compacted run."""
    for path in sorted((run / layout.ROWS).glob("*.jsonl")):
        path.unlink()
    if (run / layout.ROWS).is_dir():
        (run / layout.ROWS).rmdir()


def _write_parquet(path: Path, rows: Sequence[msgspec.Struct]) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(_columns(rows)), buffer, compression="zstd")
    data = buffer.getvalue().to_pybytes()
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def _columns(rows: Sequence[msgspec.Struct]) -> dict[str, list[Any]]:
    """The fields of records as columns; lists and tables become JSON text."""
    names = rows[0].__struct_fields__ if rows else ()
    return {name: _column([getattr(row, name) for row in rows]) for name in names}


def _column(values: list[Any]) -> list[Any]:
    kinds = set(map(type, values)) - {type(None)}
    if kinds & _STRUCTURED:
        return [None if value is None else _encoder.encode(value).decode() for value in values]
    if any(issubclass(kind, StrEnum) for kind in kinds):
        return [None if value is None else str(value) for value in values]
    return values
