"""Encoders without weights: what they see and what they do not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pairuni_eval.errors import UserError
from pairuni_eval.tiny.world import Scene, Thing, render
from pairuni_train.pair_data.config import EncoderSpec
from pairuni_train.pair_data.encoders import Encoder, load_encoder


def cosine(encoder: Encoder, one: Image.Image, two: Image.Image) -> float:
    a_D, b_D = encoder.encode(np.stack([encoder.prepare(one), encoder.prepare(two)]))
    return float(a_D @ b_D / np.sqrt((a_D @ a_D) * (b_D @ b_D)))


@pytest.fixture
def pixels() -> Encoder:
    return load_encoder(EncoderSpec(name="pixels"))


@pytest.fixture
def colors() -> Encoder:
    return load_encoder(EncoderSpec(name="colors"))


RED = Scene((Thing("square", "red", 0, 0),))
MOVED = Scene((Thing("square", "red", 3, 3),))
BLUE = Scene((Thing("square", "blue", 0, 0),))


def test_pixels_see_places_and_not_brightness(pixels: Encoder) -> None:
    assert cosine(pixels, render(RED), render(RED)) == pytest.approx(1.0)
    assert cosine(pixels, render(RED), render(MOVED)) < 0.2
    bright = Image.eval(render(RED), lambda value: value // 2 + 100)
    assert cosine(pixels, render(RED), bright) > 0.99
    features = pixels.encode(np.stack([pixels.prepare(render(RED))]))
    assert features.shape == (1, 768) and features.dtype == np.float32


def test_colors_see_colors_and_not_places(colors: Encoder) -> None:
    assert cosine(colors, render(RED), render(MOVED)) == pytest.approx(1.0)
    assert cosine(colors, render(RED), render(BLUE)) == pytest.approx(0.0)
    both = Scene((Thing("square", "red", 0, 0), Thing("square", "blue", 1, 1)))
    assert cosine(colors, render(RED), render(both)) == pytest.approx(0.5**0.5)
    features = colors.encode(np.stack([colors.prepare(render(both))]))
    assert features.shape == (1, 64)
    assert features.sum() == pytest.approx(2 * 36 / 1024), "the ground does not count"


@pytest.mark.parametrize("name", ["pixels", "colors"])
def test_any_size_goes_in_and_an_even_picture_has_no_features(name: str) -> None:
    encoder = load_encoder(EncoderSpec(name=name))
    wide = Image.new("RGB", (640, 48), "red")
    features = encoder.encode(np.stack([encoder.prepare(wide), encoder.prepare(render(RED))]))
    assert np.abs(features[0]).max() < 1e-6 < np.abs(features[1]).max()


@pytest.mark.parametrize("name", ["pixels", "colors"])
def test_a_checkpoint_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' has no checkpoint"):
        load_encoder(EncoderSpec(name=name, checkpoint="x"))
