"""Who works on a run folder: one process, or several of which each holds a lock of its own.

    .lock            whoever plans, grades or ends the run
    .rank3of8.lock   a rank that makes outputs and scores beside the first one
    .shard2of4.lock  a shard that makes outputs
    .shards.lock     the shard whose turn it is to plan

Ranks and shards take their lock while `.lock` is held for them (by the first rank, by the shard
itself while it plans). So whoever holds `.lock` and finds no other lock held is alone, and stays
so. The operating system lets go of all locks after a kill.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from pairuni_eval.errors import UserError, writing
from pairuni_eval.store import layout

_WORKER = re.compile(r"\.(rank|shard)(\d+)of(\d+)\.lock")
_TURN = ".shards.lock"
_OTHERS_OUT = "give this run a folder of its own with --out."


class Worker(NamedTuple):
    """A process that works on a run beside others; shards count from 1, ranks from 0."""

    kind: str
    number: int
    of: int

    def __str__(self) -> str:
        """As it is typed: "shard 2/4"; or said: "rank 3 of 8"."""
        between = "/" if self.kind == "shard" else " of "
        return f"{self.kind} {self.number}{between}{self.of}"

    def path(self, run: Path) -> Path:
        """Its lock."""
        return run / f".{self.kind}{self.number}of{self.of}.lock"


@contextmanager
def exclusive(run: Path) -> Iterator[None]:
    """Hold the run folder alone.

    Raises:
        UserError: if another process holds it, or ranks or shards work on it.
    """
    with _held(run, layout.LOCK):
        others = workers(run)
        if others:
            raise UserError(
                f"{_listed(others)} still work{'s' * (len(others) == 1)} on {run}.",
                hint=f"Wait for {'it' if len(others) == 1 else 'them'}, or {_OTHERS_OUT}",
            )
        for path in [*_worker_locks(run), run / _TURN]:
            path.unlink(missing_ok=True)  # of workers that are gone; none can come meanwhile
        yield


@contextmanager
def turn(run: Path, waits: Callable[[], None]) -> Iterator[None]:
    """Hold the run folder beside shards that work on it: one of them after the other plans.

    Args:
        run: The run folder.
        waits: Called if another shard's turn is waited for.

    Raises:
        UserError: if a process that is no shard holds the folder.
    """
    with writing(str(run)):
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / _TURN)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waits()
            lock.acquire()
    try:
        with _held(run, layout.LOCK):
            yield
    finally:
        lock.release()


@contextmanager
def working(run: Path, worker: Worker) -> Iterator[None]:
    """Hold the lock of a worker, which is gone afterward.

    Raises:
        UserError: if the same rank or shard works already.
    """
    path = worker.path(run)
    lock = FileLock(path, timeout=0)
    with writing(str(run)):
        try:
            lock.acquire()
        except Timeout as failure:
            raise UserError(
                f"{_listed([worker])} works on {run} already.",
                hint=f"Wait for it, or {_OTHERS_OUT}",
            ) from failure
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def workers(run: Path) -> list[Worker]:
    """The ranks and shards that work on a run now, by number."""
    found = []
    for path in _worker_locks(run):
        lock = FileLock(path, timeout=0)
        with suppress(FileNotFoundError):
            try:
                lock.acquire()
            except Timeout:
                found.append(_worker(path))
            else:
                lock.release()
    return sorted(found, key=lambda one: (one.kind, one.of, one.number))


def _worker_locks(run: Path) -> list[Path]:
    return [path for path in sorted(run.glob(".*.lock")) if _WORKER.fullmatch(path.name)]


def _worker(path: Path) -> Worker:
    found = _WORKER.fullmatch(path.name)
    assert found is not None
    return Worker(found[1], int(found[2]), int(found[3]))


@contextmanager
def _held(run: Path, name: str) -> Iterator[None]:
    with writing(str(run)):
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / name, timeout=0)
        try:
            lock.acquire()
        except Timeout as failure:
            raise UserError(
                f"Another process is working on {run}.", hint=f"Wait for it, or {_OTHERS_OUT}"
            ) from failure
    try:
        yield
    finally:
        lock.release()


def _listed(found: list[Worker]) -> str:
    """e.g. "Shard 1/4 and shard 3/4"."""
    *rest, last = map(str, found)
    words = f"{', '.join(rest)} and {last}" if rest else last
    return words[0].upper() + words[1:]
