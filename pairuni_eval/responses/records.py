"""The rows of an answers file as plain records, whichever kind of file holds them.

JSON lines, a JSON list of objects, one JSON object of answers by id (as MMMU's own `main_eval_only`
reads it), a sheet (`.xlsx`) or a table (`.tsv`, `.csv`); JSON and tables may be packed as `.gz`.
Several JSON lists or objects one after the other are read in sequence, and an id that an object
holds twice is two rows. An empty cell of a sheet or table holds nothing, which is not an empty
answer: it is None.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.extras import needs
from pairuni_eval.places import is_file
from pairuni_eval.responses.delimited import check_names, table_of
from pairuni_eval.user_text import Repeated, json_lines, json_of, json_values, lines_of, text_of

_SHEET = ".xlsx"
_SEPARATORS = {".tsv": "\t", ".csv": ","}
_OLD_SHEET = ".xls"
_HEADING = 2  # the first row of data stands on row 2 of a sheet
_LAYOUTS = (
    'Answers are read from one file: JSON lines {"id": "...", "text": "..."} (pictures: {"id", '
    '"image", "draw"} with paths beside the file), a JSON list of such objects, one object '
    '{"ID": "answer"}, sample files of lmms-eval, or prediction files of VLMEvalKit (.xlsx, .tsv, '
    ".csv, .json)."
)
_OWN_KEYS = ("id", "text", "image", "doc_id", "prediction", "question_id", "index", "answer")


class Record(NamedTuple):
    """One row of a file.

    Attributes:
        line: Its line or sheet row, from 1; its number, where a JSON list or object holds it.
        row: Its values by key or column.
    """

    line: int
    row: dict[str, Any]


class Records(NamedTuple):
    """All rows of a file in order; `tabular` where columns and cells held them."""

    rows: tuple[Record, ...]
    tabular: bool


def read_records(path: Path) -> Records:
    """All rows of an answers file, at least one.

    Raises:
        UserError: if there is no such file, it is in a layout that is not read, or empty.
    """
    if not is_file(path):
        hint = "Name one: --responses FILE.jsonl, or --checkpoint recorded:FILE.jsonl."
        raise UserError(f"There is no responses file {path}.", hint=hint)
    kind = _kind(path)
    if kind == _OLD_SHEET:
        raise UserError(f"{path}: the old Excel format is not read.", hint="Save it as .xlsx.")
    tabular = kind == _SHEET or kind in _SEPARATORS
    rows = _table_rows(path, kind) if tabular else _json_rows(path)
    if not rows:
        raise UserError(f"{path} holds no rows.", hint='One a line: {"id": "...", "text": "..."}')
    return Records(tuple(rows), tabular)


def _kind(path: Path) -> str:
    """The suffix that tells what a file is, whatever its case and with `.gz` taken off."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


# JSON


def _json_rows(path: Path) -> list[Record]:
    first = next(iter(lines_of(path)), None)
    if first is None:
        return []
    number, line = first
    try:
        value = json_of(line, f"{path}, line {number}")
    except UserError as failure:
        return _sequence(path, failure)
    several = len(list(zip(lines_of(path), range(2), strict=False))) > 1
    if isinstance(value, dict) and (several or not _is_answers(value)):
        return [_object(path, at, held) for at, held in json_lines(path)]
    if not isinstance(value, list | dict):
        raise UserError(f"{path}, line {number}: expected an object. {_LAYOUTS}")
    return _sequence(path)


def _sequence(path: Path, first_line: UserError | None = None) -> list[Record]:
    """The rows of all values of a file, which stand in any number of lines.

    Args:
        path: The file.
        first_line: What is wrong with its first line as a value of its own, which is what to say
            where no value begins there and that line is more than an opening bracket.
    """
    values: list[tuple[int, Any]] = []
    try:
        values.extend(json_values(path))
    except UserError as failure:
        lines = [text for _, text in islice(lines_of(path), 2)]
        opened = len(lines) > 1 and not lines[0].strip("[{ ")
        begun = next(_begun(path), None) is not None
        raise failure if first_line is None or opened or begun else first_line from None
    if len(values) == 1:
        return _whole_rows(path, values[0][1])
    rows: list[Record] = []
    for line, value in values:
        if isinstance(value, list):
            rows += [_object(path, line, item) for item in value]
        else:
            rows.append(_object(path, line, value))
    return rows


def _begun(path: Path) -> Iterator[Any]:
    """The values of a file up to the first that is none."""
    try:
        yield from json_values(path)
    except UserError:
        return


def _whole_rows(path: Path, value: Any) -> list[Record]:
    if isinstance(value, list):
        return [_object(path, number, item) for number, item in enumerate(value, start=1)]
    if _is_answers(value):
        return [
            Record(number, {"id": key, "text": None if text is None else str(text)})
            for number, (key, text) in enumerate(_pairs(value), start=1)
        ]
    if isinstance(value, dict) and any(key in value for key in _OWN_KEYS):
        return [Record(1, value)]  # one row, written over several lines
    raise UserError(f"{path}: this layout is not read. {_LAYOUTS}")


def _is_answers(value: Any) -> bool:
    """Whether an object holds answers by id rather than the keys of one row."""
    if not isinstance(value, dict) or any(key in value for key in _OWN_KEYS):
        return False
    return all(
        answer is None or isinstance(answer, str | int | float) for _, answer in _pairs(value)
    )


def _pairs(value: dict[str, Any]) -> Collection[tuple[str, Any]]:
    return value.pairs if isinstance(value, Repeated) else value.items()


def _object(path: Path, number: int, value: Any) -> Record:
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise UserError(f"{path}, line {number}: expected an object, found {kind}. {_LAYOUTS}")
    return Record(number, value)


# Tables


def _table_rows(path: Path, kind: str) -> list[Record]:
    table = _sheet(path) if kind == _SHEET else table_of(path, text_of(path), _SEPARATORS[kind])
    return [
        Record(number, {str(name): cell_of(value) for name, value in row.items()})
        for number, row in table
    ]


def _sheet(path: Path) -> Iterator[tuple[int, dict[Any, Any]]]:
    import pandas as pd

    needs(f"{path}: reading xlsx", "vlmevalkit")
    try:
        table = pd.read_excel(
            path, header=None, dtype=object, keep_default_na=False, engine="openpyxl"
        )
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as failure:
        raise UserError(f"{path}: not a readable table: {failure}.") from failure
    names, *rows = table.to_numpy(dtype=object).tolist() or [[]]
    check_names(path, names)
    for number, cells in enumerate(rows, start=_HEADING):
        yield number, dict(zip(names, cells, strict=True))


def cell_of(value: Any) -> str | None:
    """A cell as text; None if it holds nothing.

    A whole number loses the `.0` that spreadsheets give it.
    """
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    text = "" if value is None else str(value)
    return text if text.strip() else None
