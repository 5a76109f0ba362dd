"""Prediction files of VLMEvalKit (`MODEL_DATASET.xlsx` or `.tsv`).

The columns are those of its TSV without the image (`index`, `question`, `answer`, ...) and
`prediction`. Its note for a call that failed is not an answer: that row is missing.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairuni_eval.data import check_columns
from pairuni_eval.errors import UserError
from pairuni_eval.responses.foreign import ForeignRow

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".xlsx", ".tsv")
_FAILED = "Failed to obtain answer via API."  # vlmeval/inference.py, FAIL_MSG
_IDS = ("id", "question_id", "index")
_HEADING = 2  # the first row of data stands on sheet row 2


def read(path: Path) -> list[ForeignRow]:
    """All rows of a prediction file, in order.

    Raises:
        UserError: if it is no such file, lacks a column, or openpyxl is not installed.
    """
    table = _table(path)
    check_columns(path, ("index", "prediction"), [str(name) for name in table.columns])
    if table.empty:
        raise UserError(f"{path} holds no rows.")
    ids = [name for name in _IDS if name in table.columns]
    return [
        ForeignRow(
            line=number + _HEADING,
            ids={name: _cell(row[name]) for name in ids},
            position=number,
            texts=(_answer(row["prediction"]),),
            gold=_cell(row["answer"]) if "answer" in row else None,
            question=_cell(row["question"]) if "question" in row else None,
        )
        for number, row in enumerate(table.to_dict(orient="records"))
    ]


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise UserError(f"There is no responses file {path}.", hint="--responses FILE.xlsx")
    try:
        if path.suffix == ".tsv":
            return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        return pd.read_excel(path, dtype=object, keep_default_na=False, engine="openpyxl")
    except ImportError as failure:
        raise UserError(
            f"{path}: reading xlsx needs openpyxl, which is not installed.",
            hint="pip install 'pairuni[vlmevalkit]'",
        ) from failure
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as failure:
        raise UserError(f"{path}: not a readable table: {failure}.") from failure


def _cell(value: Any) -> str:
    """A cell as text; a whole number loses the `.0` that spreadsheets give it."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _answer(value: Any) -> str | None:
    text = _cell(value)
    return None if _FAILED in text else text
