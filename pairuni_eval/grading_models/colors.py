"""Colors of objects, asked of CLIP as GenEval asks.

The object is painted over a gray ground (#999) where its mask is not, cut out at its box, and
compared with "a photo of a red car", "a photo of a red-colored car" and "a photo of a red object"
for each of ten colors: per color the mean of the three text directions, and the color with the
largest cosine wins.

Departures: float32, where the official script runs under autocast in half precision; and objects of
many pictures share a batch.

Source: djghosh13/geneval@af4902f24d3c, `evaluation/evaluate_images.py`; LAION-AI/CLIP_benchmark
v1.4.0, `metrics/zeroshot_classification.py`.

Shapes: N objects, C colors, T templates, D size of CLIP's space, P pixels of a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pairuni_eval.errors import JudgeError
from pairuni_eval.finite import is_finite
from pairuni_eval.grading_models import clip_text
from pairuni_eval.grading_models.clip import ClipTowers
from pairuni_eval.grading_models.clip_image import cropped_square
from pairuni_eval.scorers.objects import COLORS

GROUND = "#999"
Box = Sequence[float] | npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


class CutOutObject(NamedTuple):
    """An object whose color is wanted.

    Attributes:
        name: Its class, as the sentences say it.
        pixels_3PP: Its cut-out as CLIP takes it, see `ColorNamer.pixels`.
    """

    name: str
    pixels_3PP: Tensor


def templates(name: str) -> tuple[str, str, str]:
    """The three sentences about an object of a class; `{c}` is the place of the color."""
    return (
        f"a photo of a {{c}} {name}",
        f"a photo of a {{c}}-colored {name}",
        "a photo of a {c} object",
    )


def cut_out(
    picture: Image.Image,
    box: Box,
    mask: Mask | None,
    *,
    ground: str = GROUND,
    cropped: bool = True,
) -> Image.Image:
    """An object alone: what is not of it painted over, and cut out at its box.

    Args:
        picture: Of any mode; it is made RGB.
        box: x0, y0, x1, y1, the right and lower border outside.
        mask: (height, width) of the picture; None paints nothing over.
        ground: Color of the paint, or "original" for no paint.
        cropped: False keeps the size of the picture.
    """
    picture = picture.convert("RGB")
    if mask is not None:
        assert mask.shape == picture.size[::-1], "the mask is not of this picture"
        if ground != "original":
            blank = Image.new("RGB", picture.size, color=ground)
            picture = Image.composite(picture, blank, Image.fromarray(mask))
    left, top, right, bottom = (float(side) for side in box[:4])
    return picture.crop((left, top, right, bottom)) if cropped else picture


def color_directions(text_CTD: Tensor) -> Tensor:
    """The direction of each color, (D, C): text features made unit, averaged, made unit again."""
    mean_CD: Tensor = functional.normalize(text_CTD, dim=-1).mean(dim=1)
    direction_CD: Tensor = mean_CD / mean_CD.norm(dim=-1, keepdim=True)
    return direction_CD.T


def color_logits(image_ND: Tensor, directions_DC: Tensor) -> Tensor:
    """100 times the cosine of each image feature with each color, (N, C)."""
    logits_NC: Tensor = 100.0 * functional.normalize(image_ND, dim=-1) @ directions_DC
    return logits_NC


class ColorNamer:
    """Names the colors of objects with a loaded CLIP.

    Args:
        clip: OpenAI's ViT-L/14 for GenEval's numbers.
        batch_size: Cut-outs, or sentences, per forward.
    """

    def __init__(self, clip: ClipTowers, *, batch_size: int = 32) -> None:
        self._clip = clip
        self._batch_size = batch_size
        self._directions: dict[str, Tensor] = {}

    @classmethod
    def load(cls, files: Sequence[Path], *, device: str = "auto") -> Self:
        """Load CLIP from its files, see `ClipTowers.load`.

        The sentences are plain words, which both rules of cleaning texts leave alone, so the one
        that needs no ftfy is used.

        Raises:
            UserError: as `ClipTowers.load`.
        """
        return cls(ClipTowers.load(files, device=device, text_rule=clip_text.TRANSFORMERS))

    def pixels(self, cut: Image.Image) -> Tensor:
        """A cut-out as CLIP takes it: pixels_3PP, scaled and cropped by CLIP's own rule."""
        return cropped_square(cut, self._clip.image_size)

    def name(self, things: Sequence[CutOutObject]) -> list[str]:
        """The color of each object, one of `COLORS`, in order.

        Raises:
            JudgeError: if a feature is not finite: it would have some color all the same.
        """
        colors: list[str] = []
        for start in range(0, len(things), self._batch_size):
            batch = things[start : start + self._batch_size]
            image_ND = self._clip.image_features(torch.stack([thing.pixels_3PP for thing in batch]))
            for thing, image_D in zip(batch, image_ND, strict=True):
                logits_1C = color_logits(image_D[None], self._directions_of(thing.name))
                if not is_finite(logits_1C):
                    raise JudgeError(f"CLIP gave no finite numbers for a {thing.name}")
                colors.append(COLORS[int(logits_1C.argmax())])
        return colors

    def _directions_of(self, name: str) -> Tensor:
        if name not in self._directions:
            sentences = [line.format(c=color) for color in COLORS for line in templates(name)]
            text_SD = self._clip.text_features(sentences)
            text_CTD = text_SD.view(len(COLORS), -1, text_SD.shape[1])
            self._directions[name] = color_directions(text_CTD)
        return self._directions[name]
