"""Numbers of which every training seed has one: by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pairuni_eval.stats.aggregate import Bounds
from pairuni_eval.stats.multiple import holm_steps
from pairuni_eval.stats.over_seeds import compare_seeds, joint_interval, over_seeds


def test_a_mean_over_three_seeds() -> None:
    found = over_seeds(np.array([0.2, 0.3, 0.4]))
    # sd 0.1, t of 2 degrees of freedom 4.302653
    half = 4.302653 * 0.1 / 3**0.5
    assert found.value == pytest.approx(0.3) and found.clusters == 3
    assert found.interval == pytest.approx((0.3 - half, 0.3 + half), abs=1e-6)
    clipped = over_seeds(np.array([0.2, 0.3, 0.4]), Bounds(0.1, 1.0))
    assert clipped.interval == pytest.approx((0.1, 0.3 + half), abs=1e-6)


def test_few_seeds_have_no_interval_and_a_missing_one_does_not_count() -> None:
    two = over_seeds(np.array([0.2, np.nan, 0.4]))
    assert (two.value, two.interval, two.clusters) == (pytest.approx(0.3), None, 2)
    none = over_seeds(np.array([np.nan, np.nan]))
    assert (none.value, none.interval, none.clusters) == (None, None, 0)


def test_welch_by_hand() -> None:
    ours, theirs = np.array([0.5, 0.6, 0.7]), np.array([0.1, 0.2, 0.6])
    found = compare_seeds(ours, theirs, 0.01)
    assert found is not None
    # variances 0.01 and 0.07: error^2 = 0.08 / 3, freedom = 0.08^2 / ((0.01^2 + 0.07^2) / 2) = 2.56
    assert found.error**2 == pytest.approx(0.08 / 3)
    assert found.interval is not None
    low, high = found.interval
    assert (low + high) / 2 == pytest.approx(0.3)
    assert found.p == pytest.approx(0.179097, abs=1e-6)  # scipy.stats.ttest_ind(equal_var=False)
    assert high - low == pytest.approx(2 * 3.515420 * found.error, rel=1e-5)
    assert found.tie_p is not None and found.tie_p > 0.5
    assert found.detectable is not None and found.detectable > high - 0.3


def test_equal_arms_within_a_wide_margin_are_tied() -> None:
    found = compare_seeds(np.array([0.5, 0.51, 0.52]), np.array([0.5, 0.51, 0.52]), 0.5)
    assert found is not None and found.tie_p is not None and found.tie_p < 0.001
    assert found.p == pytest.approx(1.0)
    without = compare_seeds(np.array([0.5, 0.51, 0.52]), np.array([0.5, 0.51, 0.52]), None)
    assert without is not None and without.tie_p is None


def test_nothing_is_tested_below_three_seeds_or_without_spread() -> None:
    three, two = np.array([0.1, 0.2, 0.3]), np.array([0.1, np.nan, 0.3])
    assert compare_seeds(three, two, None) is None
    assert compare_seeds(np.full(3, 0.5), np.full(3, 0.7), None) is None


def test_the_joint_interval_belongs_to_the_corrected_p() -> None:
    """One clear, one at the edge alone but not among four, two of nothing."""
    draw = np.random.default_rng(0)
    for _ in range(20):
        shifts = (0.5, *draw.uniform(0.0, 0.3, 3))
        pairs = [(draw.normal(s, 0.1, 4), draw.normal(0.0, 0.1, 4)) for s in shifts]
        found = [compare_seeds(ours, theirs, None) for ours, theirs in pairs]
        steps = holm_steps([one.p for one in found if one is not None and one.p is not None])
        assert len(steps) == 4
        for one, step in zip(found, steps, strict=True):
            assert one is not None and one.interval is not None
            joint = joint_interval(one, step)
            assert joint is not None
            assert (joint.low <= 0 <= joint.high) == (step.p >= 0.05)
            assert joint.low <= one.interval.low and joint.high >= one.interval.high
