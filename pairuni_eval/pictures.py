"""Decoding an image that came from outside: whole, or a failure with a reason."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from pairuni_eval.errors import BoundaryError, boundary

_REUSED_BLOCKS = 64  # a block holds an image, or 16 MB of a large one

# What Pillow's decoders raise on broken files beyond the failures that `boundary` knows.
_BROKEN_IMAGE = (
    Image.DecompressionBombError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)


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


def read_rgb(source: Path | BinaryIO, failure: type[BoundaryError]) -> Image.Image:
    """An encoded image as RGB, decoded to its last pixel.

    Raises:
        BoundaryError: of the kind `failure`, if it is missing, cut off or no image at all.
    """
    try:
        with boundary(failure), Image.open(source) as opened:
            opened.load()
            # `convert` would copy what is RGB already, at a third of the time of decoding it.
            return opened if opened.mode == "RGB" else opened.convert("RGB")
    except _BROKEN_IMAGE as broken:
        raise failure(f"{type(broken).__name__}: {broken}") from broken


def read_as_stored(source: Path | BinaryIO, failure: type[BoundaryError]) -> Image.Image:
    """An encoded image in its own mode, decoded to its last pixel, with nothing applied to it.

    Raises:
        BoundaryError: of the kind `failure`, if it is missing, cut off or no image at all.
    """
    try:
        with boundary(failure), Image.open(source) as opened:
            opened.load()
            return opened
    except _BROKEN_IMAGE as broken:
        raise failure(f"{type(broken).__name__}: {broken}") from broken
