"""Sample files of lmms-eval (`*_samples_TASK.jsonl`, as of version 0.7).

A line has `doc_id` (the row's number in the task's split), `target` and `filtered_resps`; `resps`
is there only where a filter changed the answer. Older files carry the row itself as `doc`; newer
ones repeat its id inside the entries of some metrics. We grade `filtered_resps`, which is what
lmms-eval's own scorer read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pairuni_eval.errors import UserError
from pairuni_eval.responses.external_formats import ExternalFile, ExternalRow
from pairuni_eval.responses.records import Record, Records
from pairuni_eval.responses.rows import repeated

_IDS = ("id", "question_id", "index", "prompt_id", "key", "pid")


class _LmmsSample(msgspec.Struct, frozen=True):
    doc_id: int
    target: Any = None
    filtered_resps: Any = None
    resps: Any = None
    doc: dict[str, Any] | None = None


def is_sample(row: Mapping[str, Any]) -> bool:
    """Whether a row looks like one of lmms-eval's samples."""
    return "doc_id" in row and ("resps" in row or "filtered_resps" in row)


def read(path: Path, records: Records) -> ExternalFile:
    """All rows of a sample file, in order; one that is there twice, word for word, counts once.

    Raises:
        UserError: naming the line, for one that is not a sample or whose `doc_id` occurs with two
            different answers.
    """
    first: dict[int, ExternalRow] = {}
    for record in records.rows:
        row = _row(path, record)
        former = first.setdefault(row.position, row)
        if former._replace(line=row.line) != row:
            raise UserError(
                f"{path}: doc_id {row.position} stands on lines {former.line} and {row.line}, "
                "with different answers.",
                hint="lmms-eval appends to a file of the same name: keep one run's lines.",
            )
    return ExternalFile(list(first.values()), repeated(len(records.rows) - len(first)))


def _row(path: Path, record: Record) -> ExternalRow:
    try:
        row = msgspec.convert(record.row, _LmmsSample)
    except msgspec.ValidationError as failure:
        raise UserError(f"{path}, line {record.line}: no lmms-eval sample: {failure}.") from failure
    answers = row.resps if row.filtered_resps is None else row.filtered_resps
    return ExternalRow(
        line=record.line,
        ids=dict(_ids(record.row)),
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
