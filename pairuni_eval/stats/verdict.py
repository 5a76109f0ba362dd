"""Verdicts about a difference, in one word and in one sentence.

    better, worse   p < 0.05, corrected for all that is looked at together, and the joint interval
                    that belongs to it leaves out 0
    tied            two one-sided tests and their exact guard say that the difference lies within
                    the margin (p < 0.05), or both sides are the same weights and gave the same
                    outputs, decoded greedily or with one seed
    cannot tell     everything else, and wherever no test could be made

Where rows are missing a word stands only if it stands at both ends of what they may be. A metric
without a direction is never better or worse.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.intervals import Interval
from pairuni_eval.stats.multiple import ALPHA
from pairuni_eval.stats.paired import Counts

__all__ = [
    "ALPHA",
    "SentenceParts",
    "Word",
    "change",
    "choose_word",
    "distance",
    "p_words",
    "plain",
    "printed",
    "sentence",
    "signed_plain",
]


class Word(StrEnum):
    """What may be said about a difference."""

    BETTER = "better"
    WORSE = "worse"
    TIED = "tied"
    CANNOT_TELL = "cannot tell"


def choose_word(
    interval: Interval | None, p: float | None, tie_p: float | None, direction: str
) -> Word:
    """The word that the evidence allows; see the module docstring.

    Args:
        interval: Of ours - theirs, at the level that belongs to p.
        p: Of "no difference", corrected where several are tested.
        tie_p: Of "the difference is at least the margin".
        direction: "up", "down" or "none", as the card has it.
    """
    apart = interval is not None and not interval.low <= 0 <= interval.high
    if interval is not None and apart and p is not None and p < ALPHA and direction != "none":
        return Word.BETTER if (interval.low > 0) == (direction == "up") else Word.WORSE
    if tie_p is not None and tie_p < ALPHA:
        return Word.TIED
    return Word.CANNOT_TELL


class SentenceParts(NamedTuple):
    """What a sentence says beside the subject, the word and the numbers.

    Attributes:
        p: The p value behind the word.
        margin: What counts as no difference.
        detectable: The smallest difference that would probably have been found.
        directed: Whether more, or less, is better.
        reason: Why no test was made.
        why: Why nothing can be told although something might have been said.
        left_open: What missing outputs leave open of a difference about which a word stands.
        other: The other side, as it is printed.
        parent: Whether our side was trained from it.
        identical: Whether both sides are the same weights and gave the same outputs.
        equal: Whether no score of a shared output differs.
        scope: What the verdict holds for, where it is less than the arm.
    """

    p: float | None = None
    margin: str | None = None
    detectable: str | None = None
    directed: bool = True
    reason: str | None = None
    why: str | None = None
    left_open: str | None = None
    other: str = ""
    parent: bool = False
    identical: bool = False
    equal: bool = False
    scope: str | None = None


def sentence(subject: str, word: Word, numbers: str, said: SentenceParts) -> str:
    """E.g. "counting is worse than GRPO: 41 -> 35 of 80, p = .01; this checkpoint, one seed".

    Args:
        subject: What was measured.
        word: The verdict.
        numbers: Both numbers, the other side's first; see `change`.
        said: What else is to be said.
    """
    if said.reason is not None:
        return f"{subject}: not compared, {said.reason}"
    if not said.directed:
        return f"{subject}: {numbers}, {p_words(said.p)}; neither more nor less is better"
    if word in (Word.BETTER, Word.WORSE):
        than = f" than {said.other}" if said.other else ""
        verb = f"got {word}" if said.parent else f"is {word}{than}"
        return f"{subject} {verb}: {numbers}, {p_words(said.p)}{_bounds(said)}"
    if word is Word.TIED:
        return f"{subject} is tied: {numbers}; {_tied(said)}{_bounds(said)}"
    if said.why is not None:
        return f"{subject}: cannot tell; {numbers}; {said.why}"
    found = f"{subject}: cannot tell; {numbers}, {p_words(said.p)}"
    return found + (f"; less than {said.detectable} would not be found" if said.detectable else "")


def _bounds(said: SentenceParts) -> str:
    """What a word does not cover: outputs that are missing, and training again."""
    return "".join(f"; {words}" for words in (said.left_open, said.scope) if words)


def _tied(said: SentenceParts) -> str:
    """What holds them together."""
    if said.identical:
        return "both are the same weights, and no shared output differs"
    alike = "no score differs, and " if said.equal else ""
    return f"{alike}they differ by less than {said.margin}, {p_words(said.p)}"


def change(
    theirs: float | None, ours: float | None, spec: MetricSpec, counts: Counts | None = None
) -> str:
    """E.g. "41 -> 35 of 80" for right outputs, "0.412 -> 0.390" for anything else."""
    if counts is not None:
        return f"{counts.theirs} -> {counts.ours} of {counts.of}"
    return f"{plain(theirs, spec)} -> {printed(ours, spec)}"


def plain(value: float | None, spec: MetricSpec) -> str:
    """A value as its card prints it, without a unit; "none" where there is no number."""
    return "none" if value is None else f"{value * spec.scale + 0.0:.{spec.decimals}f}"


def signed_plain(value: float, spec: MetricSpec) -> str:
    """As `plain`, with its sign: "+10.3", "-0.8"."""
    return f"{value * spec.scale + 0.0:+.{spec.decimals}f}"


def printed(value: float | None, spec: MetricSpec) -> str:
    """A value with its unit: per cent where a share is printed times 100."""
    unit = " %" if spec.scale == 100 and value is not None else ""
    return plain(value, spec) + unit


def distance(value: float | None, spec: MetricSpec) -> str | None:
    """A difference with its unit: points where a share is printed times 100."""
    if value is None:
        return None
    return plain(value, spec) + (" points" if spec.scale == 100 else "")


def p_words(p: float | None) -> str:
    """E.g. "p = .01", "p = .004", "p < .001"."""
    if p is None:
        return "p not known"
    if p < 0.001:
        return "p < .001"
    if p > 0.995:
        return "p = 1"
    digits = 3 if p < 0.0095 or 0.045 <= p < 0.055 else 2
    return f"p = {p:.{digits}f}".replace("0.", ".", 1)
