"""Pictures on their way in and out: sizes, patches, pixels.

A picture is scaled so that its longer side is at most `longest` and its shorter at least
`shortest`, both sides are rounded to whole strides (half to even), and scaled again where the area
or the longer side is still too large. The second factor is the share of the areas, not its root,
and the minimum is not guaranteed, as in the official code. What is transparent becomes white.

Legend: T tokens, P numbers of a patch.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pairuni_eval.models.bagel.config import ResizeRule

Size = tuple[int, int]  # width and height


def fitted(size: Size, rule: ResizeRule, *, pictures: int = 1) -> Size:
    """What a picture is brought to.

    Args:
        size: Its width and height.
        rule: Of the checkpoint.
        pictures: How many the request has, which share the area.
    """
    longer, shorter = max(size), min(size)
    scale = max(min(rule.longest / longer, 1.0), rule.shortest / shorter)
    found = _scaled(size, scale, rule.stride)
    area = found[0] * found[1]
    if area > rule.area / pictures:
        found = _scaled(found, rule.area / pictures / area, rule.stride)
    if max(found) > rule.longest:
        found = _scaled(found, rule.longest / max(found), rule.stride)
    return found


def _scaled(size: Size, scale: float, stride: int) -> Size:
    width, height = (max(stride, round(round(side * scale) / stride) * stride) for side in size)
    return width, height


def on_white(image: Image.Image) -> Image.Image:
    """A picture as RGB; what is transparent is white."""
    if image.mode == "RGBA" or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def resized(image: Image.Image, rule: ResizeRule, *, pictures: int = 1) -> Image.Image:
    """A picture at the size that the rule gives it."""
    return image.resize(fitted(image.size, rule, pictures=pictures), Image.Resampling.BICUBIC)


def to_pixels(image: Image.Image) -> Tensor:
    """An RGB picture as (3, H, W) in -1..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 * 2 - 1


def to_images(pixels_C3HW: Tensor) -> list[Image.Image]:
    """Decoded pixels as pictures: clamped, scaled, truncated."""
    eight = ((pixels_C3HW.float() / 2 + 0.5).clamp(0, 1) * 255).byte()
    return [Image.fromarray(one.permute(1, 2, 0).cpu().numpy()) for one in eight]


def patches(pixels: Tensor, side: int) -> Tensor:
    """Patches row by row, numbers in the order row, column, channel: (..., T, P).

    Args:
        pixels: (..., channels, H, W).
        side: Of a patch.
    """
    *before, height, width = pixels.shape
    # (..., channels, rows, side, columns, side)
    cut = pixels.reshape(*before, height // side, side, width // side, side)
    tokens: Tensor = cut.movedim(-5, -1).movedim(-4, -3).flatten(-3).flatten(-3, -2)
    return tokens


def unpatched(tokens: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """The other way: (..., channels, H, W) from patches of `grid` rows and columns."""
    # (..., rows, columns, side, side, channels)
    cut = tokens.reshape(*tokens.shape[:-2], *grid, side, side, -1)
    pixels: Tensor = cut.movedim(-1, -5).movedim(-2, -3).flatten(-4, -3).flatten(-2)
    return pixels


def places(grid: tuple[int, int], side: int) -> Tensor:
    """Rows of a position table of `side` columns, for a grid of rows and columns: (T,)."""
    rows, columns = grid
    return (torch.arange(rows)[:, None] * side + torch.arange(columns)).flatten()
