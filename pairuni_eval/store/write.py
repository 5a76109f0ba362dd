"""Writers of a run folder: a kill at any moment loses at most the batch in flight.

Rows are appended a batch at a time (`rows.py`) and handed to the operating system, which keeps them
when the process dies; once a second they are also waited for until they are on the disk, so a power
cut costs a second more. Whole files (cards, plan, parquet, pictures) appear by rename after they
are on the disk, so their existence means that they are complete.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from pairuni_eval.errors import writing
from pairuni_eval.store import layout
from pairuni_eval.store.disk import wait_for_disk

_encoder = msgspec.json.Encoder()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name for a file or folder that exists only when the block has completed it.

    A file is on the disk before it gets its name. What a block that fails leaves behind is removed
    by `clear_temporaries`.

    Raises:
        UserError: if the disk is full or the folder may not be written.
    """
    partial = Path(partial_name(str(path)))
    with writing(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        yield partial
        if partial.is_file():
            wait_for_disk([str(partial)])
        partial.replace(path)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it exists only when complete."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def write_record(path: Path, record: Any) -> None:
    """Write one record (or any JSON-like value) as indented JSON, whole or not at all."""
    write_whole(path, record_bytes(record))


def record_bytes(record: Any) -> bytes:
    """What `write_record` writes."""
    return msgspec.json.format(_encoder.encode(record), indent=2) + b"\n"


def partial_name(path: str) -> str:
    """The temporary name of a file that is being written; `clear_temporaries` knows its form.

    No other process has the same one, on whatever machine that shares the folder, and no other
    thread: an endpoint's replies are written as they come, and two may hold the same picture.
    """
    folder, name = os.path.split(path)
    return f"{folder}/.{name}.{_process(os.getpid())}-{threading.get_ident():x}.tmp"


@cache
def _process(number: int) -> str:
    """A name for the process of this number: on another machine another one may have it too."""
    return f"{number}-{os.urandom(4).hex()}"


def clear_temporaries(run: Path, *, besides: Path | None = None) -> None:
    """Remove what a killed process was in the middle of writing; no other may be writing now.

    Args:
        run: The folder.
        besides: A folder in it in which another process may be writing; it is left alone.
    """
    for leftover in list(run.rglob(".*.tmp")):
        if besides is None or besides not in leftover.parents:
            _remove(leftover)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class RunJournal:
    """The only place where times are kept; nothing reads it to make a number."""

    def __init__(self, run: Path) -> None:
        self._path = run / layout.JOURNAL

    def note(self, event: str, **facts: Any) -> None:
        """Append one event with the wall clock."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts})
        with writing(str(self._path)), self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
