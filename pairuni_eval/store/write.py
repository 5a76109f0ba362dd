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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from filelock import FileLock, Timeout

from pairuni_eval.errors import UserError, writing
from pairuni_eval.records import Picture
from pairuni_eval.store import layout

_SYNC_AFTER = 1.0  # seconds of rows that a power cut may cost
_TOGETHER = 256  # pictures that wait for the disk together
_WAITERS = 32  # threads that wait: a disk serves many waiters in the time of one

Row = TypeVar("Row", bound=msgspec.Struct)
_encoder = msgspec.json.Encoder()


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
                _wait_for_disk(self.path)

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
        partial = _partial(path)
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

    `add` writes a picture under a temporary name; `settle` waits for all of them together and gives
    them their names. Waiting for each alone would take longer than everything else a row costs.

    Args:
        run: The run folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._folders: set[Path] = set()
        self._waiting: dict[Path, Path] = {}  # final path: temporary path

    def add(self, picture: Picture) -> str:
        """Write a picture unless it is there already; returns its id."""
        path = layout.image_path(self._run, picture.id)
        if path in self._waiting or path.exists():
            return picture.id
        with writing(str(path)):
            if path.parent not in self._folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(path.parent)
            partial = _partial(path)
            partial.write_bytes(picture.data)
        self._waiting[path] = partial
        if len(self._waiting) == _TOGETHER:
            self.settle()
        return picture.id

    def settle(self) -> None:
        """Wait until the pictures are on the disk, then let them appear."""
        partials = list(self._waiting.values())
        with writing(str(self._run / layout.IMAGES)):
            if len(partials) == 1:
                _wait_for_disk(partials[0])
            elif partials:
                with ThreadPoolExecutor(min(_WAITERS, len(partials))) as waiters:
                    list(waiters.map(_wait_for_disk, partials))
            for path, partial in self._waiting.items():
                partial.replace(path)
        self._waiting.clear()


def write_picture(run: Path, picture: Picture) -> str:
    """Store a picture under its content id, once; returns the id."""
    pictures = Pictures(run)
    pictures.add(picture)
    pictures.settle()
    return picture.id


def _partial(path: Path) -> Path:
    """The temporary name of a file that is being written; `clear_temporaries` knows its form."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _wait_for_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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

    records = [_flat(row) for row in rows]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(records), buffer, compression="zstd")
    data = buffer.getvalue().to_pybytes()
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def _flat(row: msgspec.Struct) -> dict[str, Any]:
    plain = msgspec.to_builtins(row)
    return {
        key: _encoder.encode(value).decode() if isinstance(value, list | dict | tuple) else value
        for key, value in plain.items()
    }
