"""The pictures of a report: how large a browser shows them, and whether they are whole."""

from __future__ import annotations

import io

import pytest
from PIL import Image, PngImagePlugin

from pairuni_eval.report.copied_images import _size

TURNED = 6  # the EXIF orientation of a picture that lies on its side


def encoded(kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 2), "red").save(stream, kind, **options)
    return stream.getvalue()


def turned() -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = TURNED
    return block


def late(png: bytes) -> bytes:
    """The same PNG with its EXIF behind the pixels."""
    start = png.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(png[start : start + 4], "big")
    return png[:start] + png[end:-12] + png[start:end] + png[-12:]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_on_its_side_is_measured_upright(kind: str) -> None:
    assert _size(encoded(kind)) == (4, 2)
    assert _size(encoded(kind, exif=turned())) == (2, 4)


def test_a_png_may_say_so_behind_its_pixels() -> None:
    assert _size(late(encoded(exif=turned()))) == (2, 4)


def test_words_inside_a_png_turn_nothing() -> None:
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", "eXIf, XML:com.adobe.xmp and Raw profile type exif")
    assert _size(encoded(pnginfo=words)) == (4, 2)


def test_a_png_that_is_cut_has_no_size() -> None:
    png = encoded()
    assert [_size(png[:length]) for length in (0, 20, len(png) - 20, len(png) - 5)] == [None] * 4
