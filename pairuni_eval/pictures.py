"""Decoding an image that came from outside: whole and as it is meant, or a failure with a reason.

What an image shows does not change on the way to RGB. The orientation in its EXIF block is applied
(a block that cannot be read gives none). Values of more than eight bits are scaled: 16 bits to
their high byte, as Pillow does for 16-bit color. Whole numbers of 32 bits are taken for what they
fit into, 8 or 16 bits; floats for 0 to 1 where none is greater, else for 0 to 255. What fits
nowhere, and floats that are not finite, are failures: no scale is made up. Transparency is dropped,
as the official loaders' `convert("RGB")` does.

Only the formats below are read: Pillow's others are rare, and one (EPS) runs a program.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from pairuni_eval.errors import BoundaryError, DatasetError, boundary, foreign_words

_REUSED_BLOCKS = 64  # a block holds an image, or 16 MB of a large one
_FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM"),
    *("TGA", "ICO", "PCX", "SGI", "SUN", "QOI", "XBM", "XPM", "DDS", "ICNS", "PSD"),
)
# How files of the common formats begin; others are known by more than that.
_BEGINNINGS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
)

# What Pillow's decoders raise on broken files beyond the failures that `boundary` knows.
BROKEN_IMAGE = (
    Image.DecompressionBombError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)

_ORIENTATION = 0x0112  # the EXIF tag: 1 is upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THEIR_SIDE = (5, 6, 7, 8)
_TURNED_BY_PILLOW = "TIFF"  # its size is upright when opened, its pixels when loaded
# Where Pillow keeps what the orientation is read from: it no longer holds for a turned image.
_EXIF_NOTES = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


@contextmanager
def reused_memory() -> Iterator[None]:
    """Let Pillow use the memory of dropped images for the next ones within a block.

    Decoding a batch after a batch of photographs takes half as long: the pages need not be fetched
    from the operating system and cleared again. No more is held than was in use at once.
    """
    allocator = Image.core  # type: ignore[attr-defined]
    before = allocator.get_blocks_max()
    allocator.set_blocks_max(max(before, _REUSED_BLOCKS))
    try:
        yield
    finally:
        allocator.set_blocks_max(before)


def is_image(data: bytes) -> bool:
    """Whether bytes begin as an encoded image does; the rest may be broken."""
    if data.startswith(_BEGINNINGS) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return True
    try:
        with boundary(DatasetError), Image.open(io.BytesIO(data), formats=_formats()):
            return True
    except (DatasetError, *BROKEN_IMAGE):
        return False


def read_rgb(source: Path | BinaryIO, failure: type[BoundaryError]) -> Image.Image:
    """An encoded image as RGB, decoded to its last pixel and upright; see the module docstring.

    Raises:
        BoundaryError: of the kind `failure`, if it is missing, cut off or no image at all, or its
            values have no scale.
    """
    try:
        with boundary(failure), Image.open(source, formats=_formats()) as opened:
            opened.load()
            return _upright(_in_rgb(opened, failure), _orientation(opened))
    except BROKEN_IMAGE as broken:
        raise failure(foreign_words(broken)) from broken


def read_as_stored(source: Path | BinaryIO, failure: type[BoundaryError]) -> Image.Image:
    """An encoded image in its own mode, decoded to its last pixel, with nothing applied to it.

    Raises:
        BoundaryError: of the kind `failure`, if it is missing, cut off or no image at all.
    """
    try:
        with boundary(failure), Image.open(source, formats=_formats()) as opened:
            opened.load()
            return opened
    except BROKEN_IMAGE as broken:
        raise failure(foreign_words(broken)) from broken


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened image as `read_rgb` and browsers show it."""
    width, height = image.size
    if image.format == _TURNED_BY_PILLOW:
        return width, height
    return (height, width) if _orientation(image) in _ON_THEIR_SIDE else (width, height)


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that the installed Pillow knows."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _in_rgb(image: Image.Image, failure: type[BoundaryError]) -> Image.Image:
    # `convert` would copy what is RGB already, at a third of the time of decoding it.
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(image, failure)).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(_of_floats(image, failure)).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image, failure: type[BoundaryError]) -> npt.NDArray[np.uint8]:
    """The (H, W) values of an image of whole numbers, 0 to 255."""
    values_HW = np.asarray(image)
    # Pillow holds 16 bits in 32 for PNG (older versions) and PGM, whatever the values are.
    if image.mode != "I" or image.format in ("PNG", "PPM"):
        return (values_HW >> 8).clip(0, 255).astype(np.uint8)
    low, high = int(values_HW.min()), int(values_HW.max())
    if low < 0 or high > 0xFFFF:
        raise failure(f"values from {low} to {high}; of whole numbers 0 to 65535 are read")
    return (values_HW >> 8 if high > 0xFF else values_HW).astype(np.uint8)


def _of_floats(image: Image.Image, failure: type[BoundaryError]) -> npt.NDArray[np.uint8]:
    """The (H, W) values of an image of floats, 0 to 255."""
    values_HW = np.asarray(image)
    if not np.isfinite(values_HW).all():
        raise failure("some of its values are not finite")
    low, high = float(values_HW.min()), float(values_HW.max())
    if low < 0 or high > 255:
        raise failure(f"values from {low:g} to {high:g}; of floats 0 to 1 or 0 to 255 are read")
    scaled_HW = values_HW * 255 if high <= 1 else values_HW
    whole_HW: npt.NDArray[np.uint8] = np.rint(scaled_HW).astype(np.uint8)
    return whole_HW


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) if there is none or the block is broken."""
    try:
        with boundary(DatasetError):
            return int(image.getexif().get(_ORIENTATION, 1))
    except (DatasetError, *BROKEN_IMAGE):
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    if turn is None:
        return image
    turned = image.transpose(turn)
    for note in _EXIF_NOTES:
        turned.info.pop(note, None)
    return turned
