"""Features as matrices that stay on the disk: several of them read as one, or written as one.

Shapes: N rows of all matrices together, D features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pairuni_eval.toolkit.store import atomic_path
from pairuni_train.pair_data.encoders import FloatArray

IntArray = npt.NDArray[np.int64]


class StackedFeatures:
    """Matrices below each other, without a copy: only rows that are asked for are read.

    Args:
        matrices: Of equal width; usually mapped from files.
    """

    def __init__(self, matrices: Sequence[FloatArray]) -> None:
        self.matrices = tuple(matrices)
        self._first = np.asarray([0, *accumulate(map(len, matrices))])
        self.width: int = matrices[0].shape[1]

    def __len__(self) -> int:
        """N."""
        return int(self._first[-1])

    def take(self, rows_R: IntArray) -> FloatArray:
        """Some rows, in the order of their numbers here."""
        taken_RD = np.empty((len(rows_R), self.width), dtype=np.float32)
        bounds = pairwise(self._first.tolist())
        for matrix, (first, end) in zip(self.matrices, bounds, strict=True):
            here = (rows_R >= first) & (rows_R < end)
            taken_RD[here] = matrix[rows_R[here] - first]
        return taken_RD

    def whole(self) -> FloatArray:
        """All rows as one matrix: a copy if there is more than one."""
        return self.matrices[0] if len(self.matrices) == 1 else np.concatenate(self.matrices)


def write_stacked(
    path: Path, features: StackedFeatures, rows_N: IntArray, about: Mapping[str, str]
) -> None:
    """Write matrices as one safetensors file, whole or not at all, with one of them in memory.

    The library's own writer wants all of a file in memory, twice.

    Args:
        path: The file.
        features: Its tensor "features".
        rows_N: Its tensor "rows".
        about: Its metadata.
    """
    head = _head(features, about)
    with atomic_path(path) as partial, partial.open("wb") as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        stream.write(np.ascontiguousarray(rows_N, dtype="<i8").data)
        for matrix in features.matrices:
            stream.write(np.ascontiguousarray(matrix, dtype="<f4").data)


def _head(features: StackedFeatures, about: Mapping[str, str]) -> bytes:
    """The header: name, type, shape and place of each tensor, as long as a multiple of eight."""
    count, width = len(features), features.width
    rows, end = 8 * count, 8 * count + 4 * count * width
    table = {
        "__metadata__": dict(about),
        "rows": {"dtype": "I64", "shape": [count], "data_offsets": [0, rows]},
        "features": {"dtype": "F32", "shape": [count, width], "data_offsets": [rows, end]},
    }
    text = json.dumps(table, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)
