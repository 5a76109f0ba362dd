"""The pictures that a report brings with it, each once.

Small ones stand inside the page; others are copied under their content id with an extension from
their first bytes. One that is lost, changed since it was stored, or broken is said to be so and is
not shown.
"""

from __future__ import annotations

import base64
import filecmp
import io
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from PIL import Image

from pairuni_eval.errors import DatasetError, writing
from pairuni_eval.pictures import upright_size
from pairuni_eval.store.layout import image_path
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.read import StoredRun

PICTURES = 6_000  # pictures per report
_SMALL = 160  # pixels: below this a picture is enlarged without smoothing
_PACKED = 4_096  # bytes: a small picture of at most as many stands inside the page,
_IN_PAGE = 6_000_000  # as long as all of them together have at most as many
FOLDER = "images"  # of a page, beside it
_COPIED = re.compile(r"[0-9a-f]{64}\.[a-z]{3,4}|sheet-.+\.png")  # what a page writes there
# What a PNG carries that says it lies on its side; Pillow decodes all of it to look behind the end.
_TURNING = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_SIGNATURE, _FRAME = 8, 12  # bytes before the first chunk of a PNG, and around the data of each
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
)


class CopiedImage(NamedTuple):
    """A picture of the report.

    Attributes:
        file: Its address: that of its file, or the picture itself; None where it is lost, changed
            or broken.
    """

    file: str | None
    width: int = 0
    height: int = 0
    alt: str = ""

    @property
    def small(self) -> bool:
        """Whether it is enlarged pixel by pixel."""
        return max(self.width, self.height) <= _SMALL

    @property
    def packed(self) -> bool:
        """Whether it stands inside the page, so that there is no file of it."""
        return self.file is not None and self.file.startswith("data:")


class PictureSource(Protocol):
    """A folder with pictures: a run, or a training that kept some of its rollouts."""

    @property
    def folder(self) -> Path:
        """Where `images/` lies."""
        ...

    @property
    def pictures(self) -> Pictures:
        """The pictures, each compared with its id before it is given out."""
        ...


class ImageCopier:
    """Brings pictures of runs into the report, each once: into the page or beside it.

    A picture is looked at when it is asked for, or ahead of that beside other work; its file is
    copied while the report goes on, and is there when the context ends. One that lies there already
    whole is not written again, so that a report that is built anew is quick.

    Args:
        out: The report's folder.
        at_most: How many pictures may be copied; any further one counts as left out.
    """

    def __init__(self, out: Path, *, at_most: int = PICTURES) -> None:
        self._folder = out / FOLDER
        self._shown: dict[str, CopiedImage] = {}
        self._lost: set[tuple[Path, str]] = set()
        self.at_most = self._room = at_most
        self._in_page = _IN_PAGE
        self._writer = ThreadPoolExecutor(max_workers=1)  # a disk gains nothing by a second one
        self._copies: list[Future[None]] = []
        self._lookers = ThreadPoolExecutor()
        self._ahead: dict[str, tuple[PictureSource, Future[_Looked | None]]] = {}

    def __enter__(self) -> Self:
        """Take pictures until the context ends."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until every file is written.

        Raises:
            UserError: if one cannot be.
        """
        self._lookers.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for copy in self._copies:
                copy.result()

    @property
    def full(self) -> bool:
        """Whether no further picture is copied."""
        return self._room <= 0

    @property
    def files(self) -> set[str]:
        """The names of the files that were copied."""
        shown = self._shown.values()
        return {Path(one.file).name for one in shown if one.file and not one.packed}

    def look_ahead(self, run: StoredRun) -> None:
        """Begin to look at the pictures that a run names, if all of them may be copied."""
        images = [image for image in run.named_pictures if image not in self._ahead]
        if len(images) <= self._room - len(self._ahead):
            self._ahead |= {image: (run, self._look(run, image)) for image in images}

    def bring(self, run: PictureSource, images: Iterable[str]) -> None:
        """Copy many pictures of a run: several are looked at side by side."""
        fresh = [one for one in dict.fromkeys(images) if self._wants(run, one)][: self._room]
        looks = [self._look(run, image) for image in fresh]
        for image, look in zip(fresh, looks, strict=True):
            self._take(run, image, look.result())

    def show(self, run: PictureSource, image: str, alt: str) -> CopiedImage:
        """The picture of a run with this id, copied on first use."""
        if self._wants(run, image) and not self.full:
            self._take(run, image, self._look(run, image).result())
        return self._shown.get(image, CopiedImage(None))._replace(alt=alt)

    def _look(self, run: PictureSource, image: str) -> Future[_Looked | None]:
        """What is found in a picture, begun ahead or now."""
        of, look = self._ahead.get(image, (None, None))
        if look is not None and of is run:
            return look
        return self._lookers.submit(_look, run, image)

    def _wants(self, run: PictureSource, image: str) -> bool:
        return image not in self._shown and (run.folder, image) not in self._lost

    def _take(self, run: PictureSource, image: str, found: _Looked | None) -> None:
        self._room -= 1
        if found is None:  # another run may have it whole
            self._lost.add((run.folder, image))
            return
        self._shown[image] = shown = self._place(image, found)
        if not shown.packed:
            target = self._folder / f"{image}.{found.extension}"
            source = image_path(run.folder, image)
            self._copies.append(self._writer.submit(_copy, source, target))

    def _place(self, image: str, found: _Looked) -> CopiedImage:
        data, extension, size = found
        if data is not None and max(size) <= _SMALL and len(data) <= self._in_page:
            self._in_page -= len(data)
            kind = {"jpg": "jpeg"}.get(extension, extension)
            packed = base64.b64encode(data).decode("ascii")
            return CopiedImage(f"data:image/{kind};base64,{packed}", *size)
        return CopiedImage(f"{FOLDER}/{image}.{extension}", *size)


def drop_stale(folder: Path, wanted: set[str]) -> None:
    """Remove pictures that an earlier page left in the folder of pictures."""
    for path in folder.glob("*") if folder.is_dir() else ():
        if _COPIED.fullmatch(path.name) and path.name not in wanted:
            path.unlink()


def _copy(source: Path, target: Path) -> None:
    """Copy a file unless it lies there whole."""
    with writing(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or not filecmp.cmp(source, target, shallow=False):
            shutil.copyfile(source, target)


class _Looked(NamedTuple):
    """A picture that is whole: its bytes if few, the extension of its format, width and height."""

    data: bytes | None
    extension: str
    size: tuple[int, int]


def _look(run: PictureSource, image: str) -> _Looked | None:
    """Read a picture of a run; None if it is lost, changed or broken."""
    try:
        data = run.pictures.data(image)
    except DatasetError:
        return None
    extension = _extension(data)
    size = _size(data) if extension else None
    if extension is None or size is None:
        return None
    return _Looked(data if len(data) <= _PACKED else None, extension, size)


def _extension(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for start, name in _MAGIC if data.startswith(start)), None)


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height, as browsers show it, of a picture that is whole, else None.

    PNG has checksums, which are cheaper than decoding; of JPEG every eighth pixel is decoded.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "PNG":
                image.verify()
                if not _may_turn(data):
                    return image.size
            else:
                image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
                image.load()
        with Image.open(io.BytesIO(data)) as image:
            return upright_size(image)
    except (OSError, ValueError, SyntaxError):  # what Pillow raises for broken files
        return None


def _may_turn(png: bytes) -> bool:
    """Whether a whole PNG holds, beside its pixels, what may say that it lies on its side."""
    start = _SIGNATURE
    while start < len(png):
        end = start + _FRAME + int.from_bytes(png[start : start + 4], "big")
        if png[start + 4 : start + 8] != b"IDAT":
            chunk = png[start:end]
            if any(mark in chunk for mark in _TURNING):
                return True
        start = end
    return False
