"""Image cells of a stranger's rows, made from a seed, and a yard with something to steal.

A yard is a dataset's folder with two images, beside folders that no row may reach. Its secrets are
images as well, so that only the place of a file keeps it out.
"""

from __future__ import annotations

import base64
import io
import os
import random
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from hostile.watch import watched
from PIL import Image

_KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_MODES = ("RGB", "L", "1", "I;16", "F")
_LENGTHS = (1, 10, 254, 255, 256, 4000, 100_000)


class Yard(NamedTuple):
    """A dataset's folder and what lies around it.

    Attributes:
        folder: The dataset's; holds a.png and images/b.png.
        secrets: Images outside of it.
        kept: Their bytes.
    """

    folder: Path
    secrets: tuple[Path, ...]
    kept: frozenset[bytes]

    @classmethod
    def make(cls, top: Path) -> Yard:
        """Build one below a folder."""
        folder = top / "given" / "set"
        (folder / "images").mkdir(parents=True)
        (folder / "a.png").write_bytes(_image(random.Random(1), "PNG"))
        (folder / "images" / "b.png").write_bytes(_image(random.Random(2), "PNG"))
        (folder / "rows.txt").write_text("no image")
        places = ("secret.png", "given/secret.png", "given/set-other/a.png", "given/images/b.png")
        secrets = tuple(top / place for place in places)
        for number, path in enumerate(secrets):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(_image(random.Random(100 + number), "PNG"))
        return cls(folder, secrets, frozenset(path.read_bytes() for path in secrets))

    def stolen(self, data: bytes) -> bool:
        """Whether bytes are those of a secret."""
        return data in self.kept


def cells(seed: int, count: int, yard: Yard) -> Iterator[Any]:
    """Cells as Parquet and JSON can hold them, every kind in turn."""
    rng = random.Random(seed)
    makers: tuple[Callable[[random.Random, Yard], Any], ...] = (
        path_text,
        path_text,
        _base64_text,
        _data_url,
        _bytes,
        _struct,
        _list,
        _scalar,
    )
    for number in range(count):
        yield makers[number % len(makers)](rng, yard)


def path_text(rng: random.Random, yard: Yard) -> str:
    """What a row may say of a path: to a secret, a device, a host, or nowhere."""
    secret = rng.choice(yard.secrets)
    target = rng.choice(
        (
            str(secret),
            os.path.relpath(secret, yard.folder),
            os.path.relpath(secret, yard.folder / "images"),
            f"images/{'../' * rng.randrange(1, 9)}{secret.name}",
            f"{'../' * rng.randrange(1, 40)}{str(secret).lstrip('/')}",
            f"/proc/self/root{secret}",
            f"/proc/self/cwd/{os.path.relpath(secret)}",
            *("/etc/passwd", "/dev/zero", "/dev/stdin", "/dev/fd/0", "/proc/self/environ"),
            *("~/secret.png", "~root/secret.png", "$HOME/secret.png", "%USERPROFILE%\\secret.png"),
            *("C:\\secret.png", "c:secret.png", "\\\\host\\share\\a.png", "\\\\?\\C:\\a.png"),
            *("CON", "NUL", "a.png:stream", ".", "..", "/", "//", "\\", " ", "\n", "images"),
            f"a.png\0{secret}",
            f"{secret}\0.png",
            rng.choice("ax./\\é\ud800") * rng.choice(_LENGTHS),
            "/".join(rng.choice(("..", ".", "images", "a.png", "", "...")) for _ in range(9)),
            "a.png",
            "images/b.png",
        )
    )
    return _disguised(rng, target)


def _disguised(rng: random.Random, text: str) -> str:
    return rng.choice(
        (
            lambda: text,
            lambda: text,
            lambda: text.replace("/", "\\"),
            lambda: text.replace("/", "//"),
            lambda: text.replace("..", "\u2025").replace("/", "\u2215"),
            lambda: quote(text.encode("utf-8", "replace"), safe=""),
            lambda: f"file://{text}",
            lambda: f"FILE:{text}",
            lambda: f"http://127.0.0.1:9/{text}",
            lambda: f" {text} ",
            lambda: f"{text}/.",
            lambda: f"./{text}",
            lambda: f"images/../{text}",
            lambda: f"zip://a.png::{text}",
        )
    )()


def _base64_text(rng: random.Random, yard: Yard) -> Any:
    data = _bytes(rng, yard)
    text = base64.b64encode(data).decode()
    return rng.choice(
        (
            lambda: text,
            lambda: text.rstrip("="),
            lambda: text[: rng.randrange(len(text) + 1)],
            lambda: text.replace("+", "-").replace("/", "_"),
            lambda: "\r\n".join(text[start : start + 76] for start in range(0, len(text), 76)),
            text.encode,
            lambda: base64.b64encode(text.encode()).decode(),
            lambda: f"b'{text}'",
            lambda: "=" + text,
            lambda: "A" * rng.choice(_LENGTHS),
        )
    )()


def _data_url(rng: random.Random, yard: Yard) -> str:
    data = _bytes(rng, yard)
    kind = rng.choice(("image/png", "", "text/html", "image/svg+xml", "image/png;charset=x"))
    return rng.choice(
        (
            lambda: f"data:{kind};base64,{base64.b64encode(data).decode()}",
            lambda: f"data:{kind};base64,{_base64_text(rng, yard)}",
            lambda: f"DATA:{kind},{quote(data)}",
            lambda: f"data:{kind}",
            lambda: f"data:{kind};base64,%%%",
            lambda: f"data:,{path_text(rng, yard)}",
        )
    )()


def _bytes(rng: random.Random, yard: Yard) -> bytes:
    data = bytearray(_image(rng, rng.choice(_KINDS)))
    for _ in range(rng.choice((0, 0, 1, 8, 64))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])


def _struct(rng: random.Random, yard: Yard) -> dict[str, Any]:
    empty = rng.choice((None, b"", ""))
    return rng.choice(
        (
            lambda: {"bytes": empty, "path": path_text(rng, yard)},
            lambda: {"path": path_text(rng, yard)},
            lambda: {"bytes": path_text(rng, yard)},
            lambda: {"bytes": _bytes(rng, yard), "path": path_text(rng, yard)},
            lambda: {"bytes": _scalar(rng, yard), "path": _scalar(rng, yard)},
            lambda: {"bytes": _list(rng, yard), "path": None},
            lambda: {"url": path_text(rng, yard), "\x1b[31m": 1},
            lambda: {},
        )
    )()


def _list(rng: random.Random, yard: Yard) -> list[Any]:
    return rng.choice(
        (
            lambda: [],
            lambda: [None],
            lambda: [path_text(rng, yard)],
            lambda: [{"bytes": None, "path": path_text(rng, yard)}],
            lambda: [[path_text(rng, yard)]],
            lambda: [_bytes(rng, yard), _bytes(rng, yard)],
            lambda: list(_bytes(rng, yard)),
            lambda: [rng.randrange(-5, 300) for _ in range(9)],
            lambda: [[[0, 1, 2]] * 4] * 4,
            lambda: [_scalar(rng, yard)],
        )
    )()


def _scalar(rng: random.Random, yard: Yard) -> Any:
    return rng.choice(
        (None, True, 0, -1, 2**63, 1e400, float("nan"), Decimal("1.5"), "", b"", "\ud800", 10**5000)
    )


def _image(rng: random.Random, kind: str) -> bytes:
    """A small image in some mode that the format has, with an EXIF block of chance."""
    noise = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    mode = rng.choice(_MODES)
    if mode in ("I;16", "F"):
        deep = noise[:, :, 0].astype(np.uint16 if mode == "I;16" else np.float32) * 257
        image = Image.fromarray(deep) if kind in ("PNG", "TIFF") and mode != "F" else image
    elif kind not in ("JPEG", "WEBP"):
        image = image.convert(mode)
    buffer = io.BytesIO()
    options: dict[str, Any] = {}
    if kind in ("PNG", "JPEG", "WEBP"):
        block = Image.Exif()
        block[0x0112] = rng.randrange(0, 10)
        options["exif"] = block.tobytes()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


@contextmanager
def guarded(*allowed: Path) -> Iterator[list[str]]:
    """Collect what is opened, asked of the network or started outside of folders.

    Yields:
        the list of it, filled when the block ends; Python's own files are left out.
    """
    found: list[str] = []
    with watched() as seen:
        yield found
    if seen:
        own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
        places = [Path(place).resolve() for place in (*allowed, *own, *filter(None, sys.path))]
        found += [one for one, _ in seen if not _below(one, places)]


def _below(path: str, places: list[Path]) -> bool:
    real = Path(path.replace("\0", "")).resolve()
    return any(real.is_relative_to(place) for place in places)
