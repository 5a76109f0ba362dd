"""What a stranger may send: values, changes of values, and changes of files, all drawn by a seed.

Three kinds of draw. `value` makes one cell, `changed` puts such a value somewhere into a structure,
`bent` changes encoded bytes. `Outside` holds the files that no input may reach: a picture that
would be accepted, a text with a word nobody else says, and what every system has.
"""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

SECRET = "the word that stands outside"
SYSTEM = ("/etc/passwd", "/etc/hostname", "/proc/self/environ", "/dev/zero")

_TEXTS = (
    "",
    " ",
    "\0",
    "\ud83d",
    "a\udcffb",
    "\x1b[31mred\x1b[0m\x07\r",
    "\u202eabc\u2066",
    "<script>alert(1)</script>",
    "![x](http://127.0.0.1:9/a.png) | `x` |",
    "{{ 7 * 7 }}{% raw %}",
    "%s%n{0.__class__}",
    "'; DROP TABLE scores; --",
    "NaN",
    "-0",
    "1e999",
    "٣",
    "²",
    "𝟙",
    "x" * 70_000,
    "[" * 50_000,
    "( " * 400,
    "<think>" * 50,
    "null",
    "=1+1",
    "../" * 60,
)
_NUMBERS = (
    *(0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**400),
    *(0.5, 1e308, float("nan"), float("inf"), -float("inf"), True, False),
)


class Outside(NamedTuple):
    """Files that must stay unread, beside the folder that a test works in.

    Attributes:
        folder: Where they lie.
        picture: A picture that a benchmark would take.
        text: A text with `SECRET` in it.
    """

    folder: Path
    picture: Path
    text: Path

    @property
    def paths(self) -> tuple[str, ...]:
        """Everything that must not be opened."""
        return (str(self.picture), str(self.text), *SYSTEM)


def outside(folder: Path) -> Outside:
    """Write the files that must stay unread."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Outside(folder, folder / "secret.png", folder / "secret.json")
    Image.new("RGB", (13, 17), (1, 2, 3)).save(made.picture)
    made.text.write_text(f'{{"id": "0", "text": "{SECRET}"}}\n')
    return made


def picture(color: tuple[int, int, int] = (200, 30, 40), size: tuple[int, int] = (24, 16)) -> bytes:
    """A small sound PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format="PNG")
    return buffer.getvalue()


def path_out(rng: random.Random, away: Outside, here: Path) -> str:
    """A text that leads out of `here` if it is taken for a path."""
    target = rng.choice([str(away.picture), str(away.text), *SYSTEM])
    climbing = "../" * rng.randint(1, 3) + f"{away.folder.name}/secret.png"
    return rng.choice(
        [
            target,
            f"file://{target}",
            climbing,
            climbing.replace("/", "\\"),
            f"./images/../{climbing}",
            "../" * 30 + target.lstrip("/"),
            f"{target}\0.png",
            f"{here}/../{away.folder.name}/secret.png",
            "~/secret.png",
            "C:\\secret.png",
            "\\\\host\\share\\secret.png",
            "http://127.0.0.1:9/secret.png",
            "a" * 300 + ".png",
            "b/" * 3_000,
            ".",
            "..",
            "/",
            "images",
            "-",
            "|cat /etc/passwd",
        ]
    )


def value(rng: random.Random, away: Outside, here: Path, depth: int = 0) -> Any:
    """One hostile value as JSON has it (NaN and lone surrogates included)."""
    kind = rng.choice(("path", "path", "text", "text", "number", "none", "list", "table", "image"))
    if depth > 2 or kind == "none":
        return None
    if kind == "path":
        return path_out(rng, away, here)
    if kind == "text":
        return rng.choice(_TEXTS)
    if kind == "number":
        return rng.choice(_NUMBERS)
    if kind == "image":
        return _image_text(rng)
    inner = [value(rng, away, here, depth + 1) for _ in range(rng.randint(0, 3))]
    if kind == "list":
        return inner
    keys = ["bytes", "path", "id", "text", "image", "kind", rng.choice(_TEXTS)[:50]]
    return {rng.choice(keys): one for one in inner}


def _image_text(rng: random.Random) -> str:
    """A picture as text: whole, cut off, with a false header, or none at all."""
    encoded = base64.b64encode(picture()).decode()
    return rng.choice(
        [
            encoded,
            encoded[: len(encoded) // 2],
            f"data:image/png;base64,{encoded}",
            f"data:image/png;base64,{encoded[:-7]}",
            f"data:text/html,{encoded}",
            "data:",
            base64.b64encode(b"GIF89a" + b"\0" * 40).decode(),
        ]
    )


def changed(rng: random.Random, structure: Any, draw: Callable[[], Any]) -> Any:
    """The structure with one place in it replaced, dropped, doubled or renamed."""
    places = list(_places(structure))
    if not places:
        return draw()
    where = rng.choice(places)
    how = rng.choice(("replace", "replace", "replace", "drop", "rename", "wrap"))
    return _at(structure, where, how, draw)


def _places(structure: Any, before: tuple[Any, ...] = ()) -> Any:
    entries: Any = ()
    if isinstance(structure, Mapping):
        entries = structure.items()
    elif isinstance(structure, list | tuple):
        entries = enumerate(structure)
    for key, inner in entries:
        yield (*before, key)
        yield from _places(inner, (*before, key))


def _at(structure: Any, where: Sequence[Any], how: str, draw: Callable[[], Any]) -> Any:
    key, rest = where[0], where[1:]
    copy = dict(structure) if isinstance(structure, Mapping) else list(structure)
    if rest:
        copy[key] = _at(copy[key], rest, how, draw)
    elif how == "drop":
        del copy[key]
    elif how == "rename" and isinstance(copy, dict):
        copy[f"{key}x"] = copy.pop(key)
    elif how == "wrap":
        copy[key] = [copy[key]]
    else:
        copy[key] = draw()
    return copy


def bent(rng: random.Random, data: bytes) -> bytes:
    """Encoded bytes, changed as storage, editors and attackers change them."""
    at = rng.randrange(len(data)) if data else 0
    how = rng.randrange(12)
    if how == 0:
        return data[:at]
    if how == 1:
        return (
            data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if data else b"x"
        )
    if how == 2:
        return data[:at] + rng.randbytes(rng.randint(1, 40)) + data[at:]
    if how == 3:
        return b"\xef\xbb\xbf" + data
    if how == 4:
        return b"\xff\xfe" + data.decode("utf-8", "replace").encode("utf-16-le", "replace")
    if how == 5:
        return data.decode("utf-8", "replace").encode("gbk", "replace") + "中文".encode("gbk")
    if how == 6:
        return data[:at] + b"\0" * rng.randint(1, 9) + data[at:]
    if how == 7:
        return data + data
    if how == 8:
        return b"[" * 120_000
    if how == 9:
        return data.replace(b"\n", b"\r")
    if how == 10:
        return b""
    return data[:at] + b'"\\ud83d"' + data[at:]
