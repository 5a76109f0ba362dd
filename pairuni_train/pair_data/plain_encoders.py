"""Encoders without weights: what a picture looks like, not what it shows.

    pixels   the picture shrunk to 16 x 16, without its mean color: where it is light and dark
    colors   how much of the picture has which color, without its commonest one (the ground)

They need no download and no extra, so that encoders can be compared on a laptop; for real pictures
they are a floor, not a choice.

Shapes: B images, H x W pixels, D features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pairuni_train.pair_data.encoders import FloatArray, Identity, WeightlessEncoder

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE, _LEVELS = 16, 4


class PixelEncoder(WeightlessEncoder):
    """See the module docstring. The cosine of two pictures is the correlation of their pixels."""

    identity = Identity(name="pixels", weights="pixels/1", preprocessing="16 x 16 box, centered")

    def prepare(self, image: Image) -> FloatArray:
        """To 16 x 16, averaged, whatever the shape; values in [0, 1]."""
        from PIL.Image import Resampling

        small = image.resize((_SIDE, _SIDE), Resampling.BOX)
        return np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)

    def encode(self, pixels_BCHW: FloatArray) -> FloatArray:
        """Values less each channel's mean, (B, 768)."""
        centered: FloatArray = pixels_BCHW - pixels_BCHW.mean(axis=(2, 3), keepdims=True)
        return centered.reshape(len(centered), -1)


class ColorEncoder(WeightlessEncoder):
    """See the module docstring. 4 x 4 x 4 equal bins of red, green and blue."""

    identity = Identity(name="colors", weights="colors/1", preprocessing="64 bins, at most 64 px")

    def prepare(self, image: Image) -> FloatArray:
        """Shares of the 64 bins as (64, 1, 1), the commonest one set to 0."""
        small = image.copy()
        small.thumbnail((64, 64))
        levels = np.asarray(small, dtype=np.int64) * _LEVELS // 256
        bins = (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]
        shares = np.bincount(bins.ravel(), minlength=_LEVELS**3) / bins.size
        shares[shares.argmax()] = 0.0
        return shares.astype(np.float32)[:, None, None]

    def encode(self, pixels_BCHW: FloatArray) -> FloatArray:
        """The shares, (B, 64)."""
        return pixels_BCHW.reshape(len(pixels_BCHW), -1)
