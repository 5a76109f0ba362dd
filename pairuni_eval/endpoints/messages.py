"""The user's message of a chat: texts and pictures in order, pictures as PNG in data URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


def user_message(parts: Sequence[str | Image.Image]) -> dict[str, Any]:
    """A message of texts and pictures; a single text is its content as it is."""
    if len(parts) == 1 and isinstance(parts[0], str):
        return {"role": "user", "content": parts[0]}
    return {"role": "user", "content": [_part(part) for part in parts]}


def png_of(image: Image.Image) -> bytes:
    """A picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _part(part: str | Image.Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    url = "data:image/png;base64," + base64.b64encode(png_of(part)).decode()
    return {"type": "image_url", "image_url": {"url": url}}
