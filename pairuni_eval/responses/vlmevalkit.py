"""Prediction files of VLMEvalKit (`MODEL_DATASET.xlsx`, `.tsv`, `.csv` or `.json`).

The columns are those of its TSV without the image (`index`, `question`, `answer`, ...) and
`prediction`. Its note for a call that failed is not an answer: that row is missing, and so is one
whose cell is empty, for a sheet cannot tell an empty answer from none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairuni_eval.data import check_columns
from pairuni_eval.responses.external_formats import ExternalFile, ExternalRow
from pairuni_eval.responses.records import Records, cell_of

_FAILED = "Failed to obtain answer via API."  # vlmeval/inference.py, FAIL_MSG
_IDS = ("id", "question_id", "index")


def is_prediction(row: Mapping[str, Any]) -> bool:
    """Whether a row looks like one of VLMEvalKit's predictions."""
    return "index" in row and "prediction" in row


def read(path: Path, records: Records) -> ExternalFile:
    """All rows of a prediction file, in order.

    Raises:
        UserError: if it lacks a column.
    """
    columns = list(records.rows[0].row)
    check_columns(path, ("index", "prediction"), columns)
    ids = [name for name in _IDS if name in columns]
    rows = [
        ExternalRow(
            line=line,
            ids={name: text for name in ids if (text := cell_of(row.get(name))) is not None},
            position=position,
            texts=(_answer(row.get("prediction")),),
            gold=cell_of(row.get("answer")),
            question=cell_of(row.get("question")),
        )
        for position, (line, row) in enumerate(records.rows)
    ]
    return ExternalFile(rows)


def _answer(value: Any) -> str | None:
    """The answer; None where there was none. The empty text of a JSON file is an answer."""
    text = value if isinstance(value, str) else cell_of(value)
    return None if text is None or _FAILED in text else text
