"""The cache of replies that were paid for, remembered so that nobody pays twice.

One JSON line per reply, appended under a file lock and flushed to the disk before anyone uses it,
so a kill loses at most the calls that were under way, and runs and processes may share a file. A
torn last line is cut off by the next writer. Every line ends with a check, as those of `store/rows`
do: a reply that was changed since is none, its question is asked again, and what it cost still
counts as a call. Lines without a check, above all that have one, are of an older version and
believed. Two processes that ask the same thing at the same
moment both pay; both lines count as spent, and the first one is the reply.

How many calls are under way stands beside the replies, in a file of one number that every process
changes under the same lock before a call and after it, so that what processes spend together can be
capped while none waits for the calls of another. A process that is killed takes nothing back: its
calls were sent, nobody knows whether they were paid for, and they count as spent from then on.
Deleting the number forgets them.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from filelock import FileLock

from pairuni_eval.errors import UserError, writing
from pairuni_eval.store.json_lines import append
from pairuni_eval.store.rows import check_of

_END = re.compile(rb',"check":"([0-9a-f]{16})"\}\Z')
_LONGEST_END = 32  # bytes that a check takes at most


class CachedReply(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint replied, in whatever form.

    Attributes:
        key: Hash of everything that moves the reply.
        snapshot: The model that was asked for.
        served: The model that the endpoint says it was, None if it does not say.
        text: What it said; empty if nothing.
        finish: Why it stopped, in the endpoint's word: "stop", "length", "content_filter", ...;
            "refusal" if it declined in so many words, "no reply" if what came holds no reply and
            `text` says what it was instead.
        prompt_tokens: Tokens of the question, None if not told.
        completion_tokens: Tokens of the reply, None if not told.
        cost: Money at the prices of the judge file, None without prices.
        seconds: Time of the call that succeeded.
        tries: Calls it took, failed ones included.
        run: Hash of the place of the run that paid.
        open: True if it answers nothing: it was paid for and counts, and asking again may bring
            a reply.
        first_token: What the first token might have been, see `completion.FirstToken`.
    """

    key: str
    snapshot: str
    text: str
    finish: str
    served: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    seconds: float = 0.0
    tries: int = 1
    run: str = ""
    open: bool = False
    first_token: tuple[tuple[str, float], ...] = ()


class Spent(NamedTuple):
    """What a file of replies has cost: calls, money, and the dearest reply in it.

    Attributes:
        calls: Lines of the file.
        cost: Sum of what is known.
        dearest: Highest cost of one reply.
        under_way: Calls that have begun, here and in other processes, and brought nothing yet.
    """

    calls: int = 0
    cost: float = 0.0
    dearest: float = 0.0
    under_way: int = 0


Barred = TypeVar("Barred")


class ReplyCache:
    """Remembered replies by key.

    Every method may be called from several threads as long as they take turns.

    Args:
        path: The file, shared or not; None remembers in memory only.

    Raises:
        UserError: if the file cannot be read or its folder not be made.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(CachedReply)
        self._replies: dict[str, CachedReply] = {}
        self._lines_of: dict[str, list[CachedReply]] = {}
        self._under_way = 0
        self._costs: list[float] = []
        self._calls = 0
        self._read = 0  # bytes of the file that are known here
        self._lines = 0
        self._checked = False  # whether a line had a check, so that all below must
        if path is not None:
            with writing(str(path)):
                path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(f"{path}.lock")
            self.refresh()

    def __len__(self) -> int:
        """How many replies are known, each key once."""
        return len(self._replies)

    def find(self, key: str) -> CachedReply | None:
        """The reply to a question, if it is known here; `refresh` looks for those of others."""
        return self._replies.get(key)

    def paid_for(self, key: str, run: str) -> list[CachedReply]:
        """Everything that one run paid for about a question, in order."""
        return [reply for reply in self._lines_of.get(key, []) if reply.run == run]

    @property
    def spent(self) -> Spent:
        """What is known to have been spent, whoever spent it."""
        dearest = max(self._costs, default=0.0)
        return Spent(self._calls, math.fsum(self._costs), dearest, self._under_way)

    @property
    def usual_cost(self) -> float | None:
        """Mean cost of the remembered replies that cost something; None if none did."""
        priced = [cost for cost in self._costs if cost > 0]
        return math.fsum(priced) / len(priced) if priced else None

    def begin(self, barred: Callable[[Spent], Barred | None]) -> Barred | None:
        """Begin a call, unless it is barred: no process begins another one in between.

        Args:
            barred: Says by what was spent why there may be no further call, or None.

        Returns:
            None if the call has begun and is to be ended by `end` or `add`; else why it may not.
        """
        if self._path is None:
            why = barred(self.spent)
            self._under_way += why is None
            return why
        with writing(str(self._path)), self._lock:
            self._catch_up(self._path)
            why = barred(self.spent)
            if why is None:
                self._count(+1)
            return why

    def end(self) -> None:
        """End a call that brought nothing."""
        if self._path is None:
            self._under_way -= 1
        else:
            with writing(str(self._path)), self._lock:
                self._count(-1)

    def refresh(self) -> None:
        """Learn what other processes have added."""
        if self._path is not None and self._path.exists():
            with writing(str(self._path)), self._lock:
                self._catch_up(self._path)

    def add(self, reply: CachedReply, *, ends_call: bool = False) -> CachedReply:
        """Remember a reply; returns the one that holds for its key, the first one given.

        It is on the disk when this returns.

        Args:
            reply: What came.
            ends_call: Whether it came by a call that was begun with `begin`.

        Raises:
            UserError: if the disk is full or the folder may not be written.
        """
        if self._path is None:
            self._learn(reply)
            self._under_way -= ends_call
        else:
            with writing(str(self._path)), self._lock:
                self._catch_up(self._path)
                self._append(self._path, reply)
                if ends_call:  # last: a kill in between counts the call twice, not never
                    self._count(-1)
        return self._replies.get(reply.key, reply)

    @property
    def _number(self) -> Path:
        """The file that says how many calls are under way."""
        assert self._path is not None
        return self._path.with_suffix(".under-way")

    def _count(self, change: int) -> None:
        """Change the number of calls under way, holding the lock."""
        self._under_way = max(self._read_number() + change, 0)
        handle = os.open(self._number, os.O_WRONLY | os.O_CREAT, 0o666)
        try:  # one write of always the same length: no kill leaves half a number
            os.write(handle, b"%-19d\n" % self._under_way)
        finally:
            os.close(handle)

    def _read_number(self) -> int:
        try:
            return int(self._number.read_bytes())
        except FileNotFoundError:
            return 0
        except ValueError as failure:
            raise UserError(
                f"{self._number} does not hold a number of calls.",
                hint="Delete it: calls of processes that were killed are not counted any more.",
            ) from failure

    def _append(self, path: Path, reply: CachedReply) -> None:
        head = msgspec.json.encode(reply)[:-1]
        line = b'%b,"check":"%b"}\n' % (head, check_of(head))
        append(path, line, wait=True)
        self._read += len(line)
        self._lines += 1
        self._learn(reply)

    def _catch_up(self, path: Path) -> None:
        """Read what is new, holding the lock: a line without an end has no writer any more."""
        self._under_way = self._read_number()
        if not path.exists():
            return
        with path.open("rb") as stream:
            stream.seek(self._read)
            new = stream.read()
        whole = new.rfind(b"\n") + 1
        if whole < len(new):
            os.truncate(path, self._read + whole)
        for line in new[:whole].splitlines():
            self._lines += 1
            reply = self._whole(path, line)
            if reply is None:
                self._pay(0.0)
            else:
                self._learn(reply)
        self._read += whole

    def _whole(self, path: Path, line: bytes) -> CachedReply | None:
        """The reply of a line; None if it is changed since it was written."""
        end = _END.search(line, max(0, len(line) - _LONGEST_END))
        if end is not None and check_of(line[: end.start()]) == end.group(1):
            self._checked = True
            return self._decode(path, line)
        if end is None and not self._checked:
            return self._decode(path, line)
        logging.getLogger(__name__).warning(
            "Note: %s, line %d: changed since it was written; its question is asked again.",
            path,
            self._lines,
        )
        return None

    def _decode(self, path: Path, line: bytes) -> CachedReply:
        try:
            return self._decoder.decode(line)
        except msgspec.DecodeError as failure:
            raise UserError(
                f"{path}, line {self._lines}: cannot be read: {failure}.",
                hint="Delete that line: its question is asked again.",
            ) from failure

    def _learn(self, reply: CachedReply) -> None:
        self._lines_of.setdefault(reply.key, []).append(reply)
        if not reply.open:
            self._replies.setdefault(reply.key, reply)
        self._pay(reply.cost or 0.0)

    def _pay(self, cost: float) -> None:
        self._calls += 1
        self._costs.append(cost)
