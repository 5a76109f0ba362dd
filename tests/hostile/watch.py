"""Sees every file, process and connection that Python opens, and ends what hangs.

An audit hook cannot be taken away again, so there is one for the process, which looks only within
`watched`.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.errors import BoundaryError, UserError

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod")
_LEAVING = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system")
_DISCARD = 9  # where hostile addresses point to
_SECONDS = 60  # far more than any input takes, on a busy machine too
_SHOWN = 6
_watching: list[list[tuple[str, bool]]] = []  # paths, and whether each was to be changed


class Hung(BaseException):
    """An input that takes forever."""


class Trial(NamedTuple):
    """One input: what it is, for people, and what to do with it."""

    name: str
    run: Callable[[], Any]


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    record = _watching[-1]
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        mode, flags = arguments[1], arguments[2]
        wanted = any(letter in mode for letter in "wax+") if isinstance(mode, str) else False
        record.append((os.fsdecode(arguments[0]), wanted or bool((flags or 0) & _WRITING)))
    elif event in _CHANGING:
        named = [one for one in arguments if isinstance(one, str | bytes | os.PathLike)]
        record.extend((os.fsdecode(one), True) for one in named)
    elif event in _LEAVING and not _is_our_endpoint(event, arguments):
        record.append((f"//{event} {arguments}", True))


def _is_our_endpoint(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether it is a call to a server of the test: on loopback, and not at the discard port."""
    if event == "socket.connect":
        return bool(arguments[1][0] == "127.0.0.1" and arguments[1][1] != _DISCARD)
    return event == "socket.getaddrinfo" and arguments[0] == "127.0.0.1"


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[tuple[str, bool]]]:
    """The files that are opened or changed within the block.

    A module that is first imported there leaves no bytecode: that is no doing of the input.
    """
    seen: list[tuple[str, bool]] = []
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.pop()
        sys.dont_write_bytecode = before


@contextmanager
def _in_time() -> Iterator[None]:
    def end(*_: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(trial: Trial, forbidden: Sequence[str], home: Path) -> tuple[str, str | None]:
    """How an input ended ("fine" or "refused"), and what is wrong with that, if anything.

    Wrong is any other exception, a hang, a forbidden file that was opened, a file changed outside
    `home`, and whatever the trial itself asserts.
    """
    trouble: str | None = None
    ended = "fine"
    with watched() as seen, _in_time():
        try:
            trial.run()
        except (UserError, BoundaryError) as refusal:
            ended = "refused"
            words = f"{refusal}{getattr(refusal, 'hint', None) or ''}"
            trouble = None if str(refusal).strip() else "refused without a word"
            if "Traceback" in words:
                trouble = f"a traceback in a sentence: {words[:300]}"
        except Hung:
            trouble = "hangs"
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is what we look for
            last = traceback.extract_tb(failure.__traceback__)[-1]
            words = "".join(traceback.format_exception_only(failure)).strip()[:300]
            trouble = f"{words} (at {last.filename.rpartition('/pairuni')[2]}:{last.lineno})"
    return ended, trouble or _trespass(seen, forbidden, home)


def _trespass(seen: Sequence[tuple[str, bool]], forbidden: Sequence[str], home: Path) -> str | None:
    real = {os.path.realpath(path) for path in forbidden}
    inside = f"{os.path.realpath(home)}/"
    for path, changing in seen:
        if path.isdecimal():
            continue  # a file descriptor
        where = os.path.realpath(path.replace("\0", "")) if path else ""
        if where in real:
            return f"opened {path}"
        if changing and not where.startswith((inside, "/dev/")) and where != inside[:-1]:
            return f"changed {path}"
    return None


def all_hold(trials: Iterator[Trial], forbidden: Sequence[str], home: Path) -> dict[str, int]:
    """Run the inputs, assert that none does harm, and count how they ended."""
    ends: dict[str, int] = {}
    harmful: list[str] = []
    for trial in trials:
        ended, trouble = outcome(trial, forbidden, home)
        ends[ended] = ends.get(ended, 0) + 1
        if trouble:
            harmful.append(f"{trial.name}: {trouble}")
    shown = "\n".join(harmful[:_SHOWN])
    assert not harmful, f"{len(harmful)} of {sum(ends.values())} inputs do harm:\n{shown}"
    return ends
