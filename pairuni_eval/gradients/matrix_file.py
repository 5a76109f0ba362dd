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

import numpy as np
import pandas as pd

from pairuni_eval.errors import UserError
from pairuni_eval.gradients.pair_matrix import NOT_KNOWN, PairTable
from pairuni_eval.stats.aggregate import Array
from pairuni_eval.store.write import atomic_path

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
    blocks = {str(name): part for name, part in rows.groupby("block", sort=False)}
    inner, und, gen = {}, {}, {}
    for name, part in blocks.items():
        ordered = part.sort_values(list(_PLACES), kind="stable")
        count = _count_of(ordered)
        numbers = {one: _numbers(ordered[one]).reshape(count, count) for one in _NUMBERS}
        inner[name] = numbers["inner"]
        und[name], gen[name] = numbers["und_square"][:, 0], numbers["gen_square"][0]
        first = ordered
    common = first["in_common"].astype("Int8").fillna(NOT_KNOWN).to_numpy(dtype=np.int64)
    diagonal = first[first["und_place"] == first["gen_place"]]
    return PairTable(
        scenario,
        tuple(str(one) for one in diagonal["und"]),
        diagonal["und_no"].to_numpy(dtype=bool),
        common.reshape(count, count),
        inner,
        und,
        gen,
    )


def _count_of(rows: pd.DataFrame) -> int:
    count = math.isqrt(len(rows))
    i, j = (one.ravel() for one in np.indices((count, count)))
    places = rows[list(_PLACES)].to_numpy()
    if count * count != len(rows) or (places != np.stack([i, j], axis=1)).any():
        raise ValueError("its rows are not those of a square table")
    return count


def _numbers(column: pd.Series) -> Array:
    found: Array = column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return found
