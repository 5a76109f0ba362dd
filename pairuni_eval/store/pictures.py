"""The pictures of a run folder: written under the hash that names them, compared with it when read.

A picture is written under a temporary name and renamed to its id once it is on the disk. One that
lies there already is kept only if it is the same, byte for byte. Reading compares what lies there
with the id; one that is gone or changed is a reason on the row that needs it, never a picture. The
id of a picture that was made here is the hash of its pixels, so comparing means decoding it; the
hash of its file, which COMPLETE keeps, spares that. No picture is compared twice in one process.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from pairuni_eval.errors import DatasetError, writing
from pairuni_eval.records import Picture, is_picture
from pairuni_eval.store import layout
from pairuni_eval.store.disk import wait_for_disk
from pairuni_eval.store.write import partial_name

if TYPE_CHECKING:
    from PIL import Image

MISSING = "the picture is missing from the run folder"
CHANGED = "the picture is changed since it was stored"
TROUBLES = (MISSING, CHANGED)
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class Pictures:
    """The pictures of one run folder.

    `add` writes a picture under a temporary name; `settle` waits until all of them are on the disk
    and gives them their names. As a context it settles at the end; after a failure the temporary
    files are left to `clear_temporaries`.

    Args:
        run: The run folder.
        digests: SHA-256 of the file of a picture by its id, where the two differ and it is known.
    """

    def __init__(self, run: Path, digests: Mapping[str, str] | None = None) -> None:
        self._run = run
        self._digests = digests or {}
        self._whole: dict[str, str] = {}  # with the hash of the file
        self._troubles: dict[str, str] = {}
        self._written: list[_Written] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is None:
            self.settle()

    def add(self, picture: Picture) -> str:
        """Write a picture unless it is there already; returns its id."""
        if picture.id in self._whole:
            return picture.id
        self._whole[picture.id] = picture.digest
        self._troubles.pop(picture.id, None)
        path = str(layout.image_path(self._run, picture.id))
        if not _holds(path, picture.data):
            partial = partial_name(path)
            with writing(path):
                _write_new(partial, picture.data)
            self._written.append(_Written(partial, path))
        return picture.id

    def settle(self) -> None:
        """Let the pictures appear under their names once they are on the disk."""
        with writing(str(self._run / layout.IMAGES)):
            wait_for_disk([one.partial for one in self._written])
            for one in self._written:
                os.replace(one.partial, one.path)  # noqa: PTH105
        self._written.clear()

    def trouble(self, image: str) -> str | None:
        """Why a picture cannot be used, or None: `MISSING`, `CHANGED`, or what the system says."""
        if image not in self._whole and image not in self._troubles:
            self._read(image)
        return self._troubles.get(image)

    def data(self, image: str) -> bytes:
        """The encoded bytes of a picture.

        Raises:
            DatasetError: if it is missing or changed.
        """
        data = b"" if image in self._troubles else self._read(image)
        if image in self._troubles:
            raise DatasetError(self._troubles[image])
        return data

    def load(self, image: str) -> Image.Image:
        """A picture as RGB.

        Raises:
            DatasetError: if it is missing, changed, empty, truncated or no image at all.
        """
        from pairuni_eval.pictures import read_rgb

        data = self.data(image)
        if not data:
            raise DatasetError("the image is missing from the dataset row")
        return read_rgb(io.BytesIO(data), DatasetError)

    @property
    def changed(self) -> int:
        """How many of the pictures looked at so far are not what was stored."""
        return sum(trouble == CHANGED for trouble in self._troubles.values())

    def digests(self, images: Iterable[str]) -> dict[str, str]:
        """SHA-256 of the file of each of these pictures that is whole and named otherwise."""
        found = {image: self._whole[image] for image in sorted(set(images)) if image in self._whole}
        return {image: digest for image, digest in found.items() if digest != image}

    def _read(self, image: str) -> bytes:
        """Read a picture, and compare it with its id unless that was done."""
        try:
            data = layout.image_path(self._run, image).read_bytes()
        except OSError as failure:
            self._whole.pop(image, None)
            absent = isinstance(failure, _ABSENT)
            self._troubles[image] = MISSING if absent else f"the picture: {failure.strerror}"
            return b""
        if image not in self._whole:
            self._compare(image, data)
        return data

    def _compare(self, image: str, data: bytes) -> None:
        digest, expected = hashlib.sha256(data).hexdigest(), self._digests.get(image)
        if digest == (expected or image) or (expected is None and is_picture(data, image)):
            self._whole[image] = digest
        else:
            self._troubles[image] = CHANGED


class _Written(NamedTuple):
    """A file that is written whole, and the name it is to have."""

    partial: str
    path: str


def _holds(path: str, data: bytes) -> bool:
    """Whether a file has this content."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - strings: this is done for every row
            return stream.read() == data
    except FileNotFoundError:
        return False


def _write_new(path: str, data: bytes) -> None:
    """Write a file, and make its folder if there is none yet."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        handle = os.open(path, flags, 0o666)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, flags, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
    finally:
        os.close(handle)
