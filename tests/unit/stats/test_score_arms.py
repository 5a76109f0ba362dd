"""Arms in a plain table of scores: numbers made by hand, and what their order may not change."""

from __future__ import annotations

import pandas as pd
import pytest

from pairuni_eval.stats.score_arms import ScoredArm, compare_scores, score_number


def frame(right: int, of: int = 200) -> pd.DataFrame:
    """The first so many of the units are right."""
    units = [f"unit {number:03}" for number in range(of)]
    scores = [float(number < right) for number in range(of)]
    return pd.DataFrame({"sample": units, "draw": 0, "unit": units, "score": scores})


def arm(name: str, *right: int) -> ScoredArm:
    return ScoredArm(name, tuple(map(frame, right)))


def test_a_difference_is_that_of_the_means() -> None:
    found = compare_scores(arm("ours", 150, 152, 154), arm("theirs", 100, 102, 104), margin=None)
    assert found.value == pytest.approx(0.25)
    assert found.evidence is not None and found.evidence.p is not None
    assert found.evidence.p < 1e-6
    assert (found.evidence.tie_p, found.not_worse, found.warning) == (None, None, None)
    assert score_number(arm("ours", 150, 152, 154)).estimate.value == pytest.approx(0.76)


def test_rows_meet_whatever_their_order() -> None:
    ours, theirs = arm("ours", 150, 152, 154), arm("theirs", 140, 143, 146)
    mixed = theirs._replace(
        frames=tuple(one.sample(frac=1, random_state=0) for one in theirs.frames)
    )
    plain, other = (compare_scores(ours, one, margin=0.1) for one in (theirs, mixed))
    assert plain.evidence is not None and other.evidence is not None
    assert plain.value == pytest.approx(other.value)
    assert plain.evidence.error == pytest.approx(other.evidence.error)
    assert plain.not_worse == pytest.approx(other.not_worse)


def test_where_hardly_any_unit_differs_the_guard_speaks() -> None:
    found = compare_scores(arm("ours", 150, 151, 153), arm("theirs", 150, 152, 152), margin=0.01)
    assert found.evidence is not None and found.evidence.tie_p is not None
    assert found.evidence.tie_p > 0.05, "200 units are too few for one point"
    wide = compare_scores(arm("ours", 150, 151, 153), arm("theirs", 150, 152, 152), margin=0.2)
    assert wide.evidence is not None and wide.evidence.tie_p is not None
    assert wide.evidence.tie_p < 0.05 and wide.not_worse is not None and wide.not_worse < 0.05


def test_a_fall_beyond_the_margin_is_not_excused() -> None:
    found = compare_scores(arm("ours", 100, 101, 102), arm("theirs", 150, 151, 152), margin=0.02)
    assert found.not_worse is not None and found.not_worse > 0.99


def test_what_is_missing_is_said() -> None:
    none = compare_scores(arm("ours", 150), ScoredArm("theirs", ()), margin=None)
    assert none.reason == "theirs has no run"
    lost = frame(150)
    lost.loc[3, "score"] = float("nan")
    found = compare_scores(arm("ours", 150), ScoredArm("theirs", (lost,)), margin=None)
    assert (found.reason, found.value) == ("1 outputs of theirs have no score", None)
    few = compare_scores(arm("ours", 150), arm("theirs", 140), margin=None)
    assert few.warning is not None and "one training seed" in few.warning
