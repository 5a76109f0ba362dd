"""Strips: where marks stand, by numbers worked out by hand."""

from __future__ import annotations

import re

import pytest

from pairuni_eval.cards import MetricSpec
from pairuni_eval.report.figures import around, axis_around, reach
from pairuni_eval.stats.compare import Difference, Word
from pairuni_eval.stats.intervals import Interval


def row(value: float, joint: Interval | None, word: Word, span: float | None = 1.0) -> Difference:
    return Difference(
        benchmark="b",
        protocol="official",
        spec=MetricSpec(name="accuracy"),
        headline=True,
        ours=value,
        theirs=0.0,
        interval=joint,
        p=0.2,
        corrected=0.4,
        shared=40,
        clusters=40,
        word=word,
        same_settings=True,
        joint=joint,
        equivalence=joint if word is Word.TIED else None,
        margin=0.01,
        span=span,
    )


WIDE = row(0.05, Interval(-0.02, 0.12), Word.CANNOT_TELL)


def test_strips_reach_as_far_as_the_farthest_interval() -> None:
    assert reach([WIDE, None, row(0.5, None, Word.TIED, span=None)]) == pytest.approx(0.15)
    assert reach([row(0.9, Interval(0.8, 1.0), Word.BETTER)]) == 1.0
    assert reach([]) == pytest.approx(0.01)


def test_marks_stand_around_the_middle() -> None:
    drawn = str(around(WIDE, 0.2, "tiny"))
    assert 'x1="45.00%" x2="80.00%"' in drawn  # the joint interval
    assert '<svg x="62.50%"' in drawn  # the difference
    assert '<rect class="band" x="47.50%" width="5.00%"' in drawn  # 1 point to both sides
    assert 'aria-label="tiny: +5.0 [\N{MINUS SIGN}2.0, 12.0], cannot tell"' in drawn


@pytest.mark.parametrize("word", list(Word))
def test_a_word_has_a_color_and_a_shape_of_its_own(word: Word) -> None:
    drawn = [str(around(row(0.05, Interval(-0.1, 0.2), one), 0.2, "b")) for one in Word]
    assert len({re.findall(r' d="(.*?)"', one)[0] for one in drawn}) == len(Word)
    found = str(around(row(0.05, Interval(-0.1, 0.2), word), 0.2, "b"))
    assert f'class="strip around {str(word).replace(" ", "-")}"' in found


def test_nothing_is_drawn_where_the_range_is_not_known_or_nothing_was_compared() -> None:
    assert around(row(0.05, None, Word.CANNOT_TELL, span=None), 0.2, "b") == ""
    assert around(WIDE._replace(reason="other judge"), 0.2, "b") == ""


def test_a_mark_beyond_the_strip_stands_at_its_end() -> None:
    drawn = str(around(row(0.5, Interval(-0.9, 0.9), Word.TIED), 0.2, "b"))
    assert 'x1="0.00%" x2="100.00%"' in drawn and '<svg x="100.00%"' in drawn


def test_names_of_others_are_escaped() -> None:
    assert "<script>" not in str(around(WIDE, 0.2, '<script>alert(1)</script>"'))


def test_the_axis_names_both_ends() -> None:
    assert "\N{MINUS SIGN}20\N{NO-BREAK SPACE}%" in axis_around(0.2)
