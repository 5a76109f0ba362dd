"""The thought before an answer about one thing in common words: its color and its shape.

Names are scarce in lessons, so that the way to answer, `<think>red circle</think> yes`, could not
be learned from them alone. It is taught on what a model sees often: whether a red circle is there,
what color the circle is, which of four things is in the image. Other questions ask for no single
thing and have no thought.
"""

from __future__ import annotations

import re

from pairuni_eval.api.tiny import COLORS, SHAPES, Scene
from pairuni_train.pair_data.tiny_answers import WHICH, options_of, stem_of

_COLOR, _SHAPE = f"(?P<color>{'|'.join(COLORS)})", f"(?P<shape>{'|'.join(SHAPES)})"
_NAMED = re.compile(rf"Is there an? {_COLOR} {_SHAPE} in the image\?")
_POINTED = tuple(
    re.compile(pattern)
    for pattern in (
        rf"What color is the {_SHAPE}\?",
        rf"What shape is {_COLOR}\?",
        rf"Is the {_SHAPE} (?:{'|'.join(COLORS)})\?",
    )
)


def thought_about(question: str, answer: str, scene: Scene) -> str | None:
    """Color and shape of the one thing that a question is about; None if there is no such thing.

    Args:
        question: As a model reads it, options included.
        answer: The gold answer.
        scene: What the picture shows.
    """
    stem = stem_of(question)
    if stem == WHICH:
        return options_of(question).get(answer)
    if said := _NAMED.fullmatch(stem):
        return f"{said['color']} {said['shape']}"
    for pattern in _POINTED:
        if pointed := pattern.fullmatch(stem):
            found = scene.select(**pointed.groupdict())
            return found[0].name if len(found) == 1 else None
    return None
