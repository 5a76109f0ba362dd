"""An index of a benchmark's samples by every id that recorded answers may use.

A sample is known by its key and by its aliases: POPE asks a question that three splits share once,
and a row of any of them names it. The ids of the dataset's rows, in the files' order, serve answers
that were recorded by position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pairuni_eval.errors import UserError, nearest
from pairuni_eval.responses.rows import MatchedResponses, Response

_SHOWN = 3


class IndexedSample(NamedTuple):
    """One sample: its key, its other ids, what is asked, and the gold answer where there is one."""

    key: str
    aliases: tuple[str, ...]
    text: str
    gold: str | None


class SampleIndex:
    """See the module docstring.

    Args:
        benchmark: Its name, for messages.
        entries: The samples in order.
        rows: An id for each row of the dataset, in order; None if every sample is one row.
        draws: Outputs per sample.
    """

    def __init__(
        self,
        benchmark: str,
        entries: Iterable[IndexedSample],
        *,
        rows: Iterable[str] | None = None,
        draws: int = 1,
    ) -> None:
        self.benchmark = benchmark
        self.draws = draws
        self._entries = {entry.key: entry for entry in entries}
        owners = _owners(self._entries.values())
        self._keys = {name: min(keys) for name, keys in owners.items() if len(keys) == 1}
        self._shared = owners.keys() - self._keys.keys()
        self._rows = tuple(self._entries if rows is None else rows)

    def find(self, name: str) -> IndexedSample | None:
        """The sample that goes by a name; None for an unknown name or one that several share."""
        key = self._keys.get(name)
        return None if key is None else self._entries[key]

    def in_order(self, count: int) -> tuple[str, ...]:
        """Ids by position for a file of `count` rows.

        As many as there are samples are the samples, else they are the rows of the dataset:
        VLMEvalKit's POPE, like ours, asks each different question once.
        """
        return tuple(self._entries) if count == len(self._entries) else self._rows

    def match(self, source: str, responses: Sequence[Response]) -> MatchedResponses:
        """Put recorded outputs under the keys of their samples; those of others are left out.

        Two rows may name one sample by different ids; if they say different things the first
        counts, and a note tells how many there were.

        Raises:
            UserError: for ids that no sample has, and a draw that the benchmark does not ask for.
        """
        mine = [row for row in responses if row.benchmark in (None, self.benchmark)]
        self._refuse_strangers(source, mine)
        matched: dict[tuple[str, int], Response] = {}
        differing: list[str] = []
        for row in mine:
            entry = self._entries[self._keys[row.id]]
            first = matched.setdefault((entry.key, row.draw), row._replace(id=entry.key))
            if (first.text, first.image) != (row.text, row.image):
                differing.append(row.id)
        return MatchedResponses(tuple(matched.values()), tuple(_differing(differing)))

    def _refuse_strangers(self, source: str, rows: Sequence[Response]) -> None:
        unknown = [row for row in rows if row.id not in self._keys]
        if unknown:
            shown = ", ".join(f"'{row.id}' (line {row.line})" for row in unknown[:_SHOWN])
            first = unknown[0].id
            guess = nearest(first, self._keys) or next(iter(self._keys), None)
            raise UserError(
                f"{source}: {len(unknown)} of {len(rows)} ids are not samples of "
                f"'{self.benchmark}': {shown}. "
                + (f"Several samples go by '{first}'. " if first in self._shared else "")
                + f"The nearest id to the first is '{guess}'.",
                hint="`id` is the dataset's own id of the sample; --format names another layout.",
            )
        for row in rows:
            if row.draw >= self.draws:
                raise UserError(
                    f"{source}, line {row.line}: draw {row.draw} of id '{row.id}', but "
                    f"'{self.benchmark}' asks for {self.draws} a sample, counted from 0."
                )


def _owners(entries: Iterable[IndexedSample]) -> dict[str, set[str]]:
    """The samples behind every name; a key is its own sample's, whoever has it for an alias."""
    held = list(entries)
    owners: dict[str, set[str]] = {}
    for entry in held:
        for alias in entry.aliases:
            owners.setdefault(alias, set()).add(entry.key)
    return owners | {entry.key: {entry.key} for entry in held}


def _differing(ids: Sequence[str]) -> list[str]:
    if not ids:
        return []
    return [
        f"{len(ids)} rows name a sample that an earlier row answered differently (first: "
        f"'{ids[0]}'); the earlier answer counts"
    ]
