"""Rows from where they are published: parquet, JSON lines or WebDataset tars, hub or folder.

Files are read a block at a time and rows keep their order, so what comes out depends on the files
and the configuration alone. A row that cannot be used says why and where it stands; a column that a
file lacks is an error, since then no row of the file can be right. Images are read in every form
that `pairuni_eval.image_cell` knows; a path never leads out of the source's folder.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from lzma import LZMAError
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.api import DataFolder
from pairuni_eval.api.images import SeveralImagesError, encoded_image
from pairuni_eval.toolkit import DatasetError, UserError, nearest
from pairuni_eval.toolkit.data import files_matching, json_lines
from pairuni_train.pair_data import tiny_name_rows, tiny_rows
from pairuni_train.pair_data.config import FileSource, Source, TinySource
from pairuni_train.pair_data.record import Generation, Half, Side, Understanding
from pairuni_train.pair_data.rows import Reject, SourceRow

_BLOCK = 64  # rows of a parquet file that are in memory at once
_FILE, _KEY = "__file__", "__key__"  # columns that every row of a file and every member has
_SEVERAL, _NO_IMAGE = "more than one image", "no readable image"


def locate(source: Source, base: Path) -> list[Path]:
    """The files of a source in the order of its patterns, then by name; downloads if need be.

    Args:
        source: The source.
        base: Folder that a relative `folder` starts from.

    Raises:
        UserError: if a pattern matches nothing, or the hub does not give the files.
    """
    if isinstance(source, TinySource):
        return []
    place = root_of(source, base) or _download(source)
    found: list[Path] = []
    for pattern in source.files:
        hits = [hit for hit in files_matching(place, pattern) if not _excluded(hit, place, source)]
        if not hits:
            raise UserError(
                f"The source '{source.name}' has no file {pattern} in {place}.",
                hint=f"Put the files of {source.hub or source.name} there, or change `files`.",
            )
        found += [hit for hit in hits if hit not in found]
    return found


def root_of(source: Source, base: Path) -> Path | None:
    """The folder of the user that holds a source; None if it comes from the hub or is made here."""
    if isinstance(source, TinySource) or source.hub:
        return None
    return (base / (source.folder or "")).expanduser()


def fingerprint(paths: list[Path]) -> list[list[Any]]:
    """What tells one state of files from another without reading them: name, size and time."""
    return [[path.name, (stat := path.stat()).st_size, stat.st_mtime_ns] for path in paths]


def read_source(
    source: Source, paths: list[Path], side: Side, seed: int, *, root: Path | None = None
) -> Iterator[SourceRow]:
    """Every row of a source.

    Args:
        source: The source.
        paths: Its files.
        side: Which half its rows become.
        seed: Of rows that are made here.
        root: The folder that no row's path leads out of; default: the hub's snapshot, else the
            folder of the row's file.

    Raises:
        UserError: if a file cannot be read or lacks a column, naming both.
    """
    if isinstance(source, TinySource):
        yield from map(SourceRow, _tiny_halves(source, side, seed))
        return
    left = source.rows
    for path in paths:
        reader = _Reader(source, side, path, DataFolder.around(path, root))
        for number, row in enumerate(_raw_rows(path, source)):
            if left is not None and left <= 0:
                return
            found = reader.read(row, number)
            left = left if left is None or found.half is None else left - 1
            yield found


def _tiny_halves(source: TinySource, side: Side, seed: int) -> Iterator[Half]:
    count = source.rows
    if source.names is not None:
        about = tiny_name_rows.AboutNames(source.names, source.common, exact=source.exact)
        if side == "understanding":
            yield from tiny_name_rows.understanding_rows(count, seed, about)
        else:
            yield from tiny_name_rows.generation_rows(count, seed, about)
    elif side == "understanding":
        yield from tiny_rows.understanding_rows(count, seed)
    else:
        yield from tiny_rows.generation_rows(count, seed)


def _download(source: FileSource) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source.hub or "",
                repo_type="dataset",
                revision=source.revision,
                allow_patterns=list(source.files),
                ignore_patterns=list(source.exclude),
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as failure:
        raise UserError(
            f"Cannot get the dataset {source.hub}: {str(failure).rstrip('.')}.",
            hint=f'Without network: put its files into a folder and give folder = "..." instead of '
            f"hub for '{source.name}'.",
        ) from failure


def _excluded(path: Path, place: Path, source: FileSource) -> bool:
    inside = path.relative_to(place).as_posix()
    return any(fnmatch(inside, pattern) for pattern in source.exclude)


# Rows as the file holds them


def _raw_rows(path: Path, source: FileSource) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".parquet":
        yield from _parquet_rows(path, source)
    elif path.suffix == ".jsonl":
        yield from _json_rows(path, source)
    else:
        yield from _tar_rows(path)


def _wanted(source: FileSource) -> list[str]:
    """The top-level columns that a source names."""
    columns = source.columns
    paths = [columns.image, columns.question, columns.answer, columns.prompt, columns.id]
    named = [path for path in (*paths, columns.group, *source.drop) if path is not None]
    tops = dict.fromkeys(path.partition(".")[0] for path in named)
    return [top for top in tops if top not in (_FILE, _KEY)]


def _check_columns(path: Path, source: FileSource, have: list[str]) -> None:
    for column in _wanted(source):
        if column not in have:
            guess = nearest(column, have)
            offer = f" Is it '{guess}'?" if guess else ""
            raise UserError(
                f"{path}: column '{column}' of the source '{source.name}' is missing.{offer} "
                f"It has: {', '.join(have)}.",
                hint="Name the file's own columns in the source's [columns].",
            )


def _parquet_rows(path: Path, source: FileSource) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as stream:
            table = pq.ParquetFile(stream)
            _check_columns(path, source, table.schema_arrow.names)
            for block in table.iter_batches(batch_size=_BLOCK, columns=_wanted(source)):
                yield from block.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as failure:
        raise UserError(f"{path}: not a readable parquet file: {failure}.") from failure


def _json_rows(path: Path, source: FileSource) -> Iterator[Mapping[str, Any]]:
    checked = False
    for number, row in json_lines(path):
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise UserError(f"{path}, line {number}: not a JSON object, but {kind}.")
        if not checked:
            _check_columns(path, source, list(row))
            checked = True
        yield row


def _tar_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """WebDataset: neighboring members that share the name up to its first dot are one row."""
    row: dict[str, Any] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isfile() or member.issparse():
                    continue  # a sparse one may claim any size
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key = f"{folder}/{stem}".lstrip("./")
                if row and row[_KEY] != key:
                    yield row
                    row = {}
                content = archive.extractfile(member)
                row |= {_KEY: key, ending.lower(): content.read() if content else b""}
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, LZMAError) as failure:
        raise UserError(f"{path}: not a readable tar file: {failure}.") from failure
    if row:
        yield row


# One row


class _Reader(NamedTuple):
    """Reads the rows of one file.

    Attributes:
        folder: Where its rows may name files.
    """

    source: FileSource
    side: Side
    path: Path
    folder: DataFolder

    def read(self, row: Mapping[str, Any], number: int) -> SourceRow:
        """A row as a half, or why it is none; `number` counts from 0."""
        source, path = self.source, self.path
        rule = _dropping_rule(row, source)
        if rule is not None:
            return SourceRow(dropped=rule)
        columns = source.columns
        group = path.stem if columns.group == _FILE else _text(_cell(row, columns.group))
        name = f"{source.name}/{group}" if group else source.name
        own = _text(_cell(row, columns.id)) or str(row.get(_KEY) or number)
        id = own if columns.id else f"{path.stem}/{own}"
        try:
            image = encoded_image(_cell(row, columns.image), self.folder)
        except SeveralImagesError:
            return SourceRow(reject=Reject(f"{path.name}, row {number + 1}", _SEVERAL))
        except DatasetError as failure:
            detail = f"{path.name}, column {columns.image}: {failure}"
            return SourceRow(reject=Reject(f"{name} {id}", _NO_IMAGE, detail))
        common: dict[str, Any] = {
            "id": id,
            "source": name,
            "licence": source.licence,
            "image": image,
        }
        if self.side == "generation":
            return SourceRow(Generation(prompt=_stripped(row, columns.prompt, source), **common))
        question = _stripped(row, columns.question, source)
        answer = _text(_cell(row, columns.answer)).strip()
        return SourceRow(Understanding(question=question, answer=answer, **common))


def _dropping_rule(row: Mapping[str, Any], source: FileSource) -> str | None:
    for column, words in source.drop.items():
        text = _text(_cell(row, column)).lower()
        for word in words:
            if word.lower() in text:
                return f"{column}: {word}"
    return None


def _cell(row: Mapping[str, Any], path: str | None) -> Any:
    """What stands at a dotted path; None where it leads nowhere."""
    value: Any = row
    for step in path.split(".") if path else ():
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value if path else None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return "" if value is None else str(value)


def _stripped(row: Mapping[str, Any], path: str | None, source: FileSource) -> str:
    text = _text(_cell(row, path))
    for mark in source.strip:
        text = text.replace(mark, "")
    return text.strip()
