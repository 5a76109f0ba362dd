"""One picture of a benchmark's small pictures, for Markdown, which shows no picture inside a page.

A column is a row of the table below it, in order. From above stand the pictures of the request and
what each run gave; small ones are enlarged pixel by pixel.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from itertools import zip_longest

from PIL import Image

from pairuni_eval.report.copied_images import CopiedImage
from pairuni_eval.report.gallery import GalleryItem

_SIDE = 64  # pixels to which a small picture is enlarged
_GAP = 4
_PAPER = (255, 255, 255)


def sheet(exhibits: Sequence[GalleryItem]) -> bytes | None:
    """The packed pictures of a benchmark's exhibits as one PNG; None if there is none."""
    columns = [_column(one) for one in exhibits]
    pictures = [[_decoded(cell) for cell in row] for row in zip_longest(*columns)]
    sides = [max(one.size) for row in pictures for one in row if one]
    if not sides:
        return None
    factor = max(1, _SIDE // max(sides))
    step = max(sides) * factor + _GAP
    made = Image.new("RGB", (step * len(columns) - _GAP, step * len(pictures) - _GAP), _PAPER)
    for down, row in enumerate(pictures):
        for right, one in enumerate(row):
            if one:
                size = (one.width * factor, one.height * factor)
                made.paste(one.resize(size, Image.Resampling.NEAREST), (right * step, down * step))
    buffer = io.BytesIO()
    made.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _column(one: GalleryItem) -> list[CopiedImage | None]:
    return [*one.before, *(given.picture for given in one.given if one.given[0].picture)]


def _decoded(shown: CopiedImage | None) -> Image.Image | None:
    if shown is None or not shown.packed:
        return None
    _, data = str(shown.file).split(",", 1)
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
