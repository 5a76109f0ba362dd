"""The tables of a run as parquet files: records in, data frames and records out.

A column is what its record says: text, a whole number, a finite number, or JSON as text. A file
with another column, an empty cell where there must be one, JSON of another kind, a number that is
not finite or two rows of one identity is refused with its place, whoever wrote it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from pairuni_eval.errors import UserError
from pairuni_eval.records import Output, Sample, Score
from pairuni_eval.store import layout
from pairuni_eval.store.write import write_whole

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Row = TypeVar("Row", bound=msgspec.Struct)
KINDS: dict[str, type[msgspec.Struct]] = {
    "samples": Sample,
    "outputs": Output,
    "scores": Score,
    layout.OPINIONS: Score,
}
_STRUCTURED = {list, tuple, dict}  # what parquet holds as JSON text
_IDENTITY: dict[type[msgspec.Struct], tuple[str, ...]] = {
    Sample: ("uid",),
    Output: ("id",),
    Score: ("output", "protocol", "metric"),
}
# Fields that came later: a table has a column for one only where some row sets it.
_WHERE_SET: dict[type[msgspec.Struct], frozenset[str]] = {Output: frozenset({"refused"})}
_encoder = msgspec.json.Encoder()


def identity_of(kind: type[Row]) -> Callable[[Row], Hashable]:
    """What a record of this kind is known by: two of them may not stand in one table."""
    names = _IDENTITY[kind]
    return lambda row: tuple(getattr(row, name) for name in names)


def write_table(path: Path, rows: Sequence[msgspec.Struct]) -> str:
    """Write records as a parquet file; returns its SHA-256."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns(rows)), buffer, compression="zstd")
    data = buffer.getvalue().to_pybytes()
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def columns(rows: Sequence[msgspec.Struct]) -> dict[str, list[Any]]:
    """The fields of records as columns; lists and tables become JSON text."""
    names = rows[0].__struct_fields__ if rows else ()
    found = {name: [getattr(row, name) for row in rows] for name in names}
    late = _WHERE_SET.get(type(rows[0]), frozenset()) if rows else frozenset()
    idle = {name for name in late if not any(found[name])}
    return {name: _cells(values) for name, values in found.items() if name not in idle}


def _cells(values: list[Any]) -> list[Any]:
    kinds = set(map(type, values)) - {type(None)}
    if kinds & _STRUCTURED:
        return [None if value is None else _encoder.encode(value).decode() for value in values]
    if any(issubclass(kind, StrEnum) for kind in kinds):
        return [None if value is None else str(value) for value in values]
    return values


def read_frame(
    path: Path, data: bytes, kind: type[msgspec.Struct], *, rows: int, hint: str
) -> pd.DataFrame:
    """A table as a data frame with the columns of its records.

    Args:
        path: The parquet file, for errors.
        data: Its content.
        kind: The record of a row.
        rows: How many rows there must be.
        hint: The way back, for whoever meets an error.

    Raises:
        UserError: naming file, row and column of what is not as it must be.
    """
    table = _read(path, data, kind, rows, hint)
    frame: pd.DataFrame = table.to_pandas()
    names = list(_IDENTITY[kind])
    doubled = frame.duplicated(names)
    if doubled.any():
        row = frame[names].iloc[int(doubled.to_numpy().argmax())]
        raise UserError(f"{path}: two rows of {' '.join(map(str, row))}.", hint=hint)
    return frame


def read_records(path: Path, data: bytes, kind: type[Row], *, rows: int, hint: str) -> list[Row]:
    """As `read_frame`, as records."""
    made = _read(path, data, kind, rows, hint).to_pylist()
    structured = [column.name for column in _columns(kind) if column.decoder]
    for row in made:
        row.update({name: msgspec.json.decode(row[name]) for name in structured})
    return msgspec.convert(made, list[kind])  # type: ignore[valid-type]


class _Column(NamedTuple):
    """What a column holds.

    Attributes:
        holds: "text", "whole number", "number" or "JSON".
        optional: Whether cells may be empty.
        default: What stands for a column that an older file lacks; only if not `required`.
        words: The texts that may stand in it; None for any.
        decoder: Of JSON.
    """

    name: str
    holds: str
    optional: bool
    required: bool
    default: Any = None
    words: frozenset[str] | None = None
    decoder: msgspec.json.Decoder[Any] | None = None


@cache
def _columns(kind: type[msgspec.Struct]) -> tuple[_Column, ...]:
    hints = get_type_hints(kind)
    return tuple(_column(field, hints[field.name]) for field in msgspec.structs.fields(kind))


def _column(field: msgspec.structs.FieldInfo, hint: Any) -> _Column:
    options = set(get_args(hint)) if isinstance(hint, _UNION) else {hint}
    optional = type(None) in options
    (plain,) = options - {type(None)}
    start = _Column(field.name, "text", optional, field.required, field.default)
    if get_origin(plain) in _STRUCTURED:
        empty = "[]" if get_origin(plain) is tuple else "{}"
        return start._replace(holds="JSON", decoder=msgspec.json.Decoder(plain), default=empty)
    if plain is int:
        return start._replace(holds="whole number")
    if plain is float:
        return start._replace(holds="number")
    if issubclass(plain, StrEnum):
        return start._replace(words=frozenset(map(str, plain)))
    return start


_UNION = (type(int | None), type(Union[int, None]))  # noqa: UP007 - both forms occur in hints


def _read(path: Path, data: bytes, kind: type[msgspec.Struct], rows: int, hint: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as failure:
        raise UserError(f"{path}: cannot be read: {failure}.", hint=hint) from failure
    if table.num_rows != rows:
        message = f"{path}: it holds {table.num_rows} rows, {layout.COMPLETE} says {rows}."
        raise UserError(message, hint=hint)
    arrays = {}
    for column in _columns(kind):
        problem = None
        if column.name in table.column_names:
            arrays[column.name] = table.column(column.name)
            problem = next(_problems(arrays[column.name], column), None)
        elif rows and column.required:
            problem = "is missing"
        else:
            arrays[column.name] = pa.array([column.default] * rows, type=_arrow_type(column))
        if problem:
            raise UserError(f"{path}: the column '{column.name}' {problem}.", hint=hint)
    found = pa.table({name: _typed(array, kind, name) for name, array in arrays.items()})
    return found.combine_chunks()  # of a column in pieces, rows are taken four times as slowly


def _arrow_type(column: _Column) -> pa.DataType:
    import pyarrow as pa

    found = {"whole number": pa.int64(), "number": pa.float64()}.get(column.holds)
    return found or pa.string()


def _typed(array: pa.ChunkedArray, kind: type[msgspec.Struct], name: str) -> pa.ChunkedArray:
    """A column without a single value gets the type of its kind."""
    import pyarrow as pa

    if not pa.types.is_null(array.type):
        return array
    column = next(one for one in _columns(kind) if one.name == name)
    return array.cast(_arrow_type(column))


def _problems(array: pa.ChunkedArray, column: _Column) -> Iterator[str]:
    """What is wrong with a column, in words that follow its name."""
    import pyarrow.compute as pc

    if array.null_count and not column.optional:
        yield f"has {array.null_count} empty cells"
    if array.null_count < len(array) and not _fits(array.type, column):
        yield f"holds {array.type}, not {column.holds}"
    elif column.holds == "number" and pc.all(pc.is_finite(array)).as_py() is False:
        yield "holds a number that is not finite"
    elif column.words is not None:
        strange = sorted(set(pc.unique(array).to_pylist()) - column.words - {None})
        if strange:
            yield f"holds '{strange[0]}', which is not one of {', '.join(sorted(column.words))}"
    elif column.decoder is not None:
        yield from _broken_json(array, column.decoder)


def _fits(found: pa.DataType, column: _Column) -> bool:
    import pyarrow as pa

    if column.holds == "whole number":
        return bool(pa.types.is_integer(found))
    if column.holds == "number":
        return bool(pa.types.is_floating(found) or pa.types.is_integer(found))
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def _broken_json(array: pa.ChunkedArray, decoder: msgspec.json.Decoder[Any]) -> Iterator[str]:
    import pyarrow.compute as pc

    for cell in pc.unique(array).to_pylist():
        try:
            if cell is not None:
                decoder.decode(cell)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
            number = pc.index(array, cell).as_py() + 1
            yield f"holds in row {number} what cannot be read: {failure}"
            return
