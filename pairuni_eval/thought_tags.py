"""The tags that models put around thoughts and answers, in every spelling that is read.

`<think>` and its like hold a thought, `<answer>` what it comes to; in capitals or not, with blanks
or attributes, in full-width signs, or between the triangles of Kimi's chat template. Answers and
judges' replies are read by this one list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

THOUGHTS = ("thinking", "think", "thoughts", "thought", "reasoning")
ANSWER = "answer"

_OPEN, _CLOSE = "<\uff1c\u25c1", ">\uff1e\u25b7"
OPENING = f"[{_OPEN}]"  # a pattern: no text without it carries a tag
# A name after a blank is a tag only by itself: "a < reasoning about b > c" is prose.
_TAG = re.compile(
    rf"[{_OPEN}](?P<blank>\s{{1,8}})?(?P<slash>(?:[/\uff0f]\s{{0,8}})?)"
    rf"(?P<name>{'|'.join((*THOUGHTS, ANSWER))})"
    rf"(?(blank)\s{{0,8}}|(?:\s[^{_OPEN}{_CLOSE}]*)?)[{_CLOSE}]",
    re.IGNORECASE,
)
_CUT = re.compile(
    rf"[{_OPEN}]\s{{0,8}}[/\uff0f]\s{{0,8}}(?P<name>[a-z]*)\s{{0,8}}\Z", re.IGNORECASE
)


class Tag(NamedTuple):
    """A tag in a text: whether it is one of a thought, whether it opens, and where it stands."""

    thought: bool
    opens: bool
    start: int
    end: int


def tags_in(text: str) -> Iterator[Tag]:
    """Every tag of a thought or an answer, in order."""
    for found in _TAG.finditer(text):
        thought = found["name"].lower() != ANSWER
        yield Tag(thought, not found["slash"], found.start(), found.end())


def carries_tags(text: str) -> bool:
    """Whether a text holds a tag of a thought or an answer, opening or closing."""
    return _TAG.search(text) is not None


def without_tags(text: str) -> str:
    """The text without its tags, and without a closing answer tag that its end cut off."""
    plain = _TAG.sub("", text)
    cut = _CUT.search(plain)
    return plain[: cut.start()] if cut and ANSWER.startswith(cut["name"].lower()) else plain
