"""The table of a per-pair gradient matrix on the disk: a parquet file that needs nothing beside it.

One row for each block, each understanding half and each generation half of a scenario:

    scenario, block        what was paired how; the parameters, "all" is all of them
    und, gen               ids of the pairs that the halves are from
    und_place, gen_place   their numbers in the matrix, from 0
    und_no, gen_no         whether the answer to that pair's question is "no"
    in_common              whether the halves ask for a concept in common; null if not known
    inner                  <u, g>; null if a half has no gradient
    und_square, gen_square |u|^2 and |g|^2; null if that half has no gradient

Every number of the summary beside it follows from these columns (`pair_matrix`, `re_pairing`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from pairuni_eval.errors import UserError
from pairuni_eval.gradients.pair_matrix import NOT_KNOWN, PairTable
from pairuni_eval.gradients.rows import ALL
from pairuni_eval.stats.aggregate import Array, Codes
from pairuni_eval.store.write import atomic_path

Number = TypeVar("Number", np.float64, np.int64)

MATRIX_FILE = "matrix.parquet"
SUMMARY_FILE = "matrix.json"
_TEXT, _PLACES, _FLAGS = (
    ("scenario", "block", "und", "gen"),
    ("und_place", "gen_place"),
    ("und_no", "gen_no"),
)
_NUMBERS = ("inner", "und_square", "gen_square")
_COLUMNS = (*_TEXT, *_PLACES, *_FLAGS, "in_common", *_NUMBERS)


def write_matrix(path: Path, tables: Sequence[PairTable]) -> None:
    """Write the tables of all scenarios into one file, whole or not at all."""
    frames = [_frame(table, block) for table in tables for block in table.blocks]
    with atomic_path(path) as partial:
        pd.concat(frames, ignore_index=True).to_parquet(partial, index=False, compression="zstd")


def read_matrix(place: Path) -> list[PairTable]:
    """The tables of a file, or of the folder that holds `matrix.parquet`.

    Raises:
        UserError: if there is none, or it is not such a table.
    """
    path = place / MATRIX_FILE if place.is_dir() else place
    hint = "Measure one: pairuni-train probe --matrix --help"
    if not path.is_file():
        raise UserError(f"There is no gradient matrix {path}.", hint=hint)
    try:
        frame = pd.read_parquet(path)
        missing = sorted(set(_COLUMNS) - set(frame.columns))
        if missing:
            raise ValueError(f"it has no column {', '.join(missing)}")
        return [_table(str(name), rows) for name, rows in frame.groupby("scenario", sort=False)]
    except (ValueError, OSError, KeyError, TypeError) as failure:
        raise UserError(f"{path} is no gradient matrix: {failure}.", hint=hint) from failure


def _frame(table: PairTable, block: str) -> pd.DataFrame:
    count = len(table.pairs)
    i, j = (one.ravel() for one in np.indices((count, count)))
    pairs = np.array(table.pairs, dtype=object)
    common = table.common_NN.ravel()
    return pd.DataFrame(
        {
            "scenario": table.scenario,
            "block": block,
            "und": pairs[i],
            "gen": pairs[j],
            "und_place": i,
            "gen_place": j,
            "und_no": table.no_N[i],
            "gen_no": table.no_N[j],
            "in_common": pd.array(
                [None if one == NOT_KNOWN else bool(one) for one in common], dtype="boolean"
            ),
            "inner": _nullable(table.inner[block].ravel()),
            "und_square": _nullable(table.und[block][i]),
            "gen_square": _nullable(table.gen[block][j]),
        }
    )


def _nullable(values: Array) -> pd.Series:
    """Numbers, null where there is none."""
    return pd.Series([None if math.isnan(one) else one for one in values], dtype="Float64")


def _table(scenario: str, rows: pd.DataFrame) -> PairTable:
    parts = {str(name): _in_order(part) for name, part in rows.groupby("block", sort=False)}
    whole = parts[ALL]
    partners = whole[whole["und_place"] == whole["gen_place"]]
    common: Codes = np.asarray(whole["in_common"].astype("Int64").fillna(NOT_KNOWN), dtype=np.int64)
    return PairTable(
        scenario,
        tuple(str(one) for one in partners["und"]),
        partners["und_no"].to_numpy(dtype=bool),
        _square(common),
        {block: _square(_numbers(part["inner"])) for block, part in parts.items()},
        {block: _square(_numbers(part["und_square"]))[:, 0] for block, part in parts.items()},
        {block: _square(_numbers(part["gen_square"]))[0] for block, part in parts.items()},
    )


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a block, row by row of the square that they are."""
    found = rows.sort_values(list(_PLACES), kind="stable")
    count = math.isqrt(len(found))
    places = np.stack([one.ravel() for one in np.indices((count, count))], axis=1)
    if count * count != len(found) or (found[list(_PLACES)].to_numpy() != places).any():
        raise ValueError("its rows are not those of a square table")
    return found


def _square(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    count = math.isqrt(len(values))
    return values.reshape(count, count)


def _numbers(column: pd.Series) -> Array:
    found: Array = np.asarray(column.astype("Float64").to_numpy(na_value=np.nan), dtype=np.float64)
    return found
