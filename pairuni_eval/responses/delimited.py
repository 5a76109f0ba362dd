"""Tables of text: cells between commas or tabs, quoted as pandas and spreadsheets write them.

A cell that holds a separator, a line break or a quote stands in quotes, and a quote within it is
doubled. Files of other tools hold quotes that mean nothing: where the quotes of a file do not come
out, or what they hold together is plainly several rows, its lines are read as they stand if every
one has a cell for each column; else the file is refused, for a reader of tables would take the rows
up to the next quote for one cell. A row may have fewer cells than there are columns, never more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.errors import UserError

_SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_BREAK = re.compile(r"\r\n|\n|\r")


class DelimitedRow(NamedTuple):
    """A row of a table: the line of the file it begins on, from 1, and its cells."""

    number: int
    cells: list[str]


class _UnpairedError(Exception):
    """Quotes that do not come out, with the line of the first."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def table_of(path: Path, text: str, separator: str) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The rows of a table by column, with their lines; None for a cell that the row ends before.

    Args:
        path: The file, for errors.
        text: Its text.
        separator: What stands between two cells.

    Raises:
        UserError: naming the file and the line, for a table without columns, with two of one name
            or another separator, quotes that do not come out, or a row of too many cells.
    """
    lines = _lines(path, text, separator)
    if not lines:
        raise UserError(f"{path}: not a readable table: it has no line of columns.")
    names = lines[0].cells
    _check_separator(path, names, separator)
    check_names(path, names)
    for number, cells in lines[1:]:
        if any(cell.strip() for cell in cells[len(names) :]):
            raise UserError(
                f"{path}, line {number}: {len(cells)} cells under {len(names)} columns.",
                hint="A cell that holds the separator or a line break stands in quotes.",
            )
        held: list[str | None] = [*cells, *[None] * (len(names) - len(cells))]
        yield number, dict(zip(names, held, strict=False))


def check_names(path: Path, names: Sequence[object]) -> None:
    """Raise a UserError that names the first column which is there twice."""
    for at, name in enumerate(names):
        if str(name).strip() and name in names[:at]:
            raise UserError(
                f"{path}: two columns are called '{name}'.", hint="Rename or delete one of them."
            )


def _check_separator(path: Path, names: Sequence[str], wanted: str) -> None:
    if len(names) > 1:
        return
    for other, called in _SEPARATORS.items():
        if other != wanted and other in names[0]:
            raise UserError(
                f"{path}: its columns are separated by a {called} ({other!r}), where a table of "
                f"this suffix has a {_SEPARATORS[wanted]}.",
                hint="Save it as .csv with commas, as .tsv with tabs, or as JSON lines.",
            )


def _lines(path: Path, text: str, separator: str) -> list[DelimitedRow]:
    try:
        lines = list(_quoted(text, separator))
        _refuse_swallowed(lines, separator)
    except _UnpairedError as failure:
        plain = _unquoted(text, separator)
        if len({len(line.cells) for line in plain}) > 1:
            raise UserError(
                f"{path}, line {failure.line}: a quote that begins a cell here is not closed as "
                "tables close it, so that the rows after it cannot be told from the cell.",
                hint='Put such a cell in quotes and double the quotes within it: """B"" it is", '
                "or save the answers as JSON lines.",
            ) from failure
        return plain
    return lines


def _quoted(text: str, separator: str) -> Iterator[DelimitedRow]:
    """The rows of a text in which quotes hold cells together; blank lines are none."""
    mark = re.escape(separator)
    cell = re.compile(
        rf'(?:"(?P<held>[^"]*(?:""[^"]*)*)"|(?P<plain>(?!")[^{mark}\r\n]*))'
        rf"(?P<end>{mark}|\r\n|\n|\r|\Z)"
    )
    position, number, start, cells = 0, 1, 1, list[str]()
    while position < len(text) or cells:
        found = cell.match(text, position)
        if found is None:
            raise _UnpairedError(number)
        held = found["held"]
        cells.append(found["plain"] if held is None else held.replace('""', '"'))
        number += len(_BREAK.findall(found.group()))
        position = found.end()
        if found["end"] != separator:
            if len(cells) > 1 or held is not None or cells[0].strip():
                yield DelimitedRow(start, cells)
            start, cells = number, []


def _unquoted(text: str, separator: str) -> list[DelimitedRow]:
    return [
        DelimitedRow(number, line.split(separator))
        for number, line in enumerate(_BREAK.split(text), start=1)
        if line.strip()
    ]


def _refuse_swallowed(lines: Sequence[DelimitedRow], separator: str) -> None:
    """Raise for a cell whose lines continue the first column of the table, cell for cell."""
    columns = len(lines[0].cells) if lines else 0
    known = {line.cells[0] for line in lines}
    for number, cells in lines[1:]:
        for cell in cells:
            for count, inner in enumerate(_BREAK.split(cell)[1:], start=1):
                first, *others = inner.split(separator)
                # The last of the lines lacks what follows the quote that closes the cell.
                whole = 1 <= len(others) < columns
                if whole and first not in known and _continues(cells[0], first, count):
                    raise _UnpairedError(number)


def _continues(first: str, other: str, count: int) -> bool:
    """Whether an id may stand `count` rows below another: the next number, or the same shape."""
    if first.isdecimal():
        return other.isdecimal() and int(other) == int(first) + count
    shapes = [re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", one)) for one in (first, other)]
    return "0" in shapes[0] and shapes[0] == shapes[1]
