"""GenEval 2's rules: how probable the right first token of an answer is.

Source: facebookresearch/GenEval2@a6e82d2289e8, `evaluation.py`, `soft_tifa_analysis.py`; written
from a description of what they do, nothing of them is here. A question is worth the probabilities,
added up, of the first tokens of the spellings of its answer: of yes, whatever the answer, and of
the number where the question begins with "How many". Soft-TIFA is the arithmetic mean over the
questions of a picture (AM) or the geometric one (GM); TIFA asks whether the likeliest token is a
spelling; VQAScore is the probability of yes to one question about the whole prompt. Odd but
official: a number with a blank in front begins with the blank alone, for the judge's tokenizer cuts
digits off, so that a bare blank counts as right of every number; "ten" is right by "1"; an answer
"No" is taken for yes; one zero makes GM zero.

The repaired rule lets neither a bare blank nor the "1" of ten count, and reads an answer "No".
Departure of both: spellings are looked up by their text, without the judge's tokenizer; words are
taken to be one token. Tokens beyond those that the endpoint lists have no probability, and how much
that is stands beside the scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pairuni_eval.benchmark import MetricValue
from pairuni_eval.judges.first_token import read_token_probabilities
from pairuni_eval.judges.judge import JudgeReply
from pairuni_eval.records import Status
from pairuni_eval.scorers.judge_calls import marks_without_score

SKILLS = ("object", "attribute", "count", "position", "verb")
SOFT_METRICS = ("gm", "am", "tifa", "outside", *SKILLS)
VQASCORE_METRICS = ("vqascore", "outside")

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_OTHER = "other"  # what official code takes for the digits of a word that is no number
_BLANK = " "
_COUNTING = "How many"
_REQUEST = "Answer in one word."
_WHOLE = 'Does this image show "{}"? Answer the question with Yes or No.'

Probabilities = Mapping[str, float]


def question_of(question: str) -> str:
    """What the judge is asked."""
    return f"{question} {_REQUEST}"


def question_of_prompt(prompt: str) -> str:
    """What the judge is asked for VQAScore."""
    return _WHOLE.format(prompt)


def digits_of(word: str) -> str:
    """The digits of a number from one to ten in words; "other" of anything else."""
    return str(_NUMBERS.index(word) + 1) if word in _NUMBERS else _OTHER


def spellings(question: str, answer: str) -> tuple[str, ...]:
    """The spellings of an answer, by the official rule."""
    if not question.startswith(_COUNTING):
        return _in_words("yes")
    digits = digits_of(answer)
    return (*_in_words(answer), digits, _BLANK + digits)


def official_tokens(question: str, answer: str) -> frozenset[str]:
    """The first tokens of the spellings: of digits the first, of a blank before them the blank."""
    return frozenset(
        one[0] if one.strip().isdecimal() else one for one in spellings(question, answer)
    )


def repaired_tokens(question: str, answer: str) -> frozenset[str]:
    """The first tokens that mean the answer and no other."""
    if not question.lower().startswith(_COUNTING.lower()):
        return frozenset(_in_words("no" if answer.strip().lower() == "no" else "yes"))
    digits = digits_of(answer)
    return frozenset((*_in_words(answer), *([digits] if len(digits) == 1 else [])))


TOKEN_RULES = {"official": official_tokens, "repaired": repaired_tokens}


def mass(probabilities: Probabilities, tokens: frozenset[str]) -> float:
    """The probabilities of these tokens, added up."""
    return math.fsum(probabilities.get(token, 0.0) for token in sorted(tokens))


def arithmetic_mean(values: Sequence[float]) -> float:
    """The mean; ZeroDivisionError of nothing, as upstream."""
    return sum(values) / len(values)


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean, 0 with a value of 0; ZeroDivisionError of nothing, as upstream."""
    power = 1 / len(values)
    return math.exp(math.fsum(map(math.log, values)) * power) if all(values) else 0.0


def is_likeliest(probabilities: Probabilities, question: str, answer: str) -> bool:
    """Whether the likeliest token, in lower case, is a spelling of the answer."""
    likeliest = max(probabilities, key=lambda token: probabilities[token])
    return likeliest.lower() in spellings(question, answer)


def soft_marks(
    replies: Sequence[JudgeReply],
    questions: Sequence[tuple[str, str]],
    skills: Sequence[str],
    protocol: str,
) -> list[MetricValue]:
    """Grade one picture: GM, AM, TIFA, the probability outside, and the sum over each skill.

    Args:
        replies: What the judge's first token might have been, a reply a question.
        questions: Questions with their answers, at least one.
        skills: What each asks for.
        protocol: "official" or "repaired".

    Raises:
        ValueError: an unknown protocol.
    """
    tokens_of = TOKEN_RULES.get(protocol)
    if tokens_of is None:
        raise ValueError(f"no protocol '{protocol}' for Soft-TIFA")
    read = _read_all(replies)
    if isinstance(read, JudgeReply):
        return marks_without_score(SOFT_METRICS, read)
    pairs = list(zip(read, questions, strict=True))
    values = [min(mass(seen, tokens_of(*asked)), 1.0) for seen, asked in pairs]
    sums = [
        math.fsum(value for value, skill in zip(values, skills, strict=True) if skill == name)
        for name in SKILLS
    ]
    numbers = (
        geometric_mean(values),
        arithmetic_mean(values),
        arithmetic_mean([is_likeliest(seen, *asked) for seen, asked in pairs]),
        arithmetic_mean([_outside(seen) for seen in read]),
        *sums,
    )
    words = ", ".join(f"{value:.3f}" for value in values)
    return _marks(SOFT_METRICS, numbers, words, replies)


def vqascore_marks(reply: JudgeReply) -> list[MetricValue]:
    """Grade one picture by the probability of yes to the question about the whole prompt."""
    read = _read_all([reply])
    if isinstance(read, JudgeReply):
        return marks_without_score(VQASCORE_METRICS, read)
    yes = min(mass(read[0], frozenset(_in_words("yes"))), 1.0)
    return _marks(VQASCORE_METRICS, (yes, _outside(read[0])), reply.text, [reply])


def _in_words(word: str) -> tuple[str, str, str, str]:
    capital = word.capitalize()
    return word, capital, _BLANK + word, _BLANK + capital


def _read_all(replies: Sequence[JudgeReply]) -> list[Probabilities] | JudgeReply:
    """What was read of each reply, or the first that cannot be read."""
    found = []
    for reply in replies:
        read = read_token_probabilities(reply.text) if reply.status is Status.SCORED else None
        if read is None:
            return reply
        found.append(read)
    return found


def _outside(probabilities: Probabilities) -> float:
    return max(0.0, 1.0 - math.fsum(probabilities.values()))


def _marks(
    metrics: Sequence[str], values: Sequence[float], words: str, replies: Sequence[JudgeReply]
) -> list[MetricValue]:
    return [
        MetricValue(metric, float(value), verdict=words, judge=replies[0].judge)
        for metric, value in zip(metrics, values, strict=True)
    ]
