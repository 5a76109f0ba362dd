"""Pictures on their way in: which size they are brought to, and how.

The official sizes are multiples of 32 px with about the area of 512 or 1,024 px squared. A source
that is edited goes to the smaller area. Questions follow the official evaluation: several pictures
go to the smaller area; one picture to the smaller where it is below it, to the larger where it is
above that, and between them it keeps its size, rounded down to whole codes.

Departure from the official code: the middle is cut out. There a "center crop" begins at a random
place of the global generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image

from pairuni_eval.models.lumina_dimoo.config import Shapes

if TYPE_CHECKING:
    from torch import Tensor

_RATIO = 4.0  # longer over shorter side, at most


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


@lru_cache
def crop_sizes(side: int, unit: int) -> tuple[Size, ...]:
    """Sizes in multiples of `unit` with no more area than a square of `side`, widest first.

    Of each width, every height from the largest of the next wider one to its own largest.
    """
    return tuple(_crop_sizes((side // unit) ** 2, unit))


def _crop_sizes(cells: int, unit: int) -> Iterator[Size]:
    lowest = 1
    for width in range(cells, 0, -1):
        for height in range(lowest, cells // width + 1):
            if max(width, height) <= _RATIO * min(width, height):
                yield Size(width * unit, height * unit)
        lowest = cells // width


def nearest_size(size: Size, sizes: tuple[Size, ...]) -> Size:
    """The size whose shape is most like a picture's; of two alike the larger."""

    def likeness(one: Size) -> float:
        shares = (one.width / size.width, one.height / size.height)
        return min(shares) / max(shares)

    return max(sizes, key=lambda one: (likeness(one), one))


def edit_size(size: Size, shapes: Shapes) -> Size:
    """What a source that is edited is brought to; its result has the same size."""
    return nearest_size(size, crop_sizes(shapes.small, shapes.unit))


def ask_size(size: Size, shapes: Shapes, *, several: bool, factor: int) -> Size:
    """What a picture is brought to that is asked about.

    Args:
        size: Its size.
        shapes: Of the checkpoint.
        several: Whether there are other pictures beside it.
        factor: Pixels of a side that one code stands for.
    """
    area = size.width * size.height
    if several or area < shapes.small**2:
        return nearest_size(size, crop_sizes(shapes.small, shapes.unit))
    if area > shapes.large**2:
        return nearest_size(size, crop_sizes(shapes.large, shapes.unit))
    return Size(size.width // factor * factor, size.height // factor * factor)


def cropped(image: Image.Image, size: Size) -> Image.Image:
    """The middle of a picture at a size: halved while twice as large, then scaled, then cut."""
    image = image.convert("RGB")
    while min(image.width / size.width, image.height / size.height) >= 2:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = max(size.width / image.width, size.height / image.height)
    whole = (round(image.width * scale), round(image.height * scale))
    image = image.resize(whole, Image.Resampling.BICUBIC)
    left, top = (whole[0] - size.width) // 2, (whole[1] - size.height) // 2
    return image.crop((left, top, left + size.width, top + size.height))


def to_pixels(image: Image.Image) -> Tensor:
    """An RGB picture as (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
