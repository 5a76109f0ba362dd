"""COMPLETE: the mark of a finished run, with the SHA-256 of everything its numbers rest on.

It is written last, and every reader compares with it what it reads: the tables, the cards and
figures, the pictures whose id is not the hash of their file. A run of an earlier version lists its
tables alone; what its mark does not list is not compared, and its rows count as unchecked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from pairuni_eval.errors import UserError
from pairuni_eval.store import layout
from pairuni_eval.store.documents import read_bytes, read_document
from pairuni_eval.store.tables import KINDS, write_table
from pairuni_eval.store.write import write_record


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What COMPLETE holds.

    Attributes:
        rows: Rows of every table.
        sha256: Of every table's file, by its name.
        files: SHA-256 of the run's own JSON, by path in the run folder.
        pictures: SHA-256 of the file of every picture that has another id, by that id.
        unchecked: Rows that were read back without a check while the run went on; None where that
            was not counted.
    """

    rows: dict[str, int]
    sha256: dict[str, str]
    files: dict[str, str] = {}
    pictures: dict[str, str] = {}
    unchecked: int | None = None


def compact(
    run: Path,
    tables: Mapping[str, Sequence[msgspec.Struct]],
    *,
    pictures: Mapping[str, str] | None = None,
    unchecked: int = 0,
) -> None:
    """Turn the rows into parquet files and mark the run COMPLETE.

    Structured columns (parts, reference, tags) become JSON text. The rows are removed only after
    the marker stands.

    Args:
        run: The run folder.
        tables: The records of every table.
        pictures: See `Seal`.
        unchecked: See `Seal`.
    """
    digests = {name: write_table(run / f"{name}.parquet", rows) for name, rows in tables.items()}
    seal = Seal(
        rows={name: len(rows) for name, rows in tables.items()},
        sha256=digests,
        files=own_files(run) | _planned(run),
        pictures=dict(pictures or {}),
        unchecked=unchecked,
    )
    write_record(run / layout.COMPLETE, seal)
    remove_rows(run)


def own_files(run: Path) -> dict[str, str]:
    """SHA-256 of the run's own JSON, by path in the run folder."""
    names = (layout.RUN_FILE, layout.PLAN_FILE, layout.EXTERNAL_METRICS)
    paths = [run / name for name in names] + sorted((run / layout.CARDS).rglob("*.json"))
    return {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file()
    }


def _planned(run: Path) -> dict[str, str]:
    """What planning said of the files: one that was changed since must not be taken for right."""
    path = run / layout.ROWS / layout.PLANNED
    if not path.is_file():
        return {}
    return read_planned(path, hint=f"Delete {path} and repeat the command of the run.")


def read_planned(path: Path, *, hint: str) -> dict[str, str]:
    """The digests that planning wrote, by path in the run folder.

    Raises:
        UserError: if they cannot be read, or name what is not JSON of a run.
    """
    digests = read_document(path, dict[str, str], hint=hint).value
    check_places(path, digests, hint=hint)
    return digests


def remove_rows(run: Path) -> None:
    """Remove the append-only rows of a compacted run, and what a kill left of writing them."""
    rows = run / layout.ROWS
    for path in sorted([*rows.glob("*.jsonl"), *rows.glob(".*.tmp")]):
        path.unlink()
    (rows / layout.PLANNED).unlink(missing_ok=True)
    if rows.is_dir():
        rows.rmdir()


def read_seal(run: Path, *, hint: str) -> Seal:
    """The mark of a finished run.

    Raises:
        UserError: if it cannot be read, or names what is neither a table nor JSON of a run.
    """
    path = run / layout.COMPLETE
    seal = read_document(path, Seal, hint=hint).value
    check_places(path, seal.files, key="files: ", hint=hint)
    for key, named in (("rows", seal.rows), ("sha256", seal.sha256)):
        strange = next((name for name in named if name not in KINDS), None)
        if strange is not None:
            message = f"{path}: {key}: '{strange}' is not one of {', '.join(KINDS)}."
            raise UserError(message, hint=hint)
    return seal


def check_places(path: Path, places: Iterable[str], *, key: str = "", hint: str) -> None:
    """See that a document of digests names a run's own JSON alone.

    Raises:
        UserError: for a path that is none, e.g. one that leads out of the run folder.
    """
    for place in places:
        if not layout.is_own_json(place):
            message = f"{path}: {key}'{place}' is not JSON that a run writes into its folder."
            raise UserError(message, hint=hint)


def table_bytes(run: Path, name: str, seal: Seal, *, hint: str) -> bytes:
    """The content of a table's file, compared with the mark.

    Raises:
        UserError: if it is missing, changed, or none of this run.
    """
    path = run / f"{name}.parquet"
    if name not in seal.sha256:
        raise UserError(f"{path}: {layout.COMPLETE} does not name this table.", hint=hint)
    return read_bytes(path, seal.sha256[name], hint=hint)
