"""From rows to features: one unit vector per image, in a file that can be mapped into memory.

Images go through the encoder in batches; every finished part lies on the disk as safetensors with
the encoder's identity in it, so a build that was stopped goes on with the next part. At the end the
parts become one file. A row whose image cannot be decoded has no features: it is set aside with its
reason.

Shapes: N rows with features, D features.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from pairuni_eval.toolkit import DatasetError, UserError, writing
from pairuni_eval.toolkit.store import atomic_path
from pairuni_train.pair_data.encoders import Encoder, FloatArray, Identity
from pairuni_train.pair_data.feature_files import StackedFeatures, write_stacked
from pairuni_train.pair_data.rows import Reject, RowStore

if TYPE_CHECKING:
    from PIL.Image import Image

_ABOUT = "pairuni"  # the metadata's key
PARTS = ".parts"  # suffix of a folder with the parts of what is not whole yet
_PART = 1024  # rows of a part: what a kill may cost
THREADS = 4  # that decode and shrink images
_NONE: FloatArray = np.zeros((0, 0), dtype=np.float32)


class Features(NamedTuple):
    """Features of one side.

    Attributes:
        matrix_ND: Unit vectors, float32, mapped from the file; zero for an image without features.
        rows_N: The row of the store that each of them belongs to.
        broken: Rows whose image could not be decoded.
        encoder: What made them.
    """

    matrix_ND: FloatArray
    rows_N: npt.NDArray[np.int64]
    broken: tuple[Reject, ...]
    encoder: Identity


def embed(
    rows: RowStore,
    encoder: Encoder,
    path: Path,
    *,
    batch_size: int,
    done: Callable[[int], None],
) -> Features:
    """Encode every image of a store into the file `path`; goes on where it was stopped.

    Args:
        rows: The store.
        encoder: The encoder.
        path: Where the features will lie; parts lie in a folder beside it until the end.
        batch_size: Images that go through the encoder together.
        done: Called with the number of rows after each part, also for parts found on the disk.
    """
    parts = path.with_suffix(PARTS)
    with writing(str(path)), ThreadPoolExecutor(THREADS) as pool:
        parts.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(rows), _PART):
            part = parts / f"{start:08d}.safetensors"
            span = range(start, min(start + _PART, len(rows)))
            if not part.exists():
                _write_part(part, rows, span, encoder, batch_size, pool)
            done(len(span))
        _join(sorted(parts.glob("*.safetensors")), path)
        shutil.rmtree(parts)
    return read_features(path)


def read_features(path: Path) -> Features:
    """Map a file of features into memory.

    Raises:
        UserError: if it is not such a file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:  # torch's tensors stay in the file
            about = msgspec.json.decode((file.metadata() or {})[_ABOUT], type=_FeatureInfo)
            matrix_ND, rows_N = (file.get_tensor(name).numpy() for name in ("features", "rows"))
    except (KeyError, OSError, SafetensorError, msgspec.DecodeError) as failure:
        raise UserError(
            f"{path}: not a file of features: {failure}.", hint="Delete it: it is made again."
        ) from failure
    return Features(matrix_ND, rows_N, about.broken, about.encoder)


def normalized(features_ND: FloatArray) -> FloatArray:
    """Rows at length one; a row of zeros stays as it is.

    Raises:
        ValueError: if a feature is not finite.
    """
    wide = features_ND.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    if not np.isfinite(length).all():
        raise ValueError("the encoder gave features that are not finite")
    return (wide / np.where(length > 0, length, 1.0)).astype(np.float32)


def _write_part(
    part: Path,
    rows: RowStore,
    span: range,
    encoder: Encoder,
    batch_size: int,
    pool: ThreadPoolExecutor,
) -> None:
    kept: list[int] = []
    found: list[FloatArray] = []
    broken: list[Reject] = []
    for start in range(span.start, span.stop, batch_size):
        batch = range(start, min(start + batch_size, span.stop))
        encoded = encode_images(encoder, [rows.image(row) for row in batch], pool)
        kept += [row for row, why in zip(batch, encoded.broken, strict=True) if why is None]
        broken += [
            Reject(rows.name(row), why)
            for row, why in zip(batch, encoded.broken, strict=True)
            if why is not None
        ]
        found.append(encoded.features_KD)
    matrix_ND = joined(found)
    _save(part, matrix_ND, kept, _FeatureInfo(encoder.identity, tuple(broken)))


class EncodedImages(NamedTuple):
    """A batch after the encoder.

    Attributes:
        features_KD: Unit vectors of the K images that could be decoded.
        broken: For each image of the batch why it could not; None if it could.
    """

    features_KD: FloatArray
    broken: tuple[str | None, ...]


def encode_images(
    encoder: Encoder, images: Sequence[bytes], pool: ThreadPoolExecutor
) -> EncodedImages:
    """Decode a batch of images, in several threads, and encode what can be."""
    prepared = list(pool.map(lambda data: _prepare(encoder, data), images))
    good = [pixels for pixels in prepared if not isinstance(pixels, str)]
    features_KD = normalized(encoder.encode(np.stack(good))) if good else _NONE
    return EncodedImages(
        features_KD, tuple(one if isinstance(one, str) else None for one in prepared)
    )


def joined(found: Sequence[FloatArray]) -> FloatArray:
    """The features of several batches as one matrix, (0, 0) without any."""
    filled = [features_KD for features_KD in found if len(features_KD)]
    return np.concatenate(filled) if filled else _NONE


def _prepare(encoder: Encoder, data: bytes) -> FloatArray | str:
    """The pixels of an encoded image, or why there are none."""
    try:
        return encoder.prepare(decode(data))
    except DatasetError as failure:
        return f"broken image: {str(failure).partition(':')[0]}"


def decode(data: bytes) -> Image:
    """An encoded image as RGB.

    Raises:
        DatasetError: if it is cut off or no image.
    """
    from pairuni_eval.api.images import read_rgb

    return read_rgb(io.BytesIO(data), DatasetError)


class _FeatureInfo(msgspec.Struct, frozen=True):
    """What a file of features says about itself."""

    encoder: Identity
    broken: tuple[Reject, ...]


def _save(path: Path, matrix_ND: FloatArray, rows: Sequence[int], about: _FeatureInfo) -> None:
    """Write a file of features, whole or not at all.

    The metadata have one key: safetensors writes several in an order that differs from run to run.
    """
    from safetensors.numpy import save_file

    with atomic_path(path) as partial:
        save_file(
            {"features": matrix_ND, "rows": np.asarray(rows, dtype=np.int64)},
            partial,
            metadata=_metadata(about),
        )


def _metadata(about: _FeatureInfo) -> dict[str, str]:
    return {_ABOUT: msgspec.json.encode(about).decode()}


def _join(parts: Sequence[Path], path: Path) -> None:
    found = [read_features(part) for part in parts]
    filled = [one.matrix_ND for one in found if len(one.matrix_ND)]
    if not filled:
        raise UserError(
            "No image of the source could be decoded.",
            hint="Look at columns.image in the configuration.",
        )
    rows_N = np.concatenate([one.rows_N for one in found])
    broken = tuple(reject for one in found for reject in one.broken)
    about = _FeatureInfo(found[0].encoder, broken)
    write_stacked(path, StackedFeatures(filled), rows_N, _metadata(about))
