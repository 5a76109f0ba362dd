"""The image of a pair set nearest to each evaluation image, by the features of an encoder.

Shapes: N evaluation images, P images of a pair set, D features.

An encoder needs torch and the report does not, so that the training side computes the features and
leaves the outcome as a file beside the pair set: a row for each evaluation image with its nearest
pair and their cosine, by content id, so that one file serves every run on the same images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError
from pairuni_eval.store.write import atomic_path

NEAR = 0.95  # cosine above which two images count as one
_BLOCK = 1024  # evaluation images that are compared at once
_META = b"pairuni-neighbors/1"
_SUFFIX = ".neighbors.parquet"

Floats = npt.NDArray[np.float32]


class Neighbor(NamedTuple):
    """The image of a pair set that is most like an image."""

    pair: str
    cosine: float


class Neighbors(NamedTuple):
    """The nearest image of a pair set by evaluation image.

    Attributes:
        encoder: Whose features, exactly, in words.
        pairs: Rows of the pair set; tells whether a file belongs to it.
        nearest: By content id of the evaluation image.
    """

    encoder: str
    pairs: int
    nearest: Mapping[str, Neighbor]


class _NeighborsHeader(msgspec.Struct, frozen=True):
    """What a file says about itself."""

    encoder: str
    pairs: int


def nearest_pairs(items_ND: Floats, pairs_PD: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """The row of the most similar pair image and its cosine, (N,) each; rows have length one."""
    best, cosine = [], []
    for start in range(0, len(items_ND), _BLOCK):
        found_NP = items_ND[start : start + _BLOCK] @ pairs_PD.T
        best.append(found_NP.argmax(axis=1))
        cosine.append(found_NP.max(axis=1))
    if not best:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    return np.concatenate(best), np.concatenate(cosine)


def neighbors_path(pairs: Path) -> Path:
    """Where the neighbors of a pair set lie."""
    return pairs.with_suffix(_SUFFIX)


def write_neighbors(path: Path, found: Neighbors) -> None:
    """Write the file, by image id."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = sorted(found.nearest.items())
    table = pa.table(
        {
            "image": [image for image, _ in rows],
            "pair": [one.pair for _, one in rows],
            "cosine": pa.array([one.cosine for _, one in rows], pa.float32()),
        }
    )
    about = msgspec.json.encode(_NeighborsHeader(found.encoder, found.pairs))
    with atomic_path(path) as partial, partial.open("wb") as stream:
        pq.write_table(table.replace_schema_metadata({_META: about}), stream)


def read_neighbors(path: Path) -> Neighbors | None:
    """The neighbors in a file; None if it is not there.

    Raises:
        UserError: if it is not a file of neighbors.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        return None
    try:
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
        about = msgspec.json.decode((table.schema.metadata or {})[_META], type=_NeighborsHeader)
        columns = [table.column(name).to_pylist() for name in ("image", "pair", "cosine")]
    except (pa.ArrowException, OSError, KeyError, msgspec.DecodeError) as failure:
        raise UserError(
            f"{path}: not a file of neighbors: {failure}.",
            hint="Delete it, or make it anew: pairuni-train pairs neighbors PAIRS --run RUN",
        ) from failure
    by_image = {image: Neighbor(pair, cosine) for image, pair, cosine in zip(*columns, strict=True)}
    return Neighbors(about.encoder, about.pairs, by_image)


def neighbors_of(pairs: Path, count: int, run: Path | None) -> Neighbors | None:
    """The neighbors that lie beside a pair set of `count` pairs; None if there are none.

    Raises:
        UserError: if they are another set's, or the file is not one of neighbors; names `run`.
    """
    path = neighbors_path(pairs)
    found = read_neighbors(path)
    if found is not None and found.pairs != count:
        words = ("pairs", "neighbors", pairs, "--run", run or "RUN")
        raise UserError(
            f"{path} belongs to a set of {found.pairs} pairs, {pairs} has {count}.",
            hint=f"Make it anew: {as_typed('pairuni-train', *words)}",
        )
    return found
