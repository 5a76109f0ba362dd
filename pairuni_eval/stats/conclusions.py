"""Conclusions from the evidence about a difference: joint interval, word, reason, sentence.

A word is one of several on a page. The interval beside it belongs to the corrected p: the plain
one, its halves scaled to level 1 - .05 / k by the ratio of t points, where Holm decides the row as
one of k; where no unit differs, by that of the exact bounds. Where rows are missing it reaches over
both ends of what they may be, and p is the largest of the three; ends of different sign have p = 1.
So better and worse stand exactly where the corrected p is below .05 and the joint interval leaves
out 0; anywhere else it is made to hold 0. Beside a tie stand the interval and the p of its own
test. What would have been found, and what would decide, are at the level that the correction leaves
to the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pairuni_eval.stats.deciding import Deciding, Undecided, decide
from pairuni_eval.stats.difference import Difference
from pairuni_eval.stats.intervals import LEVEL, Interval, t_point
from pairuni_eval.stats.multiple import ALPHA, Step
from pairuni_eval.stats.paired import detectable
from pairuni_eval.stats.unseen import unseen_share
from pairuni_eval.stats.verdict import (
    SentenceParts,
    Word,
    change,
    choose_word,
    distance,
    plain,
    sentence,
    signed_plain,
)

_NONE = 1e-12  # an error below it is rounding
_MANY = 30  # degrees of freedom, from which on t points hardly fall


class _Seen(NamedTuple):
    """The evidence on what is there, or at one end of what is missing."""

    value: float
    interval: Interval | None
    p: float | None
    tie_p: float | None
    freedom: float | None
    error: float | None
    detectable: float | None
    equivalence: Interval | None


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
    word = choose_word(joint, p, _tie_p(row), row.spec.direction)
    if joint is not None and word not in (Word.BETTER, Word.WORSE):
        joint = Interval(min(joint.low, 0.0), max(joint.high, 0.0))
    tied = _equivalence(row) if word is Word.TIED else row.equivalence
    found = row._replace(corrected=p, joint=joint, word=word, equivalence=tied)
    found = found._replace(detectable=_detectable(next(_seen(row)), times, row.span))
    found = found._replace(why=_why(found, times), left_open=_left_open(found, times))
    found = found._replace(deciding=_deciding(found, times))
    return found._replace(sentence=_sentence(found))


def _seen(row: Difference) -> Iterator[_Seen]:
    rest = row.tie_p, row.freedom, row.error, row.detectable, row.equivalence
    yield _Seen(row.value or 0.0, row.interval, row.p, *rest)
    if row.at_ends is not None and row.ends is not None:
        for value, end in zip(row.ends, row.at_ends, strict=True):
            rest = end.tie_p, end.freedom, end.error, end.detectable, end.equivalence
            yield _Seen(value, end.interval, end.p, *rest)


def _joint(row: Difference, times: int) -> Interval | None:
    """The hull of the scaled intervals on what is there and at both ends of what is missing."""
    return _hull([_scaled(one, times, row.clusters, row.span) for one in _seen(row)])


def _scaled(one: _Seen, times: int, clusters: int, span: float | None) -> Interval | None:
    if one.interval is None:
        return None
    ratio = _widened(one, times, clusters)
    low = one.value - ratio * max(0.0, one.value - one.interval.low)
    high = one.value + ratio * max(0.0, one.interval.high - one.value)
    return Interval(low, high) if span is None else Interval(max(low, -span), min(high, span))


def _widened(one: _Seen, times: int, clusters: int) -> float:
    """How much longer the halves of an interval are as one of so many tests.

    By the ratio of t points; where no unit differs, of the shares that may be different unseen.
    """
    if one.error is not None and one.error <= _NONE * max(1.0, abs(one.value)) and clusters > 0:
        return unseen_share(clusters, ALPHA / (2 * times)) / unseen_share(clusters, ALPHA / 2)
    freedom = 1e9 if one.freedom is None else one.freedom
    return t_point(1 - ALPHA / (2 * times), freedom) / t_point(0.5 * (1 + LEVEL), freedom)


def _tie_p(row: Difference) -> float | None:
    if row.reason is not None:
        return None
    if row.by_identity and not row.missing.any:
        return 0.0
    return row.p_tied


def _equivalence(row: Difference) -> Interval | None:
    """The hull of the intervals of the tests for a tie."""
    return _hull([one.equivalence for one in _seen(row)])


def _hull(intervals: Sequence[Interval | None]) -> Interval | None:
    """The interval that holds all; None where one is not known."""
    known = [one for one in intervals if one is not None]
    if len(known) < len(intervals):
        return None
    return Interval(min(one.low for one in known), max(one.high for one in known))


def _detectable(one: _Seen, times: int, span: float | None) -> float | None:
    """The difference that would be found as one of so many tests; None where no unit differs.

    It is the range of the metric where even that would not be found.
    """
    if one.detectable is None or one.error is None or one.freedom is None:
        return None
    found = detectable(one.error, one.freedom, times)
    return found if span is None else min(found, span)


def _detectable_by_many(one: _Seen, times: int) -> float | None:
    """The same had the error many degrees of freedom, as it has with the units that are lacking."""
    if one.detectable is None or one.error is None:
        return None
    return detectable(one.error, max(one.freedom or 0.0, _MANY), times)


def _why(row: Difference, times: int) -> str | None:
    """Why nothing can be told although something might have been said."""
    if row.word is not Word.CANNOT_TELL or row.reason is not None:
        return None
    if row.missing.any:
        return _missing_words(row, _word_alone(row, times), times)
    if row.equal and row.margin is not None:
        return f"the same score in all {row.clusters:,}"
    return None


def _left_open(row: Difference, times: int) -> str | None:
    """What missing outputs leave open of a difference about which something can be told."""
    if row.word is Word.CANNOT_TELL or row.reason is not None or not row.missing.any:
        return None
    return _missing_words(row, Word.CANNOT_TELL, times)


def _word_alone(row: Difference, times: int) -> Word:
    """What the shared outputs would say if nothing were missing."""
    alone = row._replace(missing=row.missing._replace(any=0), at_ends=None, ends=None)
    p = None if row.p is None else min(1.0, row.p * times)
    return choose_word(_joint(alone, times), p, row.tie_p, row.spec.direction)


def _missing_words(row: Difference, word: Word, times: int) -> str:
    """E.g. "7 of 80 outputs are missing; counted as wrong they make it -0.8 [-3.1, 1.5]".

    Args:
        row: The row.
        word: What the shared outputs alone would say.
        times: How many tests it is one of.
    """
    ours, theirs, any_ = row.missing
    who = "" if ours and theirs else " of ours" if ours else f" of {row.about.other or 'the other'}"
    are, they = ("is", "it") if any_ == 1 else ("are", "they")
    said = f"{any_:,} of {row.planned:,} outputs{who} {are} missing"
    if row.at_ends is None or row.ends is None:
        return f"{said}, and the range of their values is not known"
    if word not in (Word.BETTER, Word.WORSE):
        low, high = (signed_plain(value, row.spec) for value in row.ends)
        return f"{said}; {they} may make the difference {low} to {high}"
    end = 0 if (row.value or 0.0) > 0 else 1
    held = _scaled(list(_seen(row))[1 + end], times, row.clusters, row.span)
    if held is not None and row.ends[end] * (row.value or 0.0) >= 0:
        held = Interval(min(held.low, 0.0), max(held.high, 0.0))
    between = f" [{plain(held.low, row.spec)}, {plain(held.high, row.spec)}]" if held else ""
    wrong = (end == 0) == (row.spec.direction == "up")
    counted = _counted(bool(ours), bool(theirs), wrong=wrong)
    makes = f"{they} make{'s' * (any_ == 1)} it"
    return f"{said}; {counted} {makes} {signed_plain(row.ends[end], row.spec)}{between}"


def _counted(ours: bool, theirs: bool, *, wrong: bool) -> str:
    """How the missing outputs are counted at the end that speaks against the word."""
    words = ("wrong", "right") if wrong else ("right", "wrong")
    if ours and theirs:
        return f"with ours counted as {words[0]} and theirs as {words[1]}"
    return f"counted as {words[0] if ours else words[1]}"


def _deciding(row: Difference, times: int) -> Deciding | None:
    if row.word is not Word.CANNOT_TELL or row.reason is not None or row.value is None:
        return None
    value = _at_least(row, times)
    if row.spec.direction == "none" or value is None:
        return None
    found = [_detectable_by_many(one, times) for one in _seen(row)]
    return decide(
        Undecided(
            spec=row.spec,
            value=value,
            margin=row.margin,
            detectable=max((one for one in found if one is not None), default=None),
            clusters=row.clusters,
            available=row.available and max(row.available, row.clusters),
            counted=row.available_counted,
            seeds=min(row.seeds),
            between=row.between,
            span=row.span,
        )
    )


def _at_least(row: Difference, times: int) -> float | None:
    """How large the difference is at least, whatever the missing rows are.

    None where it is the missing rows that leave it open, so that more units would not decide it:
    the shared ones alone say a word, or the ends are neither both beyond the margin on one side nor
    both inside it.
    """
    if not row.missing.any:
        return row.value
    if row.ends is None or _word_alone(row, times) is not Word.CANNOT_TELL:
        return None
    margin, nearest = row.margin or 0.0, min(row.ends, key=abs)
    if max(map(abs, row.ends)) < margin:
        return nearest
    one_side = (row.ends[0] > 0) == (row.ends[1] > 0)
    return nearest if one_side and abs(nearest) > margin else None


def _sentence(row: Difference) -> str:
    return sentence(
        row.subject,
        row.word,
        ", ".join(filter(None, [change(row.theirs, row.ours, row.spec, row.counts), row.part])),
        SentenceParts(
            p=row.p_beside if row.word is Word.TIED else row.corrected,
            margin=distance(row.margin, row.spec),
            detectable=distance(row.detectable, row.spec),
            directed=row.spec.direction != "none",
            reason=row.reason,
            why=row.why,
            left_open=row.left_open,
            other=row.about.other,
            parent=row.about.parent,
            identical=row.by_identity,
            equal=row.equal,
            scope=row.about.scope,
        ),
    )
