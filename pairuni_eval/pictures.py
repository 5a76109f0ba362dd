"""Decoding an image that came from outside: whole, or a failure with a reason."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from pairuni_eval.errors import BoundaryError, boundary

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


def read_rgb(source: Path | BinaryIO, failure: type[BoundaryError]) -> Image.Image:
    """An encoded image as RGB, decoded to its last pixel.

    Raises:
        BoundaryError: of the kind `failure`, if it is missing, cut off or no image at all.
    """
    try:
        with boundary(failure), Image.open(source) as opened:
            return opened.convert("RGB")
    except _BROKEN_IMAGE as broken:
        raise failure(f"{type(broken).__name__}: {broken}") from broken
