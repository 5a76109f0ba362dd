r"""What a model's text says in the end, whatever form it answers in.

Models that were taught to reason answer `<think>...</think><answer>B</answer>`; others put the
answer in bold, in `\boxed{}` or in full-width letters. Official rules were written before there
were such answers: they read a letter of the thought, or nothing. `final_answer` finds the answer
and takes its dress off; a protocol with `final_answer` in its card applies an official rule to it,
and the training reward `accuracy` compares what `plain_answer` makes of the same text. A text
without any of these forms stays as it is, so that a rule gives it what it gives the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TAG = re.compile(r"<(?P<slash>/?)(?P<name>think|answer)\s*>", re.IGNORECASE)
# The signs that Unicode has once more in the width of a Chinese character, and its full stop.
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " ", 0x3002: "."}
_BOLD = re.compile(r"(?<![A-Za-z0-9*])\*\*(?=\S)(.{1,200}?)(?<=\S)\*\*(?![A-Za-z0-9*])")
_BOXED = r"\boxed{"
_BRACES = re.compile(r"[{}]")
# How LaTeX says that a word stands upright or bold: \text{B}.
_SET = re.compile(r"\\(?:text|math)(?:bf|it|rm|sf|tt)?\s*\{([^{}]*)\}")
_LEAD = re.compile(
    r"^(?:so |thus |therefore,? |hence,? )?(?:the |my )?(?:correct |final )?"
    r"(?:(?:(?:answer|option|choice) is|answer)\b|\u7b54\u6848[\u662f\u4e3a]?)\s*:?\s*",
    re.IGNORECASE,
)
_OUTER = ".,:;!?'\""
_LETTER = re.compile(r"^\(?([A-Z])\)?(?:[.:)]|$)")


class _Tag(NamedTuple):
    name: str
    opens: bool
    start: int
    end: int


def carries_tags(text: str) -> bool:
    """Whether a text holds a think or answer tag, whole or not."""
    return _TAG.search(text) is not None


def tagged_answer(text: str) -> str | None:
    """What stands between the last complete answer tags; None without a pair of them.

    Tags inside a thought are part of the thought, unless nothing follows it.
    """
    after = text[_end_of_thought(text) :]
    return _last_pair(after) if after.strip() else _last_pair(text)


def final_answer(text: str) -> str | None:
    """The answer that a text ends with, undressed; None if it never comes to one.

    Between the last complete answer tags, else after an answer tag that nothing closes, else after
    the thought, else, without tags, the whole text. A thought without an end holds no answer, and a
    text with tags around or after which nothing stands gives none.
    """
    if not carries_tags(text):
        return undressed(text)
    said = tagged_answer(text)
    if said is None:
        said = _untagged(text)
    said = _TAG.sub("", said or "")
    return undressed(said) if said.strip() else None


def undressed(text: str) -> str:
    r"""The text without bold marks and with full-width signs in their usual width.

    Where there is a LaTeX box, what stands in the last one: `\boxed{}` is how models that reason
    mark their answer. A text without any of these is returned as it is.
    """
    return _BOLD.sub(r"\1", _unboxed(text.translate(_WIDE)))


def plain_answer(text: str) -> str:
    """A short answer as it is compared: undressed, no lead, case or outer punctuation.

    "(B) a cat" and "The answer is B." both say "b"; "The answer is a cat" says "a cat".
    """
    plain = _stripped(undressed(text))
    plain = _stripped(_LEAD.sub("", plain, count=1)) or plain
    letter = _LETTER.match(plain)
    return letter.group(1).lower() if letter else plain.lower()


def _stripped(text: str) -> str:
    return text.strip().strip(_OUTER).strip()


def _tags(text: str) -> Iterator[_Tag]:
    for found in _TAG.finditer(text):
        yield _Tag(found["name"].lower(), not found["slash"], found.start(), found.end())


def _end_of_thought(text: str) -> int:
    """Where the last closing tag of a thought ends; 0 without one."""
    ends = [tag.end for tag in _tags(text) if tag.name == "think" and not tag.opens]
    return ends[-1] if ends else 0


def _last_pair(text: str) -> str | None:
    """What stands between the last opening answer tag that is closed and its closing one."""
    found, opened = None, None
    for tag in _tags(text):
        if tag.name != "answer":
            continue
        if tag.opens:
            opened = tag.end
        elif opened is not None:
            found, opened = text[opened : tag.start], None
    return found


def _untagged(text: str) -> str | None:
    """The answer of a text without a complete pair of answer tags."""
    after = text[_end_of_thought(text) :]
    opened, thinking = None, False
    for tag in _tags(after):
        if tag.name == "think":
            thinking = tag.opens
        elif tag.opens and not thinking:
            opened = tag.end
    if opened is not None:
        return after[opened:]
    return None if thinking else after


def _unboxed(text: str) -> str:
    r"""What stands in the last complete `\boxed{}`; the text itself if there is none."""
    found, start = text, text.find(_BOXED)
    while start >= 0:
        opened = start + len(_BOXED)
        closed = _closing(text, opened)
        if closed is None:
            break
        found = _SET.sub(r"\1", text[opened:closed])
        start = text.find(_BOXED, closed)
    return found


def _closing(text: str, opened: int) -> int | None:
    """The closing brace of the one that opens before `opened`; None if nothing closes it."""
    depth = 1
    for found in _BRACES.finditer(text, opened):
        depth += 1 if found.group() == "{" else -1
        if depth == 0:
            return found.start()
    return None
