"""Sample files of lmms-eval (`*_samples_TASK.jsonl`, as of version 0.7).

A line has `doc_id` (the row's number in the task's split), `target` and `filtered_resps`; `resps`
is there only where a filter changed the answer. Older files carry the row itself as `doc`; newer
ones repeat its id inside the entries of some metrics. We grade `filtered_resps`, which is what
lmms-eval's own scorer read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pairuni_eval.errors import UserError
from pairuni_eval.responses.foreign import ForeignRow
from pairuni_eval.responses.rows import lines_of

_IDS = ("id", "question_id", "index", "prompt_id", "key", "pid")


class _Line(msgspec.Struct, frozen=True):
    doc_id: int
    target: Any = None
    filtered_resps: Any = None
    resps: Any = None
    doc: dict[str, Any] | None = None


def is_sample(line: bytes) -> bool:
    """Whether a line of JSON looks like one of lmms-eval's samples."""
    try:
        row = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    answered = ("resps", "filtered_resps")
    return isinstance(row, dict) and "doc_id" in row and any(key in row for key in answered)


def read(path: Path) -> list[ForeignRow]:
    """All rows of a sample file, in order.

    Raises:
        UserError: naming the line, for one that is no sample or whose `doc_id` occurs twice.
    """
    rows = [_row(path, number, line) for number, line in lines_of(path)]
    first: dict[int, int] = {}
    for row in rows:
        line = first.setdefault(row.position, row.line)
        if line != row.line:
            raise UserError(
                f"{path}: doc_id {row.position} stands on lines {line} and {row.line}.",
                hint="lmms-eval appends to a file of the same name: keep one run's lines.",
            )
    return rows


def _row(path: Path, number: int, line: bytes) -> ForeignRow:
    try:
        plain = msgspec.json.decode(line)
        row = msgspec.convert(plain, _Line)
    except (msgspec.DecodeError, msgspec.ValidationError) as failure:
        raise UserError(f"{path}, line {number}: no lmms-eval sample: {failure}.") from failure
    answers = row.resps if row.filtered_resps is None else row.filtered_resps
    return ForeignRow(
        line=number,
        ids=dict(_ids(plain)),
        position=row.doc_id,
        texts=tuple(_texts(answers)),
        gold=row.target if isinstance(row.target, str) else None,
    )


def _ids(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Id-like values of the document, or of the metrics' entries about it."""
    entries = [row.get("doc"), *row.values()]
    for name in _IDS:
        held = (entry.get(name) for entry in entries if isinstance(entry, dict))
        value = next((v for v in held if isinstance(v, str | int)), None)
        if value is not None:
            yield name, str(value)


def _texts(answers: Any) -> Iterator[str | None]:
    """The answers in order: a text, or lists of them as deep as lmms-eval nests them."""
    if isinstance(answers, list):
        for answer in answers:
            yield from _texts(answer)
    else:
        yield answers if isinstance(answers, str) else None
