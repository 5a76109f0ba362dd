"""What a pair set can be recognized by, read row by row: no image stays in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pairuni_eval.contamination.likeness import fingerprint, ngrams13
from pairuni_eval.contamination.neighbors import Neighbor, neighbors_of
from pairuni_eval.data_folder import DataFolder
from pairuni_eval.errors import DatasetError, UserError, nearest
from pairuni_eval.image_cell import encoded_image
from pairuni_eval.places import is_file, is_folder

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_COLUMNS = ("id", "question", "prompt", "understanding_image")
_ROWS = 32  # pairs read together: what is in memory at once


class Prints(NamedTuple):
    """What a pair set can be recognized by.

    Attributes:
        grams: The first pair that has a run of words.
        hashes: (P,) perceptual hashes of the understanding images.
        owners: The pair of each hash.
        pairs: Rows of the set.
        broken: Understanding images that could not be decoded; they can be compared with nothing.
        encoder: Whose features found neighbors; None where no encoder has looked.
        nearest: The most similar pair by content id of an evaluation image.
    """

    grams: Mapping[str, str]
    hashes: npt.NDArray[np.uint64]
    owners: tuple[str, ...]
    pairs: int
    broken: int
    encoder: str | None
    nearest: Mapping[str, Neighbor]


def read_prints(path: Path, run: Path | None = None) -> Prints:
    """The prints of a pair set, and the neighbors that lie beside it.

    Args:
        path: A parquet file with the columns id, question, prompt and understanding_image, the
            last as the hub stores images: {"bytes", "path"}.
        run: The run that is looked at, for the command that makes stale neighbors anew.

    Raises:
        UserError: if the file is not there, is no parquet file or lacks a column; if the neighbors
            beside it belong to another set.
    """
    grams: dict[str, str] = {}
    hashes, owners, pairs, broken = [], [], 0, 0
    for row in pair_rows(path, _COLUMNS):
        pairs += 1
        owner = str(row["id"])
        for text in (row["question"], row["prompt"]):
            for gram in ngrams13(str(text or "")):
                grams.setdefault(gram, owner)
        try:
            image = encoded_image(row["understanding_image"], DataFolder.around(path))
            if image:
                hashes.append(fingerprint(image))
                owners.append(owner)
        except DatasetError:
            broken += 1
    found = neighbors_of(path, pairs, run)
    encoder, nearest = (found.encoder, found.nearest) if found is not None else (None, {})
    hashes_P = np.array(hashes, dtype=np.uint64)
    return Prints(grams, hashes_P, tuple(owners), pairs, broken, encoder, nearest)


def pair_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The cells of each row of a pair set; raises UserError like `opened`."""
    with opened(path, columns) as file:
        for block in file.iter_batches(batch_size=_ROWS, columns=list(columns)):
            yield from block.to_pylist()


@contextmanager
def opened(path: Path, columns: Sequence[str]) -> Iterator[pq.ParquetFile]:
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
                    message = f"{path}: column '{column}' is missing.{offer} It is no pair set."
                    raise UserError(message)
            yield file
    except (pa.ArrowException, OSError) as failure:
        raise UserError(f"{path}: not a readable parquet file: {failure}.") from failure
