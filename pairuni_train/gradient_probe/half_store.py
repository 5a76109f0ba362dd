"""What was measured of each half, on the disk: a line of facts, and a vector a block until the end.

`halves.jsonl` has a `HalfRow` a line and stays; `vectors/` holds the gradients, whole or projected,
and is removed when the table is made of them. A vector is on the disk before its line is written:
a measurement that was stopped goes on with the first half that has no line.

Of all gradients no more is in memory at once than one block of one task's halves and one vector of
the other's.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pairuni_eval.toolkit.gradients import ALL, PairTable
from pairuni_eval.toolkit.models import Task
from pairuni_eval.toolkit.stats import Array
from pairuni_eval.toolkit.store import (
    HALVES,
    append,
    atomic_path,
    encode_lines,
    keep_lines,
    read_lines,
)
from pairuni_train.pair_data.concepts import in_common

_VECTORS = "vectors"


class HalfRow(msgspec.Struct, frozen=True, kw_only=True):
    """A half that was measured.

    Attributes:
        scenario: What was paired how.
        place: Number of its pair in the matrix, from 0.
        pair: Id of its pair.
        task: "und" or "gen".
        half: Its source and id.
        no: Whether it is a question whose answer is "no".
        concepts: What it asks for, sorted; None where that is not known.
        reward: Mean over its rollouts that were judged; None if none was.
        squares: Squared norm of its gradient by block; empty if it has none.
        kept: The same of the vector that was kept of it; differs where that is a projection.
    """

    scenario: str
    place: int
    pair: str
    task: Task
    half: str
    no: bool
    concepts: tuple[str, ...] | None
    reward: float | None
    squares: dict[str, float]
    kept: dict[str, float]

    @property
    def live(self) -> bool:
        """Whether it has a gradient."""
        return bool(self.squares)


class HalfStore:
    """The halves of a measurement in its folder."""

    def __init__(self, folder: Path) -> None:
        self._rows = folder / HALVES
        self._vectors = folder / _VECTORS

    def mend(self) -> None:
        """Take away the line that was being written when an earlier measurement was stopped."""
        keep_lines(self._rows, lambda _: True)

    def read(self) -> list[HalfRow]:
        """The rows that were written.

        Raises:
            UserError: if a whole line is not a row.
        """
        decode = msgspec.json.Decoder(HalfRow).decode
        return read_lines(self._rows, decode, hint=f"Delete {self._rows}.")

    def add(self, row: HalfRow, vectors: Mapping[str, Tensor]) -> None:
        """Keep a half: its vectors by block, then its row."""
        if row.live:
            with atomic_path(self._file(row)) as partial:
                save_file(dict(vectors), partial)
        append(self._rows, encode_lines([row]))

    def forget_vectors(self) -> None:
        """Remove the vectors, of which the table has been made."""
        shutil.rmtree(self._vectors, ignore_errors=True)

    def table(self, scenario: str, und: Sequence[HalfRow], gen: Sequence[HalfRow]) -> PairTable:
        """All inner products of a scenario's halves, in the order of their pairs."""
        blocks = list(dict.fromkeys(block for row in (*und, *gen) for block in row.squares))
        inner = {block: self._inner(block, und, gen) for block in blocks}
        nothing = np.full((len(und), len(gen)), np.nan)
        total = np.sum([inner[block] for block in blocks], axis=0) if blocks else nothing
        return PairTable(
            scenario,
            tuple(row.pair for row in und),
            np.array([row.no for row in und], dtype=bool),
            in_common([_concepts(row) for row in und], [_concepts(row) for row in gen]),
            {ALL: total, **inner},
            _squares(blocks, und),
            _squares(blocks, gen),
        )

    def _inner(self, block: str, und: Sequence[HalfRow], gen: Sequence[HalfRow]) -> Array:
        found = np.full((len(und), len(gen)), np.nan)
        columns = [j for j, row in enumerate(gen) if row.live]
        if not columns:
            return found
        stored = torch.stack([self._vector(gen[j], block) for j in columns]).double()
        for i, row in enumerate(und):
            if row.live:
                found[i, columns] = (stored @ self._vector(row, block).double()).numpy()
        return found

    def _vector(self, row: HalfRow, block: str) -> Tensor:
        with safe_open(self._file(row), framework="pt") as file:
            found: Tensor = file.get_tensor(block)
            return found

    def _file(self, row: HalfRow) -> Path:
        return self._vectors / row.scenario / f"{row.task}-{row.place:05d}.safetensors"


def _concepts(row: HalfRow) -> frozenset[str] | None:
    return None if row.concepts is None else frozenset(row.concepts)


def _squares(blocks: Sequence[str], rows: Sequence[HalfRow]) -> dict[str, Array]:
    def of(row: HalfRow, names: Sequence[str]) -> float:
        return sum(row.squares.get(name, 0.0) for name in names) if row.live else np.nan

    found = {block: np.array([of(row, [block]) for row in rows]) for block in blocks}
    return {ALL: np.array([of(row, blocks) for row in rows]), **found}
