"""Pair sets on the disk: one parquet file per arm, one row per pair, strict when it is read.

Columns: `id`, `kind`, `similarity`; `question`, `answer`, `prompt`; for each half its id, source,
licence, image ({"bytes", "path"}, as the hub stores images) and facts (JSON); `completed_half`,
`completed_by` and `checked_by` for a half that a model wrote. A half that is not there has nulls.
What a reader refuses it names by file, row (from 1) and column.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pairuni_eval.api import DataFolder
from pairuni_eval.api.images import encoded_image
from pairuni_eval.toolkit import DatasetError, UserError, as_typed, nearest
from pairuni_eval.toolkit.contamination import open_pair_set, pair_rows
from pairuni_eval.toolkit.store import atomic_path
from pairuni_train.pair_data.record import (
    SIDES,
    Generation,
    Half,
    Kind,
    Pair,
    Provenance,
    Side,
    Understanding,
)

FORMAT = "pairuni-pairs/1"
_META = b"pairuni"
_GROUP = 32  # rows written together: what is in memory at once
_HALF = ("id", "source", "licence", "image", "facts")


def write_pairs(path: Path, pairs: Iterable[Pair], about: Mapping[str, Any] | None = None) -> int:
    """Write a pair set, whole or not at all; the same pairs give the same bytes.

    Args:
        path: The file.
        pairs: The pairs, which need not be in memory together.
        about: Facts about the set that are stored in it as JSON.

    Returns:
        the number of pairs.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    note = msgspec.json.encode({"format": FORMAT, **(about or {})}, order="sorted")
    schema = _schema().with_metadata({_META: note})
    count = 0
    with (
        atomic_path(path) as partial,
        partial.open("wb") as stream,
        pq.ParquetWriter(stream, schema, compression="zstd") as writer,
    ):
        for group in _groups(pairs):
            writer.write_table(pa.Table.from_pylist([_row(p) for p in group], schema=schema))
            count += len(group)
    return count


def read_pairs(path: Path) -> list[Pair]:
    """Every pair of a file.

    Raises:
        UserError: naming file, row and column, for anything that is not a sound pair.
    """
    return list(iterate_pairs(path))


def iterate_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a file one after the other; raises UserError like `read_pairs`."""
    for found in examine_pairs(path):
        if isinstance(found, UserError):
            raise found
        yield found


def examine_pairs(path: Path) -> Iterator[Pair | UserError]:
    """Every row of a file as a pair, or what is wrong with it.

    Raises:
        UserError: if the file itself is not a pair set.
    """
    for number, cells in enumerate(pair_rows(path, _schema().names), 1):
        yield examine_cells(cells, path, number)


def pair_columns() -> list[str]:
    """The columns of a pair set."""
    names: list[str] = _schema().names
    return names


def read_columns(path: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Some columns of a pair set, without the images; UserError if it is not a pair set."""
    with open_pair_set(path, _schema().names) as file:
        found: dict[str, list[Any]] = file.read(columns=list(columns)).to_pydict()
    return found


def read_about(path: Path) -> dict[str, Any]:
    """What a pair set says about itself; UserError if it is not a pair set."""
    with open_pair_set(path, _schema().names) as file:
        metadata = file.schema_arrow.metadata or {}
    about: dict[str, Any] = msgspec.json.decode(metadata.get(_META, b"{}"))
    return about


def _groups(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    group: list[Pair] = []
    for pair in pairs:
        group.append(pair)
        if len(group) == _GROUP:
            yield group
            group = []
    if group:
        yield group


def _schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    kinds = {"image": pa.struct([("bytes", pa.binary()), ("path", text)])}
    halves = [(f"{side}_{name}", kinds.get(name, text)) for side in SIDES for name in _HALF]
    texts = ("question", "answer", "prompt", "completed_half", "completed_by", "checked_by")
    return pa.schema(
        [
            ("id", text),
            ("kind", text),
            ("similarity", pa.float64()),
            *((name, text) for name in texts),
            *halves,
        ]
    )


# Pair to row


def _row(pair: Pair) -> dict[str, Any]:
    understanding, generation, completed = pair.understanding, pair.generation, pair.completed
    return {
        "id": pair.id,
        "kind": str(pair.kind),
        "similarity": pair.similarity,
        "question": understanding and understanding.question,
        "answer": understanding and understanding.answer,
        "prompt": generation and generation.prompt,
        "completed_half": completed and completed.half,
        "completed_by": completed and completed.writer,
        "checked_by": completed and completed.verifier,
        **_half_columns("understanding", understanding),
        **_half_columns("generation", generation),
    }


def _half_columns(side: Side, half: Half | None) -> dict[str, Any]:
    if half is None:
        return {f"{side}_{name}": None for name in _HALF}
    return {
        f"{side}_id": half.id,
        f"{side}_source": half.source,
        f"{side}_licence": half.licence,
        f"{side}_image": None if half.image is None else {"bytes": half.image, "path": None},
        f"{side}_facts": msgspec.json.encode(half.facts, order="sorted").decode(),
    }


# Row to pair


class _Row:
    """One row as stored, which knows where it stands when something is wrong with it."""

    def __init__(self, cells: Mapping[str, Any], path: Path, number: int) -> None:
        self._cells, self._path, self._number = cells, path, number

    def get(self, column: str) -> Any:
        """A cell, None if it is empty."""
        return self._cells[column]

    def text(self, column: str) -> str:
        """A text that must be there."""
        value = self._cells[column]
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(column, "is empty")
        return value

    def image(self, column: str) -> bytes | None:
        """The encoded image of a cell; a path starts from the folder of the file, and stays in."""
        try:
            return encoded_image(self._cells[column], DataFolder.around(self._path)) or None
        except DatasetError as failure:
            raise self.wrong(column, f"cannot be read: {failure}") from failure

    def wrong(self, column: str, what: str) -> UserError:
        """The error that names file, row and column."""
        where = f"{self._path}, row {self._number} ({self._cells['id']})"
        return UserError(
            f"{where}: {column} {what}.",
            hint="Build the set again, or leave the row out: see them all with "
            + as_typed("pairuni-train", "pairs", "check", self._path),
        )


def examine_cells(cells: Mapping[str, Any], path: Path, number: int) -> Pair | UserError:
    """The row of this number, from 1, as a pair, or what is wrong with it."""
    try:
        return _pair(_Row(cells, path, number))
    except UserError as wrong:
        return wrong


def _pair(row: _Row) -> Pair:
    kind = _kind(row)
    understanding, generation = _understanding(row), _generation(row)
    halves = (understanding is not None) + (generation is not None)
    if halves == 0:
        raise row.wrong("understanding_id and generation_id", "are both empty: there is no half")
    if kind is not Kind.UNPAIRED and halves == 1:
        missing = "generation_id" if generation is None else "understanding_id"
        raise row.wrong(missing, f"is empty, but the kind is {kind}, which has two halves")
    if kind is Kind.UNPAIRED and halves == 2:
        raise row.wrong("kind", "is unpaired, but there are two halves")
    return Pair(
        id=row.text("id"),
        kind=kind,
        understanding=understanding,
        generation=generation,
        similarity=_similarity(row),
        completed=_completed(row),
    )


def _kind(row: _Row) -> Kind:
    name = row.text("kind")
    if name not in set(Kind):
        guess = nearest(name, list(Kind))
        offer = f" Did you mean '{guess}'?" if guess else f" Known: {', '.join(Kind)}"
        raise row.wrong("kind", f"is '{name}', which is not a kind of pair.{offer}".rstrip("."))
    return Kind(name)


def _similarity(row: _Row) -> float | None:
    value = row.get("similarity")
    if value is None:
        return None
    if not isinstance(value, int | float) or math.isnan(value) or not 0.0 <= value <= 1.0:
        raise row.wrong("similarity", f"is {value}; it lies between 0 and 1")
    return float(value)


def _understanding(row: _Row) -> Understanding | None:
    if row.get("understanding_id") is None:
        return None
    image = row.image("understanding_image")
    if image is None:
        raise row.wrong("understanding_image", "is missing")
    return Understanding(
        image=image,
        question=row.text("question"),
        answer=row.text("answer"),
        **_common(row, "understanding"),
    )


def _generation(row: _Row) -> Generation | None:
    if row.get("generation_id") is None:
        return None
    return Generation(
        prompt=row.text("prompt"), image=row.image("generation_image"), **_common(row, "generation")
    )


def _common(row: _Row, side: Side) -> dict[str, Any]:
    """What both halves have."""
    return {
        **{name: row.text(f"{side}_{name}") for name in ("id", "source", "licence")},
        "facts": _facts(row, f"{side}_facts"),
    }


def _facts(row: _Row, column: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(row.get(column) or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, TypeError) as failure:
        raise row.wrong(column, f"is not a JSON object: {failure}") from failure


def _completed(row: _Row) -> Provenance | None:
    half = row.get("completed_half")
    if half is None:
        return None
    if half not in SIDES:
        raise row.wrong("completed_half", f"is '{half}', neither understanding nor generation")
    return Provenance(half=half, writer=row.text("completed_by"), verifier=row.text("checked_by"))
