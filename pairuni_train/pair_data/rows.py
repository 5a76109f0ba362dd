"""Rows of one side on the disk: texts in a parquet file, encoded images one after the other.

What no memory holds, the images, is read row by row; the rest lies in memory. A store is written
into a temporary folder and renamed, so that it exists only when it is whole. Its digest is that of
all texts and images: the stages after it are named by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pairuni_eval.toolkit.store import atomic_path
from pairuni_train.pair_data.record import Generation, Half, Side, Understanding

_ROWS, _IMAGES, _ABOUT = "rows.parquet", "images.bin", "about.json"


class Reject(msgspec.Struct, frozen=True):
    """A row that is not used.

    Attributes:
        where: File and row, or source and id.
        reason: A few words, the same ones for the same failure.
        detail: More of it, for people.
    """

    where: str
    reason: str
    detail: str = ""

    @property
    def words(self) -> str:
        """The reason with its detail, if there is more of it."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


class RowStoreInfo(msgspec.Struct, frozen=True):
    """What a store knows of itself.

    Attributes:
        digest: SHA-256 of everything in it.
        dropped: Rows that the configuration leaves out, by the column and word.
    """

    side: Side
    digest: str
    rejects: tuple[Reject, ...]
    dropped: dict[str, int]


class SourceRow(NamedTuple):
    """What a source gives for one of its rows: a half, a reject, or the rule that drops it."""

    half: Half | None = None
    reject: Reject | None = None
    dropped: str | None = None


class RowStore:
    """A store, opened. `rows[i]` reads one half, image included."""

    def __init__(self, folder: Path) -> None:
        import pyarrow.parquet as pq

        self.about = msgspec.json.decode((folder / _ABOUT).read_bytes(), type=RowStoreInfo)
        with (folder / _ROWS).open("rb") as stream:
            self._table = pq.read_table(stream).to_pylist()
        self._images = (folder / _IMAGES).open("rb")

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._table)

    def __getitem__(self, row: int) -> Half:
        """One half, with its image."""
        found = self._table[row]
        common: dict[str, Any] = {
            "id": found["id"],
            "source": found["source"],
            "licence": found["licence"],
            "image": self.image(row),
            "facts": msgspec.json.decode(found["facts"]),
        }
        if self.about.side == "generation":
            return Generation(prompt=found["text"], **common)
        return Understanding(question=found["text"], answer=found["answer"], **common)

    def image(self, row: int) -> bytes:
        """The encoded image of a row."""
        found = self._table[row]
        self._images.seek(found["offset"])
        return self._images.read(found["length"])

    def answer(self, row: int) -> str:
        """The gold answer of a row; empty on the generation side."""
        return self._table[row]["answer"] or ""

    def name(self, row: int) -> str:
        """Source and id, which no other row of the side shares."""
        return f"{self._table[row]['source']} {self._table[row]['id']}"


class RowStoreWriter:
    """Writes a store; what has no image or text, or an id that is taken, becomes a reject."""

    def __init__(self, side: Side, folder: Path) -> None:
        self._side = side
        self._rows: list[dict[str, Any]] = []
        self._names: set[tuple[str, str]] = set()
        self._rejects: list[Reject] = []
        self._dropped: dict[str, int] = {}
        self._digest = hashlib.sha256(side.encode())
        self._images = (folder / _IMAGES).open("wb")
        self._folder = folder

    def add(self, found: SourceRow) -> None:
        """Take one row in."""
        if found.dropped is not None:
            self._dropped[found.dropped] = self._dropped.get(found.dropped, 0) + 1
        elif found.reject is not None:
            self._rejects.append(found.reject)
        elif found.half is not None:
            self._add(found.half)

    def close(self) -> None:
        """Write the texts, and last what the store knows of itself."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._images.close()
        with (self._folder / _ROWS).open("wb") as stream:
            pq.write_table(pa.Table.from_pylist(self._rows, schema=_schema()), stream)
        about = RowStoreInfo(
            self._side, self._digest.hexdigest(), tuple(self._rejects), self._dropped
        )
        (self._folder / _ABOUT).write_bytes(msgspec.json.encode(about))

    def _add(self, half: Half) -> None:
        trouble = _trouble(half, self._names)
        if trouble is not None:
            self._rejects.append(Reject(f"{half.source} {half.id}", trouble))
            return
        assert half.image is not None
        self._names.add((half.source, half.id))
        row: dict[str, Any] = {
            "id": half.id,
            "source": half.source,
            "licence": half.licence,
            "text": half.question if isinstance(half, Understanding) else half.prompt,
            "answer": half.answer if isinstance(half, Understanding) else None,
            "facts": msgspec.json.encode(half.facts, order="sorted").decode(),
        }
        self._digest.update(msgspec.json.encode([row, hashlib.sha256(half.image).hexdigest()]))
        row |= {"offset": self._images.tell(), "length": len(half.image)}
        self._images.write(half.image)
        self._rows.append(row)


def write_rows(
    folder: Path, side: Side, found: Iterator[SourceRow], *, seen: Callable[[], None]
) -> RowStore:
    """Write a store to `folder`, whole or not at all, and open it.

    Args:
        folder: Where it will lie.
        side: Which half its rows are.
        found: The rows.
        seen: Called after each of them.
    """
    with atomic_path(folder) as partial:
        partial.mkdir()
        writer = RowStoreWriter(side, partial)
        for one in found:
            writer.add(one)
            seen()
        writer.close()
    return RowStore(folder)


def _trouble(half: Half, names: set[tuple[str, str]]) -> str | None:
    if not half.image:
        return "missing image"
    if isinstance(half, Generation):
        empty = None if half.prompt.strip() else "empty prompt"
    elif not half.question.strip():
        empty = "empty question"
    else:
        empty = None if half.answer.strip() else "empty answer"
    return empty or ("duplicate id" if (half.source, half.id) in names else None)


def _schema() -> Any:
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("id", "source", "licence", "text", "answer", "facts")]
    return pa.schema([*texts, ("offset", pa.int64()), ("length", pa.int64())])
