"""What is said to Lumina-DiMOO, in words: the official system sentences and the frame around them.

`<system>S</system><user>U</user>`, without blanks or newlines; the unconditional branch of guidance
has `<uncondition>` for U. Kinds of edits are told apart by what their names contain, as officially;
kinds of ImgEdit and GEdit all have the sentence of `edit`.

Departures from the official code: special tokens that stand in a user's text are text (`layout`),
and dense prediction has no sentence of its own.
"""

from __future__ import annotations

from typing import NamedTuple

UNCONDITION = "<uncondition>"
SYSTEM_ASK = (
    "You are a multimodal model that can process both text and images. Answer the following "
    "question based on the provided images. Analyze each image and combine relevant details to "
    "answer."
)
SYSTEM_DRAW = "Generate an image according to the text prompt."
_STYLE = "Transform the current image into the style of the provided image."
# By what a kind's name contains, in this order.
_SYSTEM_EDIT = (
    ("control", "Generate an image according to the text prompt and the given control image."),
    ("subject", "Generate an image according to the text prompt and the given object image."),
    (
        "edit",
        "Generate an image applying the following editing instruction based on the original image.",
    ),
    ("ref_transfer", _STYLE),
    ("multi_view", "Generate a view-image based on the given image."),
)
_SYSTEM_OTHER = "Generate an image according to the prompt and image."
EDIT = "edit"


class Said(NamedTuple):
    """The system's sentence and the user's text."""

    system: str
    user: str


def ask(question: str) -> Said:
    """A question about pictures."""
    return Said(SYSTEM_ASK, question)


def draw(prompt: str) -> Said:
    """A prompt for a picture."""
    return Said(SYSTEM_DRAW, prompt)


def edit(instruction: str, kind: str = EDIT) -> Said:
    """An instruction for a change of a picture.

    Args:
        instruction: What to do.
        kind: The official name of the kind of edit, e.g. "edit_add", "multi_view_left". Two kinds
            say what they do in words of their own, and not in the instruction's.
    """
    for part, system in _SYSTEM_EDIT:
        if part in kind:
            return Said(system, _own_words(kind, part) or instruction)
    return Said(_SYSTEM_OTHER, instruction)


def _own_words(kind: str, part: str) -> str | None:
    if part == "ref_transfer":
        return _STYLE
    if part == "multi_view":
        view = kind.rsplit("_", 1)[-1]
        return f"Generate the {view} view based on the provided front view."
    return None
