r"""The final answer in a model's text, whatever form it answers in.

Models that were taught to reason answer `<think>...</think><answer>B</answer>`; others put the
answer in bold, in `\boxed{}` or in full-width letters. Official rules were written before there
were such answers: they read a letter of the thought, or nothing. `final_answer` finds the answer
and takes its dress off; a protocol with `final_answer` in its card applies an official rule to it,
or to the `option_letter` that it states; `same_answer` compares it with a gold answer. Of a text
without any of these forms only the white space around it goes, so that a rule gives it what it
gives the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from pairuni_eval.thought_tags import carries_tags, tags_in, without_tags

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
# Signs of no width stand beside white space in what models write and pages copy.
_BLANK = re.compile(r"[\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_LETTERS = "ABCDEFGHIJ"
_LONGEST_CHOICE = 200  # characters of an answer that states an option; what is longer argues
_DRESS = "`$*_'\""
_CHOICE = re.compile(
    r"(?:\((?P<round>[A-Z])\)|\[(?P<square>[A-Z])\]|(?P<bare>[A-Z]))"
    r"[`$*_'\"]*(?:(?P<end>[.:)\]])(?![A-Za-z](?![A-Za-z]))[`$*_'\"]*|(?=\s|\Z))"
)
_ONLY = re.compile(r"[(\[]?([A-Za-z])[)\]]?")
_OTHER = re.compile(r"[(\[]([A-Z])[)\]]|^\W*(?:or|and|/|&)\W+([A-Z])\b", re.IGNORECASE)


def tagged_answer(text: str) -> str | None:
    """What stands between the last complete answer tags; None without a pair of them.

    Tags inside a thought are part of the thought, unless nothing follows it.
    """
    after = text[_end_of_thought(text) :]
    return _last_pair(after) if after.strip() else _last_pair(text)


def final_answer(text: str) -> str | None:
    """The answer that a text ends with, undressed and without white space around it.

    None if the text never comes to one.

    Between the last complete answer tags, else after an answer tag that nothing closes, else after
    the thought, else, without tags, the whole text. A thought without an end holds no answer, and a
    text with tags around or after which nothing stands gives none.
    """
    if not carries_tags(text):
        return _bare(undressed(_bare(text)))
    said = tagged_answer(text)
    if said is None:
        said = _untagged(text)
    return _bare(undressed(_bare(without_tags(said or "")))) or None


def undressed(text: str) -> str:
    r"""The text without bold marks and with full-width signs in their usual width.

    Where there is a LaTeX box, what stands in the last one: `\boxed{}` is how models that reason
    mark their answer. A text without any of these is returned as it is.
    """
    return _BOLD.sub(r"\1", _unboxed(text.translate(_WIDE)))


def option_letter(text: str, letters: Collection[str] = _LETTERS) -> str | None:
    """The option that a short answer states by its letter; None if it states none, or several.

    The letter stands alone, or in front with a sign behind it: "B", "(B)", "`B`", "$B$", "[B]",
    "B. a cat", "The answer is B". Initials ("E.T.") and articles ("A cat") are not options.

    Args:
        text: The answer.
        letters: The letters that may be answered, capitals.
    """
    plain = _bare(undressed(text))
    if len(plain) > _LONGEST_CHOICE:
        return None
    plain = _trimmed(plain).strip(_DRESS)
    plain = _trimmed(_LEAD.sub("", plain, count=1).strip(_DRESS)) or plain
    alone = _ONLY.fullmatch(plain)
    letter = alone[1].upper() if alone else _letter_in_front(plain)
    return letter if letter is not None and letter in letters else None


def _letter_in_front(plain: str) -> str | None:
    found = _CHOICE.match(plain)
    if found is None or (found["end"] is None and found.end() < len(plain) and found["bare"]):
        return None
    letter: str = found["round"] or found["square"] or found["bare"]
    others = {(one[1] or one[2]).upper() for one in _OTHER.finditer(plain[found.end() :])}
    return None if others - {letter} else letter


def same_answer(said: str, gold: str) -> bool:
    """Whether a short answer says what the gold one says.

    A gold answer that is a letter from A to J stands for an option: any `option_letter` of the
    answer is compared with it. Else words and numbers are compared by `plain_answer`.
    """
    bare = _ONLY.fullmatch(_trimmed(_bare(gold)))
    if bare is not None and bare[1].upper() in _LETTERS:
        return option_letter(said) == bare[1].upper()
    plain = plain_answer(gold)
    return plain_answer(said) == plain if plain else _bare(said) == _bare(gold)


def plain_answer(text: str) -> str:
    """A short answer as it is compared: undressed, no lead, case or outer punctuation.

    "The answer is a cat." says "a cat". Signs that change a value stay: ".5", "-5", "5!" and "5'".
    """
    plain = _trimmed(undressed(text))
    return (_trimmed(_LEAD.sub("", plain, count=1)) or plain).lower()


def _bare(text: str) -> str:
    """The text without white space and signs of no width around it."""
    start, end = 0, len(text)
    while start < end and _BLANK.match(text[start]):
        start += 1
    while start < end and _BLANK.match(text[end - 1]):
        end -= 1
    return text[start:end]


def _trimmed(text: str) -> str:
    """The text without outer punctuation, but for what belongs to a number."""
    text = _bare(text)
    while len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = _bare(text[1:-1])
    start, end = 0, len(text)
    while start < end and (text[start] in ",:;!?'\"." or _BLANK.match(text[start])):
        if text[start] == "." and text[start + 1 : start + 2].isdecimal():
            break
        start += 1
    while start < end and (text[end - 1] in ",:;!?'\"." or _BLANK.match(text[end - 1])):
        if text[end - 1] in "!'\"" and text[end - 2 : end - 1].isdecimal():
            break
        end -= 1
    return text[start:end]


def _end_of_thought(text: str) -> int:
    """Where the last closing tag of a thought ends; 0 without one."""
    ends = [tag.end for tag in tags_in(text) if tag.thought and not tag.opens]
    return ends[-1] if ends else 0


def _last_pair(text: str) -> str | None:
    """What stands between the last opening answer tag that is closed and its closing one."""
    found, opened = None, None
    for tag in tags_in(text):
        if tag.thought:
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
    for tag in tags_in(after):
        if tag.thought:
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
