"""CLIP's image side up to normalized pixels, by the two rules in use.

`padded_square` (HPSv2): the *tensor* is scaled so that its longer side fits, bicubic, overshoot
kept, and put in the middle of a black square. `cropped_square` (OpenAI, OpenCLIP, transformers):
the *picture* is scaled in whole gray levels so that its shorter side fits, and the middle is cut
out.

Departures: every picture is made RGB first. HPSv2 keeps the alpha channel of an RGBA picture, which
its model then cannot take; OpenCLIP makes RGB after the resize, which differs for pictures with
alpha or a palette. HPSv2 does not pad a picture whose longer side is right already, so that only
the square one fits its model; here all are padded.

Source: tgxs002/HPSv2, `src/open_clip/transform.py`; mlfoundations/open_clip, `transform.py`;
huggingface/transformers 4.27, `models/clip/image_processing_clip.py`.

Legend: C channels (RGB), H height, W width, S side of the square.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

# Of OpenAI's training images, RGB in [0, 1]; every CLIP here kept them.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def padded_square(image: Image.Image, size: int) -> Tensor:
    """A picture by HPSv2's rule: pixels_CSS, float32, normalized.

    Args:
        image: Any mode, any size.
        size: Side of the square in pixels.

    Raises:
        ValueError: for a picture so narrow that nothing of it is left.
    """
    pixels_CHW = _unit_pixels(image)
    height, width = pixels_CHW.shape[1:]
    scale = size / max(height, width)
    if scale != 1.0:
        height, width = _fitting(image, round(height * scale), round(width * scale))
        pixels_CHW = functional.interpolate(
            pixels_CHW[None],
            size=(height, width),
            mode="bicubic",
            align_corners=False,
            antialias=True,
        )[0]
    left, top = (size - width) // 2, (size - height) // 2
    borders = (left, size - width - left, top, size - height - top)
    return _normalized(functional.pad(pixels_CHW, borders))


def cropped_square(
    image: Image.Image, size: int, *, middle: Literal["round", "floor"] = "round"
) -> Tensor:
    """A picture by CLIP's rule: pixels_CSS, float32, normalized.

    Args:
        image: Any mode, any size.
        size: Side of the square in pixels.
        middle: Where the cut begins when an odd number of pixels is left over: torchvision rounds
            half to even, transformers rounds down.

    Raises:
        ValueError: for a picture without pixels.
    """
    picture = _rgb(image)
    short = min(picture.size)
    if short != size:
        # whole pixels, rounded down, as torchvision and transformers do
        width, height = (size if side == short else size * side // short for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (_middle(side - size, middle) for side in picture.size)
    return _normalized(_unit_pixels(picture.crop((left, top, left + size, top + size))))


def _middle(rest: int, rule: Literal["round", "floor"]) -> int:
    return round(rest / 2) if rule == "round" else rest // 2


def _fitting(image: Image.Image, height: int, width: int) -> tuple[int, int]:
    if height == 0 or width == 0:
        raise ValueError(f"a picture of {image.width}x{image.height} pixels is too narrow to scale")
    return height, width


def _rgb(image: Image.Image) -> Image.Image:
    if 0 in image.size:
        raise ValueError(f"a picture of {image.width}x{image.height} pixels has no content")
    return image.convert("RGB")


def _unit_pixels(image: Image.Image) -> Tensor:
    """The RGB pixels_CHW in [0, 1], float32."""
    levels_HWC = torch.from_numpy(np.array(_rgb(image)))
    return levels_HWC.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def _normalized(pixels_CHW: Tensor) -> Tensor:
    mean_C11 = torch.tensor(MEAN).view(3, 1, 1)
    std_C11 = torch.tensor(STD).view(3, 1, 1)
    return (pixels_CHW - mean_C11) / std_C11
