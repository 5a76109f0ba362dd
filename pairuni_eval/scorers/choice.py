"""Multiple choice and short answers: which option or value did a text name?

MMMU (official `mmmu/utils/eval_utils.py`): brackets first, then bare letters, then option texts;
the last mention wins. Upstream draws a random option when nothing matches and calls that the
answer; here the parser returns None, and only the protocol `official` draws, from the sample's own
seed, and says so in the verdict.
MMStar (official `MMStar_eval`): the letter must stand in one of four fixed places. Odd but
official: "because it is A" is right for B, "**B**" and "The answer is (B)" are right for nothing.
MMStar of lmms-eval 0.7.3 ranks every mention of a letter by its form (`lmms_letter`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pairuni_eval.benchmark import Mark
from pairuni_eval.records import Status
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
    text = response
    for mark in _MMMU_STRIPPED:
        text = text.strip(mark)
    text = f" {text} "
    return (
        _last_named(text, {letter: f"({letter})" for letter in letters})
        or _last_named(text, {letter: f" {letter} " for letter in letters})
        or _last_content(text, options)
    )


def _last_named(text: str, forms: Mapping[str, str]) -> str | None:
    """The key whose form occurs last in the text; the first key where two end up level."""
    found = {key: text.rfind(form) for key, form in forms.items() if form in text}
    return max(found, key=found.__getitem__) if found else None


def _last_content(text: str, options: Mapping[str, str]) -> str | None:
    """The option whose own text occurs last; only looked for in answers of at least six words."""
    if len(text.split()) < _MIN_WORDS_FOR_CONTENT:
        return None
    return _last_named(text.lower(), {key: option.lower() for key, option in options.items()})


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


def mmmu_marks(text: str, reference: Mapping[str, Any], sample: str, protocol: str) -> list[Mark]:
    """Grade one MMMU answer: `correct`, and `guessed` (1 where the official rule draws).

    Args:
        text: The model's answer.
        reference: `type` ("multiple-choice" or "open"), `answer`, and `options` as a list.
        sample: The uid that fixes the guess.
        protocol: `official` draws a guess for an unreadable choice; `no-guess` calls it unparsed.

    Raises:
        ValueError: an unknown protocol.
    """
    if protocol not in ("official", "no-guess"):
        raise ValueError(f"unknown MMMU protocol {protocol!r}")
    if reference["type"] != "multiple-choice":
        right = open_correct(reference["answer"], open_candidates(text))
        return [Mark("correct", float(right)), Mark("guessed", 0.0)]
    options = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", reference["options"], strict=False))
    letters = list(options)
    letter = mmmu_letter(text, letters, options)
    if letter is not None:
        right = choice_correct(reference["answer"], letter)
        return [Mark("correct", float(right), verdict=letter), Mark("guessed", 0.0)]
    if protocol == "no-guess":
        return [Mark("correct", None, Status.UNPARSED, "names no option"), Mark("guessed", 0.0)]
    letter = mmmu_guess(letters, sample)
    right = choice_correct(reference["answer"], letter)
    said = f"names no option; {letter} drawn from the sample's seed"
    return [Mark("correct", float(right), verdict=said), Mark("guessed", 1.0)]


# MMStar

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
    return next((mark for mark in "ABCD" if mmstar_correct(prediction, mark)), None)


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


def mmstar_marks(text: str, answer: str, protocol: str) -> list[Mark]:
    """Grade one MMStar answer: `correct`, unparsed where the rule finds no letter.

    Raises:
        ValueError: a protocol other than `official` and `lmms-eval`.
    """
    if protocol not in _MMSTAR_READERS:
        raise ValueError(f"unknown MMStar protocol {protocol!r}")
    letter = _MMSTAR_READERS[protocol](text)
    if letter is None:
        return [Mark("correct", None, Status.UNPARSED, "names no option")]
    return [Mark("correct", float(letter == answer.strip().upper()), verdict=letter)]


_MMSTAR_READERS: dict[str, Callable[[str], str | None]] = {
    "official": mmstar_letter,
    "lmms-eval": lmms_letter,
}
