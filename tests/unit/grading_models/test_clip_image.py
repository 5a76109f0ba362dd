"""CLIP's pixels, against numbers by hand, a bicubic filter written out, and Pillow's own."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pairuni_eval.grading_models.clip_image import cropped_square, padded_square

Array = npt.NDArray[np.float64]
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


def normalized(pixels_HWC: npt.ArrayLike) -> Array:
    return np.transpose((np.asarray(pixels_HWC, dtype=np.float64) - MEAN) / STD, (2, 0, 1))


def photograph(data: bytes, width: int, height: int) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB").resize((width, height))


def cubic(x: Array, a: float) -> Array:
    """Keys' kernel: (a+2)|x|^3 - (a+3)|x|^2 + 1 up to 1, a|x|^3 - 5a|x|^2 + 8a|x| - 4a up to 2."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def wide_filter(old: int, new: int) -> Array:
    """Rows of weights (new, old): the kernel with a = -0.5, as wide as an output pixel is."""
    step = old / new
    width = max(step, 1.0)
    center = (np.arange(new)[:, None] + 0.5) * step
    place = np.arange(old)[None, :] + 0.5
    # The window is cut at whole pixels before it is normalized.
    first, last = np.floor(center - 2 * width + 0.5), np.floor(center + 2 * width + 0.5)
    inside = (place - 0.5 >= first) & (place - 0.5 < last)
    weights = np.where(inside, cubic((place - center) / width, -0.5), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def official(image: Image.Image, size: int) -> Array:
    """HPSv2's rule in float64: scale by size / longest side, pad with black to the middle."""
    pixels = np.asarray(image, dtype=np.float64) / 255
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    if scale != 1.0:
        rows = wide_filter(height, round(height * scale))
        columns = wide_filter(width, round(width * scale))
        pixels = np.einsum("ih,hwc,jw->ijc", rows, pixels, columns, optimize=True)
    square = np.zeros((size, size, 3))
    top, left = (size - pixels.shape[0]) // 2, (size - pixels.shape[1]) // 2
    square[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return normalized(square)


SIZES = [(300, 200), (200, 301), (64, 64), (96, 64), (40, 17), (31, 50), (23, 23), (511, 20)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_padded_square_equals_the_filter_written_out(
    photographs: dict[str, bytes], width: int, height: int
) -> None:
    image = photograph(photographs["astronaut.png"], width, height)

    ours = padded_square(image, 64).numpy()

    assert ours.shape == (3, 64, 64)
    assert ours.dtype == np.float32
    # torch computes places and weights in float32; an error in the rule shows from 1e-2 on.
    np.testing.assert_allclose(ours, official(image, 64), atol=5e-5, rtol=0)


# Recorded from HPSv2's own transform (hpsv2 1.2.0 on torchvision 0.29.2), side 64: the pixels at
# (channel, row, column) and the sum of all.
PLACES = ([0, 1, 2, 0, 1], [20, 32, 40, 50, 12], [10, 33, 60, 5, 44])
RECORDED = {
    "astronaut.png": ([0.8552261, -0.1983745, -1.4802198, 1.6183443, 1.1185651], 5.29264),
    "chelsea.png": ([0.4943333, 0.2763911, 0.7481485, 0.5431809, -0.1669773], -6649.08899),
    "coffee.png": ([0.5280672, -0.7608833, -0.9415885, 1.5777214, -0.2495885], -8652.22178),
}


@pytest.mark.parametrize("name", RECORDED)
def test_padded_square_equals_what_the_official_code_gave(
    photographs: dict[str, bytes], name: str
) -> None:
    pixels = padded_square(Image.open(io.BytesIO(photographs[name])), 64).numpy()

    chosen, total = RECORDED[name]
    np.testing.assert_allclose(pixels[PLACES], chosen, atol=1e-6, rtol=0)
    assert pixels.sum(dtype=np.float64) == pytest.approx(total, abs=1e-3)


WHITE = ((1 - MEAN) / STD).tolist()
BLACK = (-MEAN / STD).tolist()


@pytest.mark.parametrize(
    ("width", "height", "white_rows", "white_columns"),
    [
        (8, 4, [1, 2], [0, 1, 2, 3]),
        (8, 6, [0, 1, 2], [0, 1, 2, 3]),  # three rows: none above, one below
        (4, 8, [0, 1, 2, 3], [1, 2]),
        (8, 5, [1, 2], [0, 1, 2, 3]),  # 2.5 rows are 2: half to even
        (4, 2, [1, 2], [0, 1, 2, 3]),  # the right length already: padded all the same
        (2, 2, [0, 1, 2, 3], [0, 1, 2, 3]),
    ],
)
def test_black_borders_are_where_they_belong(
    width: int, height: int, white_rows: list[int], white_columns: list[int]
) -> None:
    pixels = padded_square(Image.new("RGB", (width, height), "white"), 4).numpy()

    for row in range(4):
        for column in range(4):
            white = row in white_rows and column in white_columns
            expected = WHITE if white else BLACK
            np.testing.assert_allclose(pixels[:, row, column], expected, atol=1e-6)


def columns(width: int, height: int) -> Image.Image:
    """A picture whose gray level is its column."""
    return Image.fromarray(np.tile(np.arange(width, dtype=np.uint8), (height, 1))).convert("RGB")


@pytest.mark.parametrize(
    ("width", "middle", "first"),
    [(4, "round", 0), (5, "round", 0), (6, "round", 1), (7, "round", 2), (7, "floor", 1)],
)
def test_where_the_cut_begins(width: int, middle: str, first: int) -> None:
    pixels = cropped_square(columns(width, 4), 4, middle=middle).numpy()  # type: ignore[arg-type]

    levels = (pixels[0, 0] * STD[0] + MEAN[0]) * 255
    np.testing.assert_allclose(levels, [first, first + 1, first + 2, first + 3], atol=1e-4)


@pytest.mark.parametrize(
    ("width", "height", "scaled"),
    [(300, 200, (96, 64)), (200, 301, (64, 96)), (64, 90, (64, 90)), (33, 99, (64, 192))],
)
def test_cropped_square_is_pillow_s_bicubic_and_a_cut(
    photographs: dict[str, bytes], width: int, height: int, scaled: tuple[int, int]
) -> None:
    image = photograph(photographs["coffee.png"], width, height)
    resized = image.resize(scaled, Image.Resampling.BICUBIC)
    left, top = ((side - 64) // 2 for side in scaled)
    cut = np.asarray(resized)[top : top + 64, left : left + 64] / 255

    ours = cropped_square(image, 64).numpy()

    np.testing.assert_allclose(ours, normalized(cut), atol=1e-6, rtol=0)


@pytest.mark.parametrize("square", [padded_square, cropped_square])
@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_any_mode_is_made_rgb_first(
    photographs: dict[str, bytes], square: object, mode: str
) -> None:
    image = photograph(photographs["chelsea.png"], 50, 40).convert(mode)
    assert callable(square)

    assert square(image, 32).equal(square(image.convert("RGB"), 32))


def test_a_picture_without_pixels_or_too_narrow_is_a_value_error() -> None:
    for square in (padded_square, cropped_square):
        with pytest.raises(ValueError, match="0x0 pixels has no content"):
            square(Image.new("RGB", (0, 0)), 32)
    with pytest.raises(ValueError, match="1x1000 pixels is too narrow"):
        padded_square(Image.new("RGB", (1, 1000)), 32)
