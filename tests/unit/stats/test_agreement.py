"""Krippendorff's alpha against the examples that he published, and what follows from its form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from pairuni_eval.stats.agreement import LEVELS, Level, _alphas, _counts, measure

NONE = math.nan

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), sections A to D.
BINARY = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]
TWO_JUDGES = [[ord(c) for c in "aabbdcccedda"], [ord(c) for c in "babbbccceddd"]]
FOUR_JUDGES = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
    [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
]


def alpha_of(ratings: ArrayLike, *, level: Level) -> float | None:
    """Alpha of the whole table; None if it is not defined."""
    counts, values = _counts(np.asarray(ratings, dtype=np.float64))
    alpha = float(_alphas(np.ones((1, len(counts))), counts, values, level)[0])
    return alpha if math.isfinite(alpha) else None


@pytest.mark.parametrize(
    ("judges", "level", "published"),
    [
        (BINARY, "nominal", 0.095),
        (TWO_JUDGES, "nominal", 0.692),
        (FOUR_JUDGES, "nominal", 0.743),
        (FOUR_JUDGES, "ordinal", 0.815),
        (FOUR_JUDGES, "interval", 0.849),
    ],
)
def test_alpha_is_the_published_one(judges: ArrayLike, level: Level, published: float) -> None:
    assert alpha_of(np.transpose(judges), level=level) == pytest.approx(published, abs=5e-4)


def test_alpha_of_a_small_table_by_hand() -> None:
    """Pairs (0, 0), (0, 1), (2, 2): values 0 0 0 1 2 2.

    Nominal: seen 2 / 6; expected (36 - 9 - 1 - 4) / 30; alpha = 1 - (1/3) / (22/30) = 6/11.
    Interval: seen 2 / 6; expected 2 (6 * 9 - 25) / 30; alpha = 1 - (1/3) / (58/30) = 24/29.
    Ordinal: mid-ranks 1.5, 3.5, 5; seen 2 * 4 / 6; expected 2 (6 * 69 - 18^2) / 30 = 6; 7/9.
    """
    pairs = [[0, 0], [0, 1], [2, 2]]
    assert alpha_of(pairs, level="nominal") == pytest.approx(6 / 11)
    assert alpha_of(pairs, level="interval") == pytest.approx(24 / 29)
    assert alpha_of(pairs, level="ordinal") == pytest.approx(7 / 9)


@pytest.mark.parametrize("level", LEVELS)
def test_alpha_of_two_values_is_the_same_at_every_level(level: Level) -> None:
    assert alpha_of(np.transpose(BINARY), level=level) == pytest.approx(2 / 21)


@pytest.mark.parametrize("level", LEVELS)
def test_alpha_is_one_for_equal_judges_and_not_defined_without_variation(level: Level) -> None:
    assert alpha_of([[1, 1], [2, 2], [5, 5]], level=level) == 1.0
    assert alpha_of([[0.1, 0.1], [0.1, 0.1]], level=level) is None
    assert alpha_of([[1, NONE], [NONE, 2]], level=level) is None
    assert alpha_of(np.empty((0, 2)), level=level) is None


def test_intervals_hold_the_number_and_shrink_with_more_clusters() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 400).astype(float)
    second = np.where(rng.random(400) < 0.8, first, rng.integers(0, 3, 400))
    ratings = np.stack([first, second], axis=1)
    exact, alphas = measure(ratings, np.arange(400), seed=1)
    assert exact.value == (first == second).mean()
    assert exact.clusters == 400
    few_exact, few_alphas = measure(ratings, np.arange(400) // 40, seed=1)
    assert few_exact.clusters == 10
    for many, few in zip(
        (exact, *(a.estimate for a in alphas)),
        (few_exact, *(a.estimate for a in few_alphas)),
        strict=True,
    ):
        assert many.value == few.value is not None
        for one in (many, few):
            assert one.interval is not None
            assert one.interval.low < one.value < one.interval.high  # type: ignore[operator]
    assert exact.interval is not None
    assert exact.interval.high - exact.interval.low == pytest.approx(
        2 * 1.96 * math.sqrt(exact.value * (1 - exact.value) / 400), rel=0.1
    )


def test_the_bootstrap_weighs_pairs_as_if_they_were_repeated() -> None:
    """A draw that holds a cluster twice is the table with its rows twice."""
    ratings = np.array([[0.0, 0.0], [0.0, 1.0], [2.0, 2.0], [1.0, 2.0]])
    weights = np.array([[2.0, 1.0, 0.0, 1.0]])
    repeated = ratings[[0, 0, 1, 3]]
    counts, values = _counts(ratings)
    for level in LEVELS:
        drawn = _alphas(weights, counts, values, level)[0]
        assert drawn == pytest.approx(alpha_of(repeated, level=level))


def test_equal_judges_have_an_interval_for_the_share_and_one_cluster_has_none() -> None:
    same = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    exact, alphas = measure(same, np.arange(3), seed=0)
    assert exact.value == 1.0
    assert exact.interval is not None
    assert exact.interval.low == pytest.approx(0.05 ** (1 / 3))  # lower than Wilson's .4385
    assert [alpha.estimate.value for alpha in alphas] == [1.0, 1.0, 1.0]
    exact, _ = measure(same, np.zeros(3, dtype=np.int64), seed=0)
    assert (exact.value, exact.interval, exact.clusters) == (1.0, None, 1)


def test_no_pairs_make_no_number() -> None:
    exact, alphas = measure(np.empty((0, 2)), np.empty(0, dtype=np.int64), seed=0)
    assert (exact.value, exact.interval, exact.clusters) == (None, None, 0)
    assert all(alpha.estimate.value is None for alpha in alphas)
