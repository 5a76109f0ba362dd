"""HPSv2's arithmetic over preference scores: the benchmark's block means and two rank accuracies.

Benchmark (`evaluation.py:evaluate_benchmark`): the score of an image is the cosine with its prompt
times 100; a style is the mean of the means of consecutive blocks of 80 images, its deviation that
of the block means; the average is over images. The two means differ where the last block is short.
Preference sets (`train.py`): `inversion_score` is the share of pairs that two rankings order alike,
where a tie in either is never an inversion; `pairwise_accuracy` (ImageReward's) is the share of
untied pairs that the scores order as the ranks do, where a tie in the scores is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, pstdev
from typing import NamedTuple

BLOCK = 80
STYLES: tuple[str, ...] = ("anime", "concept-art", "paintings", "photo")


class StyleScore(NamedTuple):
    """A style's score and how much its blocks differ; NaN without images."""

    mean: float
    deviation: float


def block_means(scores: Sequence[float]) -> list[float]:
    """The mean of every consecutive block of 80 scores; the last block may be shorter."""
    return [fmean(scores[i : i + BLOCK]) for i in range(0, len(scores), BLOCK)]


def style_score(scores: Sequence[float]) -> StyleScore:
    """Mean and population standard deviation of the block means.

    Source: tgxs002/HPSv2, `hpsv2/evaluation.py:evaluate_benchmark`.
    """
    means = block_means(scores)
    if not means:
        return StyleScore(float("nan"), float("nan"))
    return StyleScore(fmean(means), pstdev(means))


def inversion_score(first: Sequence[float], second: Sequence[float]) -> float:
    """The share of pairs that two rankings do not order contrariwise, 0 to 1.

    Source: tgxs002/HPSv2, `hpsv2/src/training/train.py:inversion_score`.

    Raises:
        ValueError: rankings of different lengths.
        ZeroDivisionError: fewer than two items.
    """
    pairs = list(combinations(zip(first, second, strict=True), 2))
    inverted = sum((a - b) * (c - d) < 0 for (a, c), (b, d) in pairs)
    return 1 - inverted / len(pairs)


def pairwise_accuracy(scores: Sequence[float], ranks: Sequence[float]) -> float:
    """The share of pairs with different ranks whose better one (the lower rank) scores higher.

    Source: tgxs002/HPSv2, `hpsv2/src/training/train.py:calc_ImageReward`.

    Raises:
        ZeroDivisionError: no two items have different ranks.
    """
    pairs = [
        (first, second)
        for first, second in combinations(range(len(ranks)), 2)
        if ranks[first] != ranks[second]
    ]
    right = sum((scores[a] - scores[b]) * (ranks[a] - ranks[b]) < 0 for a, b in pairs)
    return right / len(pairs)


def rank_of(scores: Sequence[float]) -> list[int]:
    """The place of every item when the highest score comes first, from 0.

    Equal scores keep their order; upstream leaves it to torch's sort.
    """
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    places = [0] * len(scores)
    for place, item in enumerate(order):
        places[item] = place
    return places


def ranking_accuracy(
    scores: Sequence[Sequence[float]], human_ranks: Sequence[Sequence[float]]
) -> float:
    """Mean inversion score between the model's and the human ranking, prompt by prompt.

    Source: tgxs002/HPSv2, `hpsv2/evaluation.py:evaluate_rank`.

    Raises:
        ValueError: a prompt whose two rankings differ in length.
    """
    return fmean(
        inversion_score(rank_of(mine), human)
        for mine, human in zip(scores, human_ranks, strict=True)
    )
