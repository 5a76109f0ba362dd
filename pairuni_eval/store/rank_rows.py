"""The rows of one kind in a run folder: a file for each rank that ever wrote some.

    rows/outputs-rank0.jsonl    rows/outputs-rank1.jsonl    ...

Every start reads all files, whoever wrote them, and appends to one of its own, so a run goes on
with any number of ranks. A row that stands in two files is taken once; two different rows of one
identity are an error, as in one file. Who works alone mends all files, who works beside others
mends its own or none: a file that somebody appends to may end in half a line, and that line comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from enum import Enum
from pathlib import Path
from typing import Generic, NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.store import layout
from pairuni_eval.store.rows import Recovered, Row, RowLog, in_words
from pairuni_eval.store.tables import identity_of

_RANK = re.compile(r"-rank(\d+)\.jsonl\Z")


class Mends(Enum):
    """Which files of rows a process may mend."""

    ALL = "all: nobody else works on the run"
    OWN = "its own: others append to theirs"
    NONE = "none: the first rank has mended them"


class RowShare(NamedTuple):
    """Which file of rows a process appends to, of how many that may be there, and what it mends."""

    rank: int = 0
    of: int = 1
    mends: Mends = Mends.ALL


READING = RowShare(mends=Mends.NONE)


class RankRows(Generic[Row]):
    """All rows of one kind of a run.

    Args:
        run: The run folder.
        name: The name of their table.
        kind: The record type.
        address: See `RowLog`.
        share: Whose rows are appended.

    Attributes:
        damage: What is to be told about the lines that `recover` dropped, one sentence a time.
    """

    def __init__(
        self,
        run: Path,
        name: str,
        kind: type[Row],
        *,
        address: str,
        share: RowShare = RowShare(),  # noqa: B008 - frozen
    ) -> None:
        self.damage: tuple[str, ...] = ()
        self._identity = identity_of(kind)
        self._share = share
        places = {rank: rank_file(run, name, rank) for rank in {share.rank, *range(share.of)}}
        for path in (run / layout.ROWS).glob(f"{name}-rank*.jsonl"):
            found = _RANK.search(path.name)
            if found:
                places[int(found[1])] = path
        self._logs = {
            rank: RowLog(path, kind, self._identity, address=address)
            for rank, path in sorted(places.items())
        }

    def recover(self, owed: Callable[[Row], bool] | None = None) -> Recovered[Row]:
        """All whole rows, rank by rank, each once; see `RowLog.recover`.

        Raises:
            UserError: also for two different rows of one identity in two files.
        """
        merged: list[Row] = []
        seen: dict[Hashable, tuple[Path, Row]] = {}
        parts = []
        for rank, log in self._logs.items():
            mine = rank == self._share.rank and self._share.mends is Mends.OWN
            mend = mine or self._share.mends is Mends.ALL
            part = log.recover(owed, mend=mend)
            self.damage += log.damage if mend else ()
            for row in part.rows:
                key = self._identity(row)
                path, first = seen.setdefault(key, (log.path, row))
                if first is row:
                    merged.append(row)
                elif first != row:
                    raise _two_rows(path, log.path, key)
            parts.append(part)
        return Recovered(
            merged,
            tuple(line for part in parts for line in part.damaged),
            sum(part.unchecked for part in parts),
            tuple(row for part in parts for row in part.loose),
        )

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows to the file of this process; `recover` has been called."""
        self._logs[self._share.rank].append(rows)


def rank_file(run: Path, name: str, rank: int) -> Path:
    """Where a rank appends the rows of a table."""
    return run / layout.ROWS / f"{name}-rank{rank}.jsonl"


def _two_rows(first: Path, second: Path, key: Hashable) -> UserError:
    return UserError(
        f"{first} and {second} hold two different rows of {in_words(key)}, and neither is damaged.",
        hint="Delete the line of the one that is wrong, or both: the same command makes them "
        "again.",
    )
