"""The image in a cell of a dataset's row, in every form that people's files have.

Read: encoded bytes; a struct {"bytes", "path"} or with one of the two, bytes before path; text that
is base64 or a `data:` URL; a list of the bytes' numbers; a path inside the dataset's folder; and a
list of one of these. Which form it is is decided by what it holds: base64 and numbers must begin as
an encoded image does, and a file that a path leads to is taken only if it is an image, so that no
other file gets into a run. An empty cell is an empty image. Anything else is a DatasetError that
says what was found. Encoded bytes are handed on as they are, sound or broken.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from pairuni_eval.data_folder import DataFolder, quoted
from pairuni_eval.errors import DatasetError
from pairuni_eval.pictures import is_image

_FIELDS = ("bytes", "path")  # of a struct, the first that is not empty counts
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_SPACE = re.compile(r"\s+")
_HEAD = 64  # characters of base64 that show whether the rest is worth decoding


class SeveralImagesError(DatasetError):
    """The cell holds more than one image."""


def encoded_image(cell: Any, folder: DataFolder) -> bytes:
    """The encoded image of a cell, empty if there is none.

    Args:
        cell: As Parquet or JSON gives it.
        folder: Where paths are looked for.

    Raises:
        SeveralImagesError: for a list of several.
        DatasetError: naming what was found, for a cell of another form.
    """
    if isinstance(cell, Sequence) and not isinstance(cell, str | bytes | bytearray | memoryview):
        return _of_list(cell, folder)
    return _of_one(cell, folder)


def image_file(name: str, folder: DataFolder) -> bytes:
    """The image file that a row names.

    Raises:
        DatasetError: as `DataFolder.read`, and if the file is not an image.
    """
    data = folder.read(name)
    if not is_image(data):
        raise DatasetError(f"the file {quoted(name)} is not an image")
    return data


def _of_one(cell: Any, folder: DataFolder) -> bytes:
    if isinstance(cell, Mapping):
        return _of_struct(cell, folder)
    if cell is None:
        return b""
    if isinstance(cell, bytes | bytearray | memoryview):
        return _of_bytes(bytes(cell))
    if isinstance(cell, str):
        return _of_text(cell, folder)
    raise DatasetError(f"{_named(cell)}, which is not an image")


def _of_list(cell: Sequence[Any], folder: DataFolder) -> bytes:
    numbers = _bytes_of(cell)
    if numbers is not None:
        if is_image(numbers):
            return numbers
        raise DatasetError(f"a list of {len(cell)} numbers that are not an encoded image")
    if len(cell) > 1:
        what = {_kind(one) for one in cell}
        words = what.pop() if len(what) == 1 else "cells"
        if words == "images":
            raise SeveralImagesError(f"a list of {len(cell)} images; one is read")
        raise DatasetError(f"a list of {len(cell)} {words}; one image is read")
    return _of_one(cell[0], folder) if cell else b""


def _of_struct(cell: Mapping[Any, Any], folder: DataFolder) -> bytes:
    known = [name for name in _FIELDS if name in cell]
    if not known:
        fields = ", ".join(quoted(str(name)) for name in list(cell)[:6]) or "none"
        raise DatasetError(f"a struct with the fields {fields}; {{'bytes', 'path'}} is read")
    for name in known:
        value = cell[name]
        if value is None or (isinstance(value, Sequence) and not value):
            continue
        numbers = _bytes_of(value) if isinstance(value, list | tuple) else None
        if numbers is not None:
            return _of_list(value, folder)
        if isinstance(value, str | bytes | bytearray | memoryview):
            return _of_one(value, folder)
        raise DatasetError(f"a struct whose '{name}' is {_named(value)}")
    return b""


def _of_bytes(data: bytes) -> bytes:
    """Bytes as they are, unless they spell an image in base64."""
    if is_image(data) or not data[:_HEAD].isascii():
        return data
    return _from_base64(data.decode("ascii", "replace")) or data


def _of_text(text: str, folder: DataFolder) -> bytes:
    if not text:
        return b""
    if text[:5].lower() == "data:":
        return _of_data_url(text)
    image = _from_base64(text)
    return image_file(text, folder) if image is None else image


def _of_data_url(text: str) -> bytes:
    head, comma, body = text.partition(",")
    if comma and head.lower().endswith(";base64"):
        data = _decoded(unquote_to_bytes(body).decode("ascii", "replace"))
    else:
        data = unquote_to_bytes(body) if comma else None
    if not data:
        raise DatasetError(f"{quoted(text)} is a data: URL that cannot be decoded")
    return data


def _from_base64(text: str) -> bytes | None:
    """The image that a text spells in base64; None if it spells none."""
    head = _decoded(text[: 2 * _HEAD])
    if head is None:
        return None
    data = _decoded(text)
    return data if data is not None and is_image(data) else None


def _decoded(text: str) -> bytes | None:
    """A text in base64, either alphabet, with or without padding and line ends."""
    plain = _SPACE.sub("", text)
    if _BASE64.fullmatch(plain) is None:
        return None
    plain = plain.rstrip("=").replace("-", "+").replace("_", "/")
    if len(plain) % 4 == 1:  # cut off within a byte
        plain = plain[:-1]
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _bytes_of(cell: Sequence[Any]) -> bytes | None:
    """A list of whole numbers as bytes; None if it holds anything else."""
    if not cell or not all(type(one) is int and 0 <= one < 256 for one in cell):
        return None
    return bytes(cell)


def _kind(cell: Any) -> str:
    """What a list holds, in the plural."""
    if isinstance(cell, bytes | str | Mapping):
        return "images"
    if isinstance(cell, bool | int | float):
        return "numbers"
    return "lists" if isinstance(cell, list | tuple) else "cells"


def _named(cell: Any) -> str:
    """A cell that can be no image, in words."""
    if isinstance(cell, bool):
        return "a truth value"
    if isinstance(cell, int | float):
        return "a number"
    if isinstance(cell, Sequence):
        return f"a list of {len(cell)} {_kind(cell[0]) if cell else 'cells'}"
    return f"a {type(cell).__name__}"
