"""What a model reads of a half: its picture, and the question with an instruction."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from pairuni_eval.api.images import read_rgb
from pairuni_eval.toolkit import DatasetError, UserError
from pairuni_train.pair_data.record import Half, Understanding

if TYPE_CHECKING:
    from PIL.Image import Image


def picture_of(half: Half) -> Image:
    """The picture of a half that has one.

    Raises:
        UserError: if it cannot be read.
    """
    assert half.image is not None
    try:
        return read_rgb(io.BytesIO(half.image), DatasetError)
    except DatasetError as failure:
        side = "understanding" if isinstance(half, Understanding) else "generation"
        raise UserError(
            f"The image of {side} half '{half.id}' of {half.source} cannot be read: {failure}.",
            hint="Find every such row: pairuni-train pairs check FILE",
        ) from failure


def question_of(half: Understanding, instruction: str) -> str:
    """The question, with an instruction below it if there is one."""
    return "\n".join(part for part in (half.question, instruction) if part)
