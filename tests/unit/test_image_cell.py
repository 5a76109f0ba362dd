"""The image of a cell in every form, and what is said of other cells."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from support.pair_sources import picture

from pairuni_eval.data_folder import DataFolder
from pairuni_eval.errors import DatasetError
from pairuni_eval.image_cell import SeveralImagesError, encoded_image

PNG = picture("red", (4, 3))
TEXT = base64.b64encode(PNG).decode()
LINES = "\n".join(TEXT[start : start + 40] for start in range(0, len(TEXT), 40))
CUT = PNG[: len(PNG) // 2]


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), "blue").save(buffer, format="JPEG")
    return buffer.getvalue()


JPEG = jpeg()


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("a secret")
    return DataFolder(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("cell", "image"),
    [
        (PNG, PNG),
        (bytearray(PNG), PNG),
        ({"bytes": PNG, "path": None}, PNG),
        ({"bytes": PNG, "path": "../../elsewhere.png"}, PNG),  # only a name: the bytes count
        ({"bytes": PNG}, PNG),
        ({"bytes": None, "path": "images/a.png"}, PNG),
        ({"bytes": b"", "path": "images/a.png"}, PNG),
        ({"path": "images/a.png"}, PNG),
        ({"bytes": TEXT, "path": None}, PNG),
        ({"bytes": list(PNG)}, PNG),
        ("images/a.png", PNG),
        ("images\\a.png", PNG),
        (TEXT, PNG),
        (LINES, PNG),
        (TEXT.rstrip("="), PNG),
        (TEXT.encode(), PNG),
        (TEXT.replace("+", "-").replace("/", "_"), PNG),
        (base64.b64encode(JPEG).decode(), JPEG),  # begins with "/9j/", as a path might
        (f"data:image/png;base64,{TEXT}", PNG),
        (f"DATA:image/png;base64,{quote(TEXT)}", PNG),
        (f"data:image/png,{quote(PNG)}", PNG),
        ([PNG], PNG),
        ([{"bytes": PNG, "path": None}], PNG),
        ([TEXT], PNG),
        (["images/a.png"], PNG),
        (list(PNG), PNG),
        # Broken ones are handed on: the reader says what is wrong with them.
        (CUT, CUT),
        (b"<html>Not found</html>", b"<html>Not found</html>"),
        (base64.b64encode(CUT).decode(), CUT),
        # Empty ones.
        (None, b""),
        ("", b""),
        (b"", b""),
        ([], b""),
        ([None], b""),
        ({"bytes": None, "path": None}, b""),
        ({"bytes": b"", "path": ""}, b""),
    ],
)
def test_every_form_is_read(folder: DataFolder, cell: Any, image: bytes) -> None:
    assert encoded_image(cell, folder) == image


def test_base64_that_is_cut_off_is_an_image_that_is_cut_off(folder: DataFolder) -> None:
    cut = TEXT[: len(TEXT) // 2 + 1]
    assert PNG.startswith(encoded_image(cut, folder))


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ([PNG, PNG], "a list of 2 images; one is read"),
        ([{"bytes": PNG}] * 3, "a list of 3 images; one is read"),
        ([None, PNG], "a list of 2 cells; one image is read"),
        ([[PNG]], "a list of 1 images, which is not an image"),
        ([1, 2, 3], "a list of 3 numbers that are not an encoded image"),
        ([1, 2, 300], "a list of 3 numbers; one image is read"),
        ([0.5], "a number, which is not an image"),
        ([[0, 1], [1, 0]], "a list of 2 lists; one image is read"),
        (5, "a number, which is not an image"),
        (True, "a truth value, which is not an image"),
        ({"url": "x", "size": 3}, "a struct with the fields 'url', 'size'; {'bytes', 'path'} is"),
        ({}, "a struct with the fields none"),
        ({"bytes": 5}, "a struct whose 'bytes' is a number"),
        ({"path": ["a"]}, "a struct whose 'path' is a list of 1 images"),
        ({"path": "notes.txt"}, "the file 'notes.txt' is not an image"),
        ("notes.txt", "the file 'notes.txt' is not an image"),
        ("../secret.png", "'../secret.png' leads out of the dataset's folder"),
        ("https://example.org/a.png", "'https://example.org/a.png' is a URL; nothing is fetched"),
        ("A" * 5000, "a text of 5000 characters, too long for a path and no image in base64"),
        ("data:image/png;base64,???", "is a data: URL that cannot be decoded"),
        ("data:", "'data:' is a data: URL that cannot be decoded"),
    ],
)
def test_any_other_cell_says_what_was_found(folder: DataFolder, cell: Any, told: str) -> None:
    with pytest.raises(DatasetError) as refused:
        encoded_image(cell, folder)
    assert told in str(refused.value)


def test_several_images_are_told_apart_from_no_image(folder: DataFolder) -> None:
    with pytest.raises(SeveralImagesError):
        encoded_image([PNG, {"bytes": PNG}], folder)
