"""What an answer to a training question is graded by: the reference of a benchmark, read back.

A benchmark's rows say apart what is asked, which options there are and what is right. A training
question is a text and a gold answer, and a prompt has what its source knows of it. Each function
makes of that what the rule of its benchmark needs, or None where the rule could not grade it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pairuni_eval.prompts import LETTER_SUFFIX, LETTERS, WORD_SUFFIX
from pairuni_eval.scorers.answer_form import option_letter
from pairuni_eval.scorers.choice import MMSTAR_LETTERS, inline_options

_OPTION_LINE = re.compile(r"^[ \t]*(?:\(([A-Za-z])\)|([A-Za-z])[).:])(?:[ \t]+(.*))?$")


def listed_options(question: str) -> dict[str, str]:
    """The options that a question lists: lines `(A) ...`, `A. ...`, or inline as MMStar's.

    Of several lists the last one, whose letters are A, B and so on in order; an option ends before
    the next one, an empty line or the end. Small letters are read as capitals.

    Returns:
        Empty without a list of two or more.
    """
    text = question.replace(LETTER_SUFFIX, "").replace(WORD_SUFFIX, "").rstrip()
    found: dict[str, str] = {}
    best: dict[str, str] = {}
    for line in text.splitlines():
        mark = _OPTION_LINE.match(line)
        letter = (mark[1] or mark[2]).upper() if mark else ""
        if mark and letter in ("A", LETTERS[len(found) : len(found) + 1]):
            found = {} if letter == "A" else found
            found[letter] = (mark[3] or "").strip()
            best = found if len(found) > 1 else best
        elif found and line.strip() and not mark:
            last = next(reversed(found))
            found[last] = f"{found[last]}\n{line.strip()}".strip()
        else:
            found = {}
    return best or inline_options(text)


def mmmu_reference(question: str, answer: str) -> dict[str, Any] | None:
    """What `mmmu_marks` needs to grade an answer to a question from elsewhere.

    Options are read back from the text. A gold answer that states an option ("b", "(B)", "B. dog")
    is its letter, one in words stands for the one option that it spells; without options it is an
    open answer.

    Returns:
        None where the rule has nothing to compare: no gold answer, a letter without options, or a
        gold answer that is none of them.
    """
    options, gold = listed_options(question), answer.strip()
    if not options:
        lone = len(gold) == 1 and gold.upper() in LETTERS
        return None if lone or not gold else {"type": "open", "answer": gold, "options": []}
    letter = _stated(options, gold)
    if letter is None:
        return None
    return {"type": "multiple-choice", "answer": letter, "options": list(options.values())}


def _stated(options: Mapping[str, str], gold: str) -> str | None:
    """The option that a gold answer states: its letter, its words, or its words in another case."""
    if gold in options:
        return gold
    folded = [letter for letter, text in options.items() if text.lower() == gold.lower()]
    exact = [letter for letter in folded if options[letter] == gold]
    if len(exact) == 1:
        return exact[0]
    letter = option_letter(gold, tuple(options))
    return letter or (folded[0] if len(folded) == 1 else None)


def mmstar_reference(question: str, answer: str) -> dict[str, Any] | None:
    """What `mmstar_marks` needs for a question from elsewhere; None unless A to D is right."""
    gold = answer.strip().upper()
    if len(gold) != 1 or gold not in MMSTAR_LETTERS:
        return None
    return {"answer": gold, "options": inline_options(question)}


def yes_no_reference(answer: str) -> dict[str, str] | None:
    """The reference of a yes-or-no question from elsewhere; None if another answer is right."""
    gold = answer.strip().lower()
    return {"answer": gold} if gold in ("yes", "no") else None


def geneval_reference(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metadata of a prompt from elsewhere, which its source holds as `row`; None without."""
    row = facts.get("row")
    return dict(row) if isinstance(row, Mapping) and "include" in row else None
