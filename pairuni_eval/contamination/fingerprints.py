"""Fingerprints that texts, images and pair sets are recognized by.

Texts are compared by runs of 13 words, the length that GPT-3's report used; images by a 64-bit
perceptual hash, of which near copies (other sizes, other compression) differ in few bits.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pairuni_eval.contamination.neighbors import Neighbor, neighbors_of
from pairuni_eval.contamination.pair_set import pair_rows
from pairuni_eval.data_folder import DataFolder
from pairuni_eval.errors import DatasetError
from pairuni_eval.image_cell import encoded_image
from pairuni_eval.pictures import read_rgb
from pairuni_eval.prompts import LETTER_SUFFIX, WORD_SUFFIX, YES_NO_REQUEST

if TYPE_CHECKING:
    from PIL.Image import Image

WORDS = 13
NEAR = 4  # bits in which the hashes of near copies may differ
SMALL = 64  # pixels a side up to which only an equal image is a near copy

_COLUMNS = ("id", "question", "prompt", "understanding_image")
_INSTRUCTIONS = (LETTER_SUFFIX, WORD_SUFFIX, YES_NO_REQUEST.strip())  # how to answer
_WORD = re.compile(r"\w+")
_SIDE, _KEPT = 32, 8  # pixels that the cosine transform sees, and frequencies per axis that count


def ngrams13(text: str) -> frozenset[str]:
    """Every run of 13 words of a text, lower case, punctuation left out.

    The benchmarks' instructions how to answer do not belong to it. A text of fewer words gives
    itself, whole: it is shared only with an equal text. A text without words gives nothing.
    """
    for instruction in _INSTRUCTIONS:
        text = text.replace(instruction, "")
    words = _WORD.findall(text.lower())
    runs = range(max(1, len(words) - WORDS + 1)) if words else range(0)
    return frozenset(" ".join(words[start : start + WORDS]) for start in runs)


def fingerprint(data: bytes) -> int:
    """The perceptual hash of an encoded image; DatasetError if it cannot be decoded."""
    return perceptual_hash(read_rgb(io.BytesIO(data), DatasetError))


def perceptual_hash(image: Image) -> int:
    """64 bits that describe what an image looks like, whatever its size and compression.

    The image in gray at 32 x 32, its cosine transform, the 8 x 8 lowest frequencies: a bit is set
    where one lies above the median of all but the mean brightness. An image of at most 64 pixels a
    side has too little in it for that, and unlike ones would come out near: its 64 bits are from
    the SHA-256 of its pixels, so that only an equal image is near it.
    """
    if max(image.size) <= SMALL:
        return _pixel_hash(image)
    from PIL.Image import Resampling
    from scipy.fft import dctn

    gray = image.convert("L").resize((_SIDE, _SIDE), Resampling.LANCZOS)
    low = dctn(np.asarray(gray, dtype=np.float64), norm="ortho")[:_KEPT, :_KEPT].ravel()
    bits = low > np.median(low[1:])
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _pixel_hash(image: Image) -> int:
    digest = hashlib.sha256(f"{image.width}x{image.height}\n".encode())
    digest.update(image.convert("RGB").tobytes())
    return int.from_bytes(digest.digest()[:8], "big")


def near_copies(one: int, others: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which of some hashes belong to near copies of the image of the first."""
    found: npt.NDArray[np.bool_] = np.bitwise_count(others ^ np.uint64(one)) <= NEAR
    return found


class Fingerprints(NamedTuple):
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


def read_fingerprints(path: Path, run: Path | None = None) -> Fingerprints:
    """The fingerprints of a pair set, and the neighbors that lie beside it.

    Args:
        path: A parquet file with the columns id, question, prompt and understanding_image, the
            last as the hub stores images: {"bytes", "path"}.
        run: The run that is looked at, for the command that makes stale neighbors anew.

    Raises:
        UserError: if the file is not there, is not a parquet file or lacks a column, or if the
            neighbors beside it belong to another set.
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
    return Fingerprints(
        *(grams, np.array(hashes, dtype=np.uint64), tuple(owners), pairs, broken),
        encoder=found and found.encoder,
        nearest=found.nearest if found else {},
    )
