"""The gradient probe's rows as a table: a line per run, step and block, and what follows from it.

Columns: `run` (which of the files, from 0), `scenario`, `step`, `block`, `preconditioned`,
`und_live`, `gen_live`, `rows` as stored, and
    cosine       u.g / |u| |g|                the angle between the two tasks' gradients
    log_ratio    ln |u| / |g|                 how much louder understanding is
    similarity   2 |u| |g| / (|u|^2 + |g|^2)  gradient magnitude similarity (Yu et al. 2020, PCGrad)
    und_halves   the cosine of the two halves of the understanding batch; NaN if not taken apart
    gen_halves   the same for generation
A batch in which one task has no gradient (no live group) has no cosine: NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from pairuni_eval.errors import UserError
from pairuni_eval.records import GradientRow
from pairuni_eval.stats.aggregate import Array
from pairuni_eval.store.json_lines import read_lines

GRADIENTS_FILE = "gradients.jsonl"
ALL = "all"  # the block of every shared parameter together


def read_gradients(places: Sequence[Path]) -> pd.DataFrame:
    """The rows of one or more runs.

    Args:
        places: Files, or folders that hold `gradients.jsonl`; the order numbers the runs.

    Raises:
        UserError: if a file is not there, or a whole line of it is not a gradient row.
    """
    return gradient_table([_read(place) for place in places])


def gradient_table(runs: Sequence[Sequence[GradientRow]]) -> pd.DataFrame:
    """The table of rows that are in memory, one sequence a run; see the module docstring."""
    rows = [row for run in runs for row in run]
    numbers = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    tasks = _triples([row.tasks for row in rows])
    return pd.DataFrame(
        {
            "run": numbers,
            "scenario": [row.scenario for row in rows],
            "step": np.array([row.step for row in rows], dtype=np.int64),
            "block": [row.block for row in rows],
            "preconditioned": np.array([row.preconditioned for row in rows], dtype=bool),
            "cosine": _cosine(tasks),
            "log_ratio": _log_ratio(tasks),
            "similarity": _similarity(tasks),
            "und_halves": _cosine(_triples([row.und_halves for row in rows])),
            "gen_halves": _cosine(_triples([row.gen_halves for row in rows])),
            "und_live": np.array([row.und_live for row in rows], dtype=np.float64),
            "gen_live": np.array([row.gen_live for row in rows], dtype=np.float64),
            "rows": np.array([row.rows for row in rows], dtype=np.int64),
        }
    )


def _read(place: Path) -> list[GradientRow]:
    path = place / GRADIENTS_FILE if place.is_dir() else place
    if not path.is_file():
        raise UserError(
            f"There are no gradients in {place}: {GRADIENTS_FILE} is missing.",
            hint="Probe a checkpoint: pairuni-train probe --help",
        )
    hint = "Delete the line, or probe again: pairuni-train probe --help"
    return read_lines(path, msgspec.json.Decoder(GradientRow).decode, hint=hint)


def _triples(found: Sequence[tuple[float, float, float] | None]) -> Array:
    """(N, 3); NaN where there is none."""
    nothing = (np.nan, np.nan, np.nan)
    return np.array([one or nothing for one in found], dtype=np.float64).reshape(-1, 3)


def _cosine(gram: Array) -> Array:
    norm = np.sqrt(gram[:, 0] * gram[:, 2])
    found = np.full(len(gram), np.nan)
    np.divide(gram[:, 1], norm, out=found, where=norm > 0)
    clipped: Array = np.clip(found, -1.0, 1.0)
    return clipped


def _log_ratio(gram: Array) -> Array:
    found = np.full(len(gram), np.nan)
    both = (gram[:, 0] > 0) & (gram[:, 2] > 0)
    found[both] = 0.5 * np.log(gram[both, 0] / gram[both, 2])
    return found


def _similarity(gram: Array) -> Array:
    found = np.full(len(gram), np.nan)
    total = gram[:, 0] + gram[:, 2]
    np.divide(2 * np.sqrt(gram[:, 0] * gram[:, 2]), total, out=found, where=total > 0)
    return found
