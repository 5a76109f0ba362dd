"""The file of a pair set, read row by row: no image stays in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairuni_eval.errors import UserError, nearest
from pairuni_eval.places import is_file, is_folder

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_ROWS = 32  # pairs read together: what is in memory at once


def pair_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The cells of each row of a pair set; raises UserError like `open_pair_set`."""
    with open_pair_set(path, columns) as file:
        for block in file.iter_batches(batch_size=_ROWS, columns=list(columns)):
            yield from block.to_pylist()


@contextmanager
def open_pair_set(path: Path, columns: Sequence[str]) -> Iterator[pq.ParquetFile]:
    """A pair set as a parquet file, for reading within a block.

    Raises:
        UserError: if there is none, it lacks one of the columns, or reading it fails.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if is_folder(path):
        sets = ", ".join(sorted(one.name for one in path.glob("*.parquet")))
        raise UserError(
            f"{path} is a folder, not a pair set.",
            hint=f"Name the one of the training: {sets}" if sets else "It holds no parquet file.",
        )
    if not is_file(path):
        raise UserError(
            f"There is no pair set {path}.",
            hint="Make one: pairuni-train pairs build --preset tiny --out DIR",
        )
    try:
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream)
            have = file.schema_arrow.names
            for column in columns:
                if column not in have:
                    guess = nearest(column, have)
                    offer = f" Is it '{guess}'?" if guess else ""
                    message = f"{path}: column '{column}' is missing.{offer} It is not a pair set."
                    raise UserError(message)
            yield file
    except (pa.ArrowException, OSError) as failure:
        raise UserError(f"{path}: not a readable parquet file: {failure}.") from failure
