"""Reading images: orientation, depth, and what is refused."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairuni_eval.errors import DatasetError
from pairuni_eval.pictures import is_image, read_rgb, upright_size

# 3 wide, 2 high, every pixel another: what a viewer shows of it by orientation, row by row.
STORED = np.array([[0, 40, 80], [120, 160, 200]], dtype=np.uint8)
SHOWN = {
    1: [[0, 40, 80], [120, 160, 200]],
    2: [[80, 40, 0], [200, 160, 120]],
    3: [[200, 160, 120], [80, 40, 0]],
    4: [[120, 160, 200], [0, 40, 80]],
    5: [[0, 120], [40, 160], [80, 200]],
    6: [[120, 0], [160, 40], [200, 80]],
    7: [[200, 80], [160, 40], [120, 0]],
    8: [[80, 200], [40, 160], [0, 120]],
}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def values(data: bytes) -> list[list[int]]:
    """One channel of what is read, row by row."""
    image = read_rgb(io.BytesIO(data), DatasetError)
    assert image.mode == "RGB"
    return np.asarray(image)[:, :, 0].tolist()  # type: ignore[no-any-return]


LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("orientation", SHOWN)
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    image = Image.fromarray(STORED).convert("RGB")
    data = encoded(image, kind, exif=exif(orientation), **LOSSLESS[kind])
    assert values(data) == SHOWN[orientation]


@pytest.mark.parametrize("orientation", SHOWN)
def test_orientation_of_jpeg(orientation: int) -> None:
    big = Image.fromarray(STORED.repeat(16, 0).repeat(16, 1)).convert("RGB")  # a pixel is a block
    data = encoded(big, "JPEG", quality=100, exif=exif(orientation))
    image = read_rgb(io.BytesIO(data), DatasetError)
    assert np.asarray(image)[8::16, 8::16, 0] == pytest.approx(np.array(SHOWN[orientation]), abs=2)
    assert upright_size(Image.open(io.BytesIO(data))) == image.size


def test_what_was_turned_is_not_turned_again() -> None:
    data = encoded(Image.fromarray(STORED).convert("RGB"), "PNG", exif=exif(6))
    once = read_rgb(io.BytesIO(data), DatasetError)
    assert once.getexif().get(0x0112) is None
    assert values(encoded(once, "PNG")) == SHOWN[6]


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\0",
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"II*\0\xff\xff\xff\xff",
        exif(6)[:-7],
        exif(0),
        exif(99),
        exif(6).replace(b"\x01\x12\0\x03", b"\x01\x12\0\x02"),  # the tag as a text
        b"Exif\0\0MM\0*" + struct.pack(">IHHHI", 8, 1, 0x0112, 7, 2**31) + b"\xff" * 8,
    ],
)
def test_a_broken_block_is_no_orientation(block: bytes) -> None:
    image = Image.fromarray(STORED).convert("RGB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow says that the block is broken
        assert values(encoded(image, "PNG", exif=block)) == SHOWN[1]


def test_blocks_of_chance_never_raise() -> None:
    rng = np.random.default_rng(3)
    image = Image.fromarray(STORED).convert("RGB")
    whole = exif(6)
    for _ in range(200):
        block = bytearray(whole)
        for _ in range(3):
            block[rng.integers(len(block))] = rng.integers(256)
        for kind in ("PNG", "WEBP"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = encoded(image, kind, exif=bytes(block))
                read_rgb(io.BytesIO(data), DatasetError)


DEEP = np.array([[0, 255, 256, 7 * 256 + 255], [156 * 256, 40_000, 65_280, 65_535]])
HIGH = [[0, 0, 1, 7], [156, 156, 255, 255]]


@pytest.mark.parametrize(
    ("kind", "order"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<u2")]
)
def test_sixteen_bits_give_their_high_byte(kind: str, order: str) -> None:
    mode = "I;16B" if order == ">u2" else "I;16"
    image = Image.frombytes(mode, (4, 2), DEEP.astype(order).tobytes())
    assert values(encoded(image, kind)) == HIGH


def test_a_dark_picture_of_sixteen_bits_stays_dark() -> None:
    image = Image.fromarray(np.full((2, 3), 255, dtype=np.uint16))
    for kind in ("PNG", "TIFF", "PPM"):
        assert values(encoded(image, kind)) == [[0] * 3] * 2


def test_sixteen_bit_color_png() -> None:
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    row = b"\0" + struct.pack(">6H", 0x1234, 0, 0, 0xFF00, 0, 0)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row))
    assert values(data + chunk(b"IEND", b"")) == [[0x12, 0xFF]]


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        ([[0, 7], [156, 255]], [[0, 7], [156, 255]]),
        ([[0, 256], [40_000, 65_535]], [[0, 1], [156, 255]]),
    ],
)
def test_whole_numbers_of_32_bits_are_what_they_fit_into(
    cells: list[list[int]], shown: list[list[int]]
) -> None:
    assert values(encoded(Image.fromarray(np.array(cells, dtype=np.int32)), "TIFF")) == shown


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        ([[0.0, 0.5], [0.25, 1.0]], [[0, 128], [64, 255]]),
        ([[0.0, 100.0], [156.4, 255.0]], [[0, 100], [156, 255]]),
    ],
)
def test_floats_are_scaled(cells: list[list[float]], shown: list[list[int]]) -> None:
    assert values(encoded(Image.fromarray(np.array(cells, dtype=np.float32)), "TIFF")) == shown


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (np.array([[-1, 5]], dtype=np.int32), "values from -1 to 5; of whole numbers"),
        (np.array([[0, 70_000]], dtype=np.int32), "values from 0 to 70000; of whole numbers"),
        (np.array([[-0.5, 1]], dtype=np.float32), "values from -0.5 to 1; of floats"),
        (np.array([[0, 1000]], dtype=np.float32), "values from 0 to 1000; of floats"),
        (np.array([[0, np.nan]], dtype=np.float32), "some of its values are not finite"),
        (np.array([[0, np.inf]], dtype=np.float32), "some of its values are not finite"),
    ],
)
def test_values_without_a_scale_are_refused(cells: Any, told: str) -> None:
    with pytest.raises(DatasetError, match=told):
        values(encoded(Image.fromarray(cells), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_are_converted_as_pillow_does(mode: str) -> None:
    image = Image.fromarray(STORED).convert("RGB").convert(mode)
    data = encoded(image, "TIFF" if mode in ("CMYK", "YCbCr", "PA") else "PNG")
    with Image.open(io.BytesIO(data)) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert (np.asarray(read_rgb(io.BytesIO(data), DatasetError)) == expected).all()


def test_a_format_that_runs_a_program_is_no_image(tmp_path: Path) -> None:
    data = encoded(Image.new("RGB", (4, 4)), "EPS")
    assert not is_image(data)
    with pytest.raises(DatasetError):
        read_rgb(io.BytesIO(data), DatasetError)


def test_images_are_known_by_their_beginning() -> None:
    image = Image.new("RGB", (4, 4))
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO"):
        assert is_image(encoded(image, kind)), kind
    for data in (b"", b"BMW is a car", b"P5 is an adapter", b"root:x:0:0", b"{}", b"\0" * 100):
        assert not is_image(data), data


@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_upright_size_is_that_of_the_picture_in_every_format(
    kind: str, orientation: int
) -> None:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.new("RGB", (12, 5)).save(stream, kind, exif=exif)
    with Image.open(stream) as opened:
        assert upright_size(opened) == ((5, 12) if orientation > 4 else (12, 5))
        opened.load()
        assert upright_size(opened) == ((5, 12) if orientation > 4 else (12, 5))
    assert read_rgb(stream, DatasetError).size == ((5, 12) if orientation > 4 else (12, 5))
