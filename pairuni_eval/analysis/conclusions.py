"""From the evidence about a difference to what may be said: joint interval, word, reason, sentence.

A word is one of several on a page. The interval beside it belongs to the corrected p: the plain
one, its halves scaled by the ratio of t points at level 1 - .05 / k, where Holm decides the row as
one of k. Where rows are missing it reaches over both ends of what they may be, and p is the largest
of the three; ends of different sign have p = 1. So better and worse stand exactly where the
corrected p is below .05 and the joint interval leaves out 0; anywhere else it is made to hold 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pairuni_eval.analysis.deciding import Deciding, Undecided, decide
from pairuni_eval.analysis.difference import Difference
from pairuni_eval.analysis.intervals import LEVEL, Interval, t_point
from pairuni_eval.analysis.multiple import ALPHA, Step
from pairuni_eval.analysis.paired import POWER
from pairuni_eval.analysis.verdict import (
    Said,
    Word,
    change,
    choose,
    distance,
    plain,
    sentence,
    signed_plain,
)


class _Seen(NamedTuple):
    """The evidence on what is there, or at one end of what is missing."""

    value: float
    interval: Interval | None
    p: float | None
    tie_p: float | None
    freedom: float | None


def least_sure_p(row: Difference) -> float | None:
    """The p that is corrected: plain, or the largest over what the missing rows may be."""
    if row.p is None or not row.missing.any:
        return row.p
    seen = list(_seen(row))
    signs = {(one.value > 0) - (one.value < 0) for one in seen}
    if len(seen) == 1 or len(signs) > 1 or any(one.p is None for one in seen):
        return 1.0
    return max(one.p or 0.0 for one in seen)


def concluded(row: Difference, step: Step | None) -> Difference:
    """The row with its corrected p, joint interval, word, reason and sentence.

    Args:
        row: The row with its evidence.
        step: What the correction made of its p; None where it has none.
    """
    p = None if step is None else step.p
    times = 1 if step is None else step.times
    joint = _joint(row, times)
    word = choose(joint, p, _tie_p(row), row.spec.direction)
    if joint is not None and word not in (Word.BETTER, Word.WORSE):
        joint = Interval(min(joint.low, 0.0), max(joint.high, 0.0))
    found = row._replace(corrected=p, joint=joint, word=word)
    found = found._replace(why=_why(found, times))
    found = found._replace(deciding=_deciding(found, times))
    return found._replace(sentence=_sentence(found))


def _seen(row: Difference) -> Iterator[_Seen]:
    yield _Seen(row.value or 0.0, row.interval, row.p, row.tie_p, row.freedom)
    if row.at_ends is not None and row.ends is not None:
        for value, end in zip(row.ends, row.at_ends, strict=True):
            yield _Seen(value, end.interval, end.p, end.tie_p, end.freedom)


def _joint(row: Difference, times: int) -> Interval | None:
    """The hull of the scaled intervals on what is there and at both ends of what is missing."""
    found = [_scaled(one, times, row.span) for one in _seen(row)]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    return Interval(min(one.low for one in known), max(one.high for one in known))


def _scaled(one: _Seen, times: int, span: float | None) -> Interval | None:
    if one.interval is None:
        return None
    freedom = 1e9 if one.freedom is None else one.freedom
    plain_point = t_point(0.5 * (1 + LEVEL), freedom)
    ratio = t_point(1 - ALPHA / (2 * times), freedom) / plain_point
    low = one.value - ratio * max(0.0, one.value - one.interval.low)
    high = one.value + ratio * max(0.0, one.interval.high - one.value)
    return Interval(low, high) if span is None else Interval(max(low, -span), min(high, span))


def _tie_p(row: Difference) -> float | None:
    if row.reason is not None:
        return None
    if row.about.same_weights and row.equal and row.same_settings and not row.missing.any:
        return 0.0
    if row.missing.any and row.at_ends is None:
        return None
    found = [one.tie_p for one in _seen(row)]
    return None if None in found else max(one for one in found if one is not None)


def _why(row: Difference, times: int) -> str | None:
    """Why nothing can be told although something might have been said."""
    if row.word is not Word.CANNOT_TELL or row.reason is not None:
        return None
    if row.missing.any:
        alone = row._replace(missing=row.missing._replace(any=0), at_ends=None, ends=None)
        p = None if row.p is None else min(1.0, row.p * times)
        word = choose(_joint(alone, times), p, row.tie_p, row.spec.direction)
        if word is not Word.CANNOT_TELL:
            return _missing_words(row, word)
    if row.equal and row.margin is not None:
        return f"the same in all {row.clusters:,}"
    return None


def _missing_words(row: Difference, word: Word) -> str:
    """E.g. "7 of 80 outputs are missing; counted as wrong they make it -0.8 [-3.1, 1.5]"."""
    ours, theirs, any_ = row.missing
    who = "" if ours and theirs else " of ours" if ours else f" of {row.about.other or 'the other'}"
    said = f"{any_:,} of {row.planned:,} outputs{who} are missing"
    if row.at_ends is None or row.ends is None:
        return f"{said}, and the range of their values is not known"
    if word is Word.TIED:
        low, high = (signed_plain(value, row.spec) for value in row.ends)
        return f"{said}; they may make it {low} to {high}"
    end = 0 if (row.value or 0.0) > 0 else 1
    held = row.at_ends[end].interval
    between = f" [{plain(held.low, row.spec)}, {plain(held.high, row.spec)}]" if held else ""
    wrong = (end == 0) == (row.spec.direction == "up")
    counted = _counted(bool(ours), bool(theirs), wrong=wrong)
    return f"{said}; {counted} they make it {signed_plain(row.ends[end], row.spec)}{between}"


def _counted(ours: bool, theirs: bool, *, wrong: bool) -> str:
    """How the missing outputs are counted at the end that speaks against the word."""
    words = ("wrong", "right") if wrong else ("right", "wrong")
    if ours and theirs:
        return f"with ours counted as {words[0]} and theirs as {words[1]}"
    return f"counted as {words[0] if ours else words[1]}"


def _deciding(row: Difference, times: int) -> Deciding | None:
    if row.word is not Word.CANNOT_TELL or row.reason is not None or row.value is None:
        return None
    if row.spec.direction == "none" or (row.why is not None and row.missing.any):
        return None
    detectable = row.detectable
    if detectable is not None and row.freedom is not None:
        power = t_point(POWER, row.freedom)
        alone = t_point(0.5 * (1 + LEVEL), row.freedom) + power
        detectable *= (t_point(1 - ALPHA / (2 * times), row.freedom) + power) / alone
    return decide(
        Undecided(
            spec=row.spec,
            value=row.value,
            margin=row.margin,
            detectable=detectable,
            clusters=row.clusters,
            available=max(row.available, row.clusters),
            seeds=min(row.seeds),
            between=row.between,
            span=row.span,
        )
    )


def _sentence(row: Difference) -> str:
    return sentence(
        row.subject,
        row.word,
        change(row.theirs, row.ours, row.spec, row.counts),
        Said(
            p=_tie_p(row) if row.word is Word.TIED else row.corrected,
            margin=distance(row.margin, row.spec),
            detectable=distance(row.detectable, row.spec),
            directed=row.spec.direction != "none",
            reason=row.reason,
            why=row.why,
            other=row.about.other,
            parent=row.about.parent,
            same_weights=row.about.same_weights,
            equal=row.equal,
            scope=row.about.scope,
        ),
    )
