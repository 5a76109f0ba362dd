"""OpenCV's bilinear scaling of 8-bit pictures, to the last bit, without OpenCV.

mmdet scales pictures with `cv2.resize(..., INTER_LINEAR)`. For 8 bits that is integer arithmetic: a
pixel sits at its center, reads its two neighbors without any low-pass filter (so shrinking
aliases, unlike Pillow's and torchvision's antialiased scaling), and weights are rounded to 1/2048.
`torch.nn.functional.interpolate(mode="bilinear", align_corners=False, antialias=False)` gives the
same up to one gray level in one pixel of eight; this module gives the same. Compared with OpenCV
5.0.0 on sizes from 1 to 2000 pixels, up and down.

Shapes: C channels, H height and W width before, Y height and X width after.

Source of the arithmetic: opencv/opencv, `modules/imgproc/src/resize.cpp`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_ONE = 1 << 11  # weights are in 2048ths


class _Taps(NamedTuple):
    """For each place after scaling: the two places it reads, and their integer weights."""

    low: Tensor
    high: Tensor
    low_weight: Tensor
    high_weight: Tensor


def resize_bilinear(x_CHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale a uint8 picture (C, H, W) to `size` = (Y, X) as OpenCV does; uint8 (C, Y, X)."""
    height, width = size
    low, high, low_weight, high_weight = _taps(
        x_CHW.shape[2], width, x_CHW.device, edge_is_whole=True
    )
    x_CHW = x_CHW.int()
    sums_CHX = x_CHW.index_select(2, low) * low_weight + x_CHW.index_select(2, high) * high_weight
    low, high, low_weight, high_weight = _taps(
        x_CHW.shape[1], height, x_CHW.device, edge_is_whole=False
    )
    sums_CHX >>= 4  # OpenCV drops bits in three places: here, and twice below
    above_CYX = (sums_CHX.index_select(1, low) * low_weight[:, None]) >> 16
    below_CYX = (sums_CHX.index_select(1, high) * high_weight[:, None]) >> 16
    return ((above_CYX + below_CYX + 2) >> 2).to(torch.uint8)


def _taps(before: int, after: int, device: torch.device, *, edge_is_whole: bool) -> _Taps:
    """The taps of one axis.

    At a border both taps are the border pixel. Across columns OpenCV then gives it the whole
    weight; across rows it keeps the two parts, whose bits are dropped one by one.
    """
    step = before / after
    centers = torch.arange(after, dtype=torch.float64, device=device) + 0.5
    places = (centers * step - 0.5).float()
    low = places.floor()
    share = places - low
    if edge_is_whole:
        inside = (low >= 0) & (low < before - 1)
        share = torch.where(inside, share, torch.zeros_like(share))
    index = low.long()
    return _Taps(
        index.clamp(0, before - 1),
        (index + 1).clamp(0, before - 1),
        ((1 - share) * _ONE).round().int(),
        (share * _ONE).round().int(),
    )
