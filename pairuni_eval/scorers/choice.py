"""Multiple choice and short answers: which option or value did a text name?

MMMU (official `mmmu/utils/eval_utils.py`): brackets first, then bare letters, then option texts;
the last mention wins. Upstream, and lmms-eval after it, draws a random option when nothing matches
and calls that the answer; here the parsers return None, and only the protocols that draw do so,
from the sample's own seed, and say so in the verdict.
MMStar (official `MMStar_eval`): the letter must stand in one of four fixed places. Odd but
official: "because it is A" is right for B, "**B**" and "The answer is (B)" are right for nothing.
MMStar of lmms-eval 0.7.3 ranks every mention of a letter by its form (`lmms_letter`).
VLMEvalKit's rules for both stand in `matching`.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pairuni_eval.benchmark import MetricValue
from pairuni_eval.prompts import lettered
from pairuni_eval.records import Status
from pairuni_eval.scorers.vlmevalkit_rules import (
    NO_OPTION,
    vlmevalkit_choice,
    vlmevalkit_letter,
    vlmevalkit_question,
)
from pairuni_eval.seeds import seed_for

# MMMU, multiple choice

_MMMU_STRIPPED = ",.!?;:'"
_MIN_WORDS_FOR_CONTENT = 6


def mmmu_letter(response: str, letters: Sequence[str], options: Mapping[str, str]) -> str | None:
    """The option that an answer names, or None where upstream would draw one at random.

    Args:
        response: The model's text.
        letters: The letters that may be answered, in order.
        options: The text of each letter's option.
    """
    text = _mmmu_stripped(response)
    return (
        _last_named(text, {letter: f"({letter})" for letter in letters})
        or _last_named(text, {letter: f" {letter} " for letter in letters})
        or _last_content(text, options)
    )


def _mmmu_stripped(response: str) -> str:
    """Without punctuation marks at the ends, one kind after the other, and between blanks."""
    for mark in _MMMU_STRIPPED:
        response = response.strip(mark)
    return f" {response} "


def _last_named(text: str, forms: Mapping[str, str]) -> str | None:
    """The key whose form occurs last in the text; the first key where two end up level."""
    found = {key: text.rfind(form) for key, form in forms.items() if form in text}
    return max(found, key=found.__getitem__) if found else None


def _last_content(text: str, options: Mapping[str, str]) -> str | None:
    """The option whose own text occurs last; only looked for in answers of at least six words."""
    if len(text.split()) < _MIN_WORDS_FOR_CONTENT:
        return None
    return _last_named(text.lower(), {key: option.lower() for key, option in options.items()})


def lmms_mmmu_letter(
    response: str, letters: Sequence[str], options: Mapping[str, str]
) -> str | None:
    """The option that lmms-eval 0.7.3 reads, or None where it draws one at random.

    Unlike the official rule, a letter at the end of any word counts ("NASA is" names A), and before
    a full stop too; of several such letters the last one that stands alone wins, else the first.

    Source: EvolvingLMMs-Lab/lmms-eval 0.7.3, `tasks/_task_utils/mmmu_mcq_utils.py`.

    Args:
        response: The model's text.
        letters: The letters that may be answered, in order.
        options: The text of each letter's option.
    """
    text = _mmmu_stripped(response)
    bracketed = _last_named(text, {letter: f"({letter})" for letter in letters})
    if bracketed is not None:
        return bracketed
    for form in ("{} ", "{}."):
        found = [letter for letter in letters if form.format(letter) in text]
        if found:
            return max(found, key=lambda letter: text.rfind(f" {letter} "))
    return _last_content(text, options)


def mmmu_guess(letters: Sequence[str], sample: str) -> str:
    """The option that the official rule's random fallback stands for, fixed by the sample's uid."""
    return random.Random(seed_for(0, sample, 0, "guess")).choice(letters)


def choice_correct(gold: str | Sequence[str], letter: str) -> bool:
    """Whether a letter is the gold one, or one of them where the gold is a list."""
    return letter == gold if isinstance(gold, str) else letter in gold


# MMMU, open answers

Value = str | float

_WITH_COMMAS = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
_SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
_SIMPLE = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")
_PIECES = re.compile(r"\.\s(?=[A-Z])|\n")
_CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(":,.!?;'")


def normalize_value(text: str) -> list[Value]:
    """A number rounded to two decimals, or the lower-cased text.

    A single character is padded with a blank on either side, so that it matches no inner letter.
    """
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        pass
    text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def numbers_in(text: str) -> list[str]:
    """Numbers with thousands commas, then scientific, then plain ones; a span may come twice."""
    return [hit for form in (_WITH_COMMAS, _SCIENTIFIC, _SIMPLE) for hit in form.findall(text)]


def open_candidates(response: str) -> list[Value]:
    """What an open answer may have meant: tails after cue words and the numbers inside them.

    Without duplicates, in order of appearance (upstream's order is that of a Python set).
    """
    tails = _tails(response.strip().strip(".").lower())
    found = [*tails, *(number for tail in tails for number in numbers_in(tail))]
    return list(dict.fromkeys(value for text in found for value in normalize_value(text)))


def _tails(text: str) -> list[str]:
    # The text is lower case by now, so that the sentence half of _PIECES never splits: official.
    pieces = _PIECES.split(text)
    tails = [
        _shortest_tail(piece, (*_CUES, "=") if number == len(pieces) else _CUES)
        for number, piece in enumerate(pieces, start=1)
    ]
    kept = [tail for tail in tails if tail and tail not in _TRIVIAL]
    return kept or [text]


def _shortest_tail(piece: str, cues: Sequence[str]) -> str:
    """The shortest text after the last occurrence of a cue; empty tails give way to any other."""
    shortest = ""
    for cue in cues:
        if cue in piece:
            tail = piece.rsplit(cue, maxsplit=1)[-1].strip()
            if not shortest or len(tail) < len(shortest):
                shortest = tail
    return shortest


def open_correct(gold: str | Sequence[str], candidates: Sequence[Value]) -> bool:
    """Whether a candidate text contains a gold text, or a candidate number equals a gold value.

    A gold list that arrives as the string of a list (as parquet columns hold it) never matches.
    """
    golds = [gold] if isinstance(gold, str) else gold
    wanted = [value for text in golds for value in normalize_value(text)]
    return any(_matches(candidate, wanted) for candidate in candidates)


def _matches(candidate: Value, wanted: Sequence[Value]) -> bool:
    if isinstance(candidate, str):
        return any(isinstance(value, str) and value in candidate for value in wanted)
    return candidate in wanted


# MMMU, one answer under each protocol


def spelled_list(cell: str) -> list[str] | None:
    """The list that a cell spells as Python does, its items as text; None if it spells none."""
    if not cell.lstrip().startswith("["):
        return None
    try:
        value = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return [str(item) for item in value] if isinstance(value, list) else None


class _MmmuRule(NamedTuple):
    """How one protocol reads an answer.

    Attributes:
        letter: Reads the answer to a multiple-choice question.
        draws: Whether an unreadable one is replaced by a guess.
        lists: Whether a gold answer that spells a list stands for each of its items.
    """

    letter: Callable[[str, Sequence[str], Mapping[str, str]], str | None]
    draws: bool
    lists: bool


_MMMU_RULES = {
    "official": _MmmuRule(mmmu_letter, draws=True, lists=True),
    "no-guess": _MmmuRule(mmmu_letter, draws=False, lists=True),
    "lmms-eval": _MmmuRule(lmms_mmmu_letter, draws=True, lists=False),
}


def choice_letters(reference: Mapping[str, Any]) -> tuple[str, ...]:
    """The letters of a multiple-choice question of MMMU; none for an open one."""
    if reference["type"] != "multiple-choice":
        return ()
    return tuple(lettered(reference["options"]))


def mmmu_marks(
    text: str, reference: Mapping[str, Any], sample: str, protocol: str
) -> list[MetricValue]:
    """Grade one MMMU answer: `correct`, and `guessed` (1 where the rule draws).

    `guessed` is missing under `vlmevalkit`, which never draws.

    Args:
        text: The model's answer.
        reference: `type` ("multiple-choice" or "open"), `answer`, and `options` as a list.
        sample: The uid that fixes the guess.
        protocol: `official` and `lmms-eval` draw a guess for an unreadable choice; `no-guess`, the
            official rule without that, and `vlmevalkit` call it unparsed.

    Raises:
        ValueError: an unknown protocol.
    """
    if protocol == "vlmevalkit":
        return [_vlmevalkit_mmmu(text, reference)]
    if protocol not in _MMMU_RULES:
        raise ValueError(f"unknown MMMU protocol {protocol!r}")
    rule = _MMMU_RULES[protocol]
    answer: str = reference["answer"]
    gold = (spelled_list(answer) if rule.lists else None) or answer
    if reference["type"] != "multiple-choice":
        right = open_correct(gold, open_candidates(text))
        return [MetricValue("correct", float(right)), MetricValue("guessed", 0.0)]
    options = lettered(reference["options"])
    letters = tuple(options)
    letter = rule.letter(text, letters, options)
    if letter is not None:
        right = choice_correct(gold, letter)
        return [MetricValue("correct", float(right), verdict=letter), MetricValue("guessed", 0.0)]
    if not rule.draws:
        return [_NAMES_NONE, MetricValue("guessed", 0.0)]
    letter = mmmu_guess(letters, sample)
    said = f"names no option; {letter} drawn from the sample's seed"
    right = choice_correct(gold, letter)
    return [MetricValue("correct", float(right), verdict=said), MetricValue("guessed", 1.0)]


_NAMES_NONE = MetricValue("correct", None, Status.UNPARSED, "names no option")


def _vlmevalkit_mmmu(text: str, reference: Mapping[str, Any]) -> MetricValue:
    asked = vlmevalkit_question(reference["answer"], reference["options"])
    return _vlmevalkit_mark(vlmevalkit_choice(text, asked.options), asked.gold)


def _vlmevalkit_mark(letter: str | None, gold: str) -> MetricValue:
    if letter in (None, NO_OPTION):
        return _NAMES_NONE
    return MetricValue("correct", float(letter == gold), verdict=letter)


# MMStar

MMSTAR_LETTERS = "ABCD"
_MMSTAR_PLACES = ("", "(", "option ", "the answer is ")


def _folded(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def mmstar_correct(prediction: str, answer: str) -> bool:
    """MMStar's own rule: the gold letter stands in one of the four places, case ignored.

    Source: MMStar-Benchmark/MMStar, `eval/vlmeval/evaluate/mmstar.py`.
    """
    said, gold = _folded(prediction), _folded(answer)
    return bool(gold) and any(
        said.startswith(place) and said[len(place) : len(place) + 1] == gold
        for place in _MMSTAR_PLACES
    )


def mmstar_letter(prediction: str) -> str | None:
    """The letter A to D that MMStar's own rule reads, or None if no answer could be right."""
    return next((mark for mark in MMSTAR_LETTERS if mmstar_correct(prediction, mark)), None)


class _Mention(NamedTuple):
    """A letter somewhere in a text; compared by the rank of its form, then by its position."""

    rank: int
    position: int
    letter: str


# Forms that lmms-eval looks for anywhere, with the rank it gives them (higher wins).
_LMMS_FORMS = (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2))
_LMMS_START, _LMMS_END, _LMMS_PHRASE, _LMMS_ANYWHERE = 10, 9, 7, 0
_LMMS_STRIPPED = ",.!?;:'\""
_LMMS_PHRASES = (
    *(f"{lead}answer is" for lead in ("", "the ", "correct ", "the correct ", "my ")),
    *(f"{lead}option is" for lead in ("correct ", "the correct ")),
    *(f"{lead}choice is" for lead in ("", "the ", "correct ", "the correct ", "my ")),
    *(f"{lead}best {noun} is" for lead in ("", "the ") for noun in ("answer", "option")),
    *("i choose", "i select", "i pick"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)


def lmms_letter(response: str, letters: Sequence[str] = "ABCD") -> str | None:
    """The letter that lmms-eval 0.7.3 extracts, or None.

    A letter at the very start beats one at the end, then after an answer phrase, in brackets,
    before a full stop, a colon, a closing bracket, a blank; any capital letter at last. Within a
    form the later one wins, so that the article in "A dog" counts as an A.

    Source: EvolvingLMMs-Lab/lmms-eval 0.7.3, `tasks/_task_utils/mcq_extract.py`.
    """
    text = response.strip()
    for mark in _LMMS_STRIPPED:
        text = text.strip(mark)
    text = f" {text} "
    mentions = list(_lmms_mentions(text, letters)) or [
        _Mention(_LMMS_ANYWHERE, text.rfind(letter), letter) for letter in letters if letter in text
    ]
    if not mentions:
        return None
    return max(mentions, key=lambda mention: (mention.rank, mention.position)).letter


def _lmms_mentions(text: str, letters: Sequence[str]) -> Iterator[_Mention]:
    for form, rank in _LMMS_FORMS:
        for letter in letters:
            shape = form.format(letter)
            if shape in text:
                yield _Mention(rank, text.rfind(shape), letter)
    yield from _lmms_after_phrases(text, letters)
    bare = text.strip()
    for letter in letters:
        if bare.startswith(letter) and not bare[1:2].isalpha():
            yield _Mention(_LMMS_START, 0, letter)
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            yield _Mention(_LMMS_END, len(text) - 1, letter)


def _lmms_after_phrases(text: str, letters: Sequence[str]) -> Iterator[_Mention]:
    folded = text.lower()
    for phrase in _LMMS_PHRASES:
        start = folded.find(phrase)
        if start < 0:
            continue
        for letter in letters:
            position = text.find(letter, start + len(phrase))
            if position >= 0:
                yield _Mention(_LMMS_PHRASE, position, letter)


_INLINE_OPTIONS = re.compile(r"(?:options|choices):", re.IGNORECASE)
_INLINE_OPTION = re.compile(r"(?:^|,|\n)\s*\(?([A-H])(?::|\))\s")


def inline_options(question: str) -> dict[str, str]:
    """The options that an MMStar question lists as `A: ..., B: ...` or `(A) ...` lines.

    Empty if there is no such list, or its letters are not A, B and so on in order.
    """
    listed = _INLINE_OPTIONS.split(question)[-1].strip()
    marks = list(_INLINE_OPTION.finditer(listed))
    letters = "".join(mark.group(1) for mark in marks)
    if len(letters) < 2 or not "ABCDEFGH".startswith(letters):
        return {}
    ends = [mark.start() for mark in marks[1:]] + [len(listed)]
    return {
        mark.group(1): listed[mark.end() : end].strip()
        for mark, end in zip(marks, ends, strict=True)
    }


def mmstar_marks(
    text: str, answer: str, protocol: str, options: Mapping[str, str] | None = None
) -> list[MetricValue]:
    """Grade one MMStar answer: `correct`, unparsed where the rule finds no letter.

    Args:
        text: The model's answer.
        answer: The gold letter.
        protocol: `official`, `lmms-eval` or `vlmevalkit`.
        options: The options' texts by letter, which `vlmevalkit` alone looks for; without them it
            looks for the letters A to D only.

    Raises:
        ValueError: an unknown protocol.
    """
    gold = answer.strip().upper()
    if protocol == "vlmevalkit":
        letter = (
            vlmevalkit_choice(text, options) if options else vlmevalkit_letter(text, MMSTAR_LETTERS)
        )
        return [_vlmevalkit_mark(letter, gold)]
    if protocol not in _MMSTAR_READERS:
        raise ValueError(f"unknown MMStar protocol {protocol!r}")
    letter = _MMSTAR_READERS[protocol](text)
    if letter is None:
        return [_NAMES_NONE]
    return [MetricValue("correct", float(letter == gold), verdict=letter)]


_MMSTAR_READERS: dict[str, Callable[[str], str | None]] = {
    "official": mmstar_letter,
    "lmms-eval": lmms_letter,
}
