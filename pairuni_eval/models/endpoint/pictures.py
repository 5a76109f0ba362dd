"""Pictures that came from an endpoint: read from a reply, and kept beside the remembered replies.

A picture comes in the reply itself (`b64_json`). The address of a picture is not followed: nothing
is fetched from a host that the user did not name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from pairuni_eval.endpoints.completion import (
    Completion,
    document_of,
    error_words,
    first_of,
    mapping,
    with_usage,
)
from pairuni_eval.errors import ModelError, UserError, writing
from pairuni_eval.pictures import read_rgb
from pairuni_eval.store.write import write_whole

if TYPE_CHECKING:
    from PIL import Image

_ADDRESS = (
    "the endpoint sent the address of a picture and no picture; addresses are not followed "
    '(response_format = "b64_json")'
)


class PictureShelf:
    """Encoded pictures by the hash of their bytes.

    Args:
        folder: Where they lie; None keeps them in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: dict[str, bytes] = {}

    def keep(self, data: bytes) -> str:
        """Keep a picture; returns the SHA-256 that it is known by."""
        name = hashlib.sha256(data).hexdigest()
        if self._folder is None:
            self._held[name] = data
        elif not (self._folder / name).is_file():
            with writing(str(self._folder)):
                self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / name, data)
        return name

    def load(self, name: str) -> Image.Image:
        """A picture that was kept, as RGB.

        Raises:
            UserError: if its file is gone or changed.
            ModelError: if it cannot be decoded after all.
        """
        return read_rgb(io.BytesIO(self._bytes(name)), ModelError)

    def _bytes(self, name: str) -> bytes:
        if self._folder is None:
            return self._held[name]
        path = self._folder / name
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != name:
            raise UserError(
                f"The remembered picture {path} is missing or changed.",
                hint=f"Delete {self._folder.parent / 'replies.jsonl'}: its pictures are drawn, and "
                "paid for, again.",
            )
        return data


def read_picture(body: bytes, shelf: PictureShelf) -> Completion:
    """Read the body of a response with status 200; the text is the picture's name on the shelf."""
    document = document_of(body)
    fields = mapping(document)
    first = first_of(fields.get("data"))
    held = first.get("b64_json")
    if not isinstance(held, str) or not held:
        lacks = _ADDRESS if first.get("url") else ""
        return with_usage(fields, Completion(None, told=error_words(document), lacks=lacks))
    try:
        data = base64.b64decode(held.partition(",")[2] if held.startswith("data:") else held)
        read_rgb(io.BytesIO(data), ModelError)
    except (binascii.Error, ValueError, ModelError) as failure:
        lacks = f"the picture that came cannot be read: {failure}"
        return with_usage(fields, Completion(None, lacks=lacks))
    return with_usage(fields, Completion(shelf.keep(data)))
