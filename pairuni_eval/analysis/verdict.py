"""What may be said about a difference, in one word and in one sentence.

    better, worse   the 95 % interval leaves out 0 and p < 0.05 (corrected by Holm over the
                    headlines, or over the groups of one benchmark)
    tied            two one-sided tests say that the difference lies within the margin
                    (p < 0.05), or every shared output has the same value in both
    cannot tell     everything else, and wherever no test could be made

A metric without a direction is never better or worse.
"""

from __future__ import annotations

from enum import StrEnum

from pairuni_eval.analysis.intervals import Interval
from pairuni_eval.analysis.paired import Counts
from pairuni_eval.cards import MetricSpec

ALPHA = 0.05


class Word(StrEnum):
    """What may be said about a difference."""

    BETTER = "better"
    WORSE = "worse"
    TIED = "tied"
    CANNOT_TELL = "cannot tell"


def choose(interval: Interval | None, p: float | None, tie_p: float | None, direction: str) -> Word:
    """The word that the evidence allows; see the module docstring.

    Args:
        interval: 95 % interval of ours - theirs.
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


def sentence(
    subject: str,
    word: Word,
    numbers: str,
    *,
    p: float | None,
    margin: str | None = None,
    detectable: str | None = None,
    directed: bool = True,
    reason: str | None = None,
) -> str:
    """E.g. "counting got worse: 41 -> 35 of 80, p = .01".

    Args:
        subject: What was measured.
        word: The verdict.
        numbers: Both numbers, the other side's first; see `change`.
        p: The p value behind the word.
        margin: What counts as no difference; None if every output is equal.
        detectable: The smallest difference that would probably have been found.
        directed: Whether more, or less, is better.
        reason: Why no test was made.
    """
    if reason is not None:
        return f"{subject}: not compared, {reason}"
    if not directed:
        return f"{subject}: {numbers}, {p_words(p)}; neither more nor less is better"
    if word in (Word.BETTER, Word.WORSE):
        return f"{subject} got {word}: {numbers}, {p_words(p)}"
    if word is Word.TIED:
        held = (
            "no shared output differs" if margin is None else f"they differ by less than {margin}"
        )
        return f"{subject} is tied: {numbers}; {held}"
    found = f"{subject}: cannot tell; {numbers}, {p_words(p)}"
    return found + (f"; less than {detectable} would not be found" if detectable else "")


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
