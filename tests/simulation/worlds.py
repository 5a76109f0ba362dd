"""Worlds whose truth is known: made-up data sets of every score type.

Shapes: C units, N rows.

A unit has a chance of being right, drawn from a beta distribution around its task's mean; `alike`
is the intraclass correlation that this gives its rows. The truth of every score follows from the
means (and for MME, where both questions of an image must be right, from the second moment) in
closed form. Sizes are those of the tiny benchmarks, of a few hundred units, and of very few; groups
are few, small, or at an end of their range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import Array, GradedRows

Means = tuple[float, ...]
Draw = Callable[[np.random.Generator, Array], GradedRows]
"""Rows of one run, given the chance of each unit."""


class World(NamedTuple):
    """A score type with a truth.

    Attributes:
        kind: The score type, as the table names it.
        size: Its size in words.
        units: Units of each task.
        means: Mean chance of each task.
        alike: Intraclass correlation of the rows of one unit.
        truth: The score of a model with these means.
        over: What kind of corner it is where intervals cover more than 97 %; None elsewhere.
    """

    kind: str
    size: str
    spec: MetricSpec
    units: tuple[int, ...]
    means: Means
    alike: float
    rows: Draw
    truth: Callable[[Means], float]
    over: str | None = None

    def difficulties(self, rng: np.random.Generator) -> Array:
        """(C,): where each unit stands among all units of its task, from 0 to 1."""
        return rng.random(sum(self.units))

    def chances(self, difficulty: Array, lift: float = 0.0) -> Array:
        """(C,): the chance of each unit, where all means are lifted by the same amount."""
        mean = np.repeat(np.array(self.means) + lift, self.units)
        scale = (1 - self.alike) / self.alike
        chance: Array = betaincinv(mean * scale, (1 - mean) * scale, difficulty)
        return chance

    def lifted(self, lift: float) -> float:
        """The truth where all means are higher by this much."""
        return self.truth(tuple(mean + lift for mean in self.means))


def second_moment(mean: float, alike: float) -> float:
    """E[chance^2] of a unit: what a pair of right answers is worth."""
    return mean**2 + alike * mean * (1 - mean)


def columns(value: Array, unit: Array, **tags: Array) -> GradedRows:
    """Rows of one draw each."""
    named = {name: np.asarray(cells, dtype=object) for name, cells in tags.items()}
    codes = np.asarray(unit, dtype=np.int64)
    return GradedRows(
        np.asarray(value, dtype=np.float64), codes, np.zeros(len(codes), np.int64), named
    )


def binary_rows(sizes: tuple[int, int]) -> Draw:
    """Units of `low` to `high` rows, right or wrong; how many is fixed by the unit's number."""

    def draw(rng: np.random.Generator, chance: Array) -> GradedRows:
        low, high = sizes
        rows = low + np.arange(len(chance)) * 7 % (high - low + 1)
        unit = np.repeat(np.arange(len(chance)), rows)
        return columns(rng.random(len(unit)) < chance[unit], unit)

    return draw


def task_names(units: tuple[int, ...], rows: int) -> Array:
    """The task of each row, in the order of the units."""
    return np.repeat(np.repeat([f"t{n}" for n in range(len(units))], units), rows)


def task_rows(units: tuple[int, ...], rows: int) -> Draw:
    """`rows` rows a unit, right or wrong, with the task's name as a tag."""
    task = task_names(units, rows)

    def draw(rng: np.random.Generator, chance: Array) -> GradedRows:
        unit = np.repeat(np.arange(len(chance)), rows)
        return columns(rng.random(len(unit)) < chance[unit], unit, task=task)

    return draw


def verdict_rows(pairs: int, settings: int = 1) -> Draw:
    """POPE: `pairs` questions with gold yes and as many with gold no about each image and setting.

    Every image is in every setting, as POPE's random, popular and adversarial questions are.
    """

    def draw(rng: np.random.Generator, chance: Array) -> GradedRows:
        unit = np.repeat(np.arange(len(chance)), 2 * pairs * settings)
        gold = np.tile([True, False] * pairs * settings, len(chance))
        split = np.tile(np.repeat([f"s{n}" for n in range(settings)], 2 * pairs), len(chance))
        said = (rng.random(len(unit)) < chance[unit]) == gold
        return columns(said, unit, label=np.where(gold, "yes", "no"), split=split)

    return draw


def graded_rows(units: tuple[int, ...], low: float, steps: int) -> Draw:
    """One rating a unit: `low` plus a binomial number of steps."""
    task = task_names(units, 1)

    def draw(rng: np.random.Generator, chance: Array) -> GradedRows:
        value = low + rng.binomial(steps, chance) / (steps if low == 0 else 1)
        return columns(value, np.arange(len(chance)), task=task)

    return draw


def average(means: Means) -> float:
    """The mean over tasks, each counted once."""
    return float(np.mean(means))


def binary(
    units: int, mean: float, size: str, *, rows: tuple[int, int] = (1, 6), over: str | None = None
) -> World:
    """A plain mean of questions about images: MMStar, MMMU; or one task of GenEval."""
    spec = MetricSpec(name="accuracy")
    draw = binary_rows(rows)
    return World("clustered binary", size, spec, (units,), (mean,), 0.3, draw, average, over)


def ratings(units: int, mean: float, size: str) -> World:
    """A plain mean of ratings from 1 to 5: one type of ImgEdit."""
    spec = MetricSpec(name="average", range=(1.0, 5.0))
    draw = graded_rows((units,), 1, 4)
    return World("ratings", size, spec, (units,), (mean,), 0.3, draw, one_to_five)


def any_right(units: int, mean: float, size: str) -> World:
    """GenEval's share of prompts with any of four images right."""
    alike = 0.4
    spec = MetricSpec(name="prompts", aggregate="any_of_unit")

    def truth(of: Means) -> float:
        scale = (1 - alike) / alike
        steps = np.arange(4)
        return 1 - float(np.prod(((1 - of[0]) * scale + steps) / (scale + steps)))

    draw = binary_rows((4, 4))
    return World("any right", size, spec, (units,), (mean,), alike, draw, truth)


def mme(units: tuple[int, ...], means: Means, size: str, *, over: str | None = None) -> World:
    """MME: 100 * accuracy + 100 * share of images with both right, summed over tasks."""
    alike = 0.3
    spec = MetricSpec(name="total", aggregate="mme_total", by="task", scale=1.0)

    def truth(of: Means) -> float:
        return sum(100 * mean + 100 * second_moment(mean, alike) for mean in of)

    return World("MME pairs", size, spec, units, means, alike, task_rows(units, 2), truth, over)


def pope(
    units: int, mean: float, size: str, *, score: str = "f1", over: str | None = None
) -> World:
    """POPE: F1 of yes; with balanced labels and equal chances it is the chance itself.

    So are precision and recall.
    """
    spec = MetricSpec(name=score, aggregate=score, of="said_yes")
    kind = score.replace("f1", "F1")
    return World(kind, size, spec, (units,), (mean,), 0.2, verdict_rows(3), average, over)


def pope_mean(units: int, mean: float, size: str) -> World:
    """POPE's mean of three F1 over settings that hold the same images."""
    spec = MetricSpec(name="f1_mean", aggregate="macro_f1", of="said_yes", by="split")
    draw = verdict_rows(1, 3)
    return World("mean of three F1", size, spec, (units,), (mean,), 0.2, draw, average)


WEIGHTS = (0.4, 0.167, 0.133, 0.1, 0.1, 0.1)


def wise(units: tuple[int, ...], means: Means, size: str, *, over: str | None = None) -> World:
    """WISE: ratings in tenths, weighted over six categories."""
    weights = {f"t{n}": weight for n, weight in enumerate(WEIGHTS)}
    spec = MetricSpec(name="overall", aggregate="weighted_mean", by="task", weights=weights)

    def truth(of: Means) -> float:
        return float(np.dot(WEIGHTS, of)) / sum(WEIGHTS)

    return World("weighted", size, spec, units, means, 0.3, graded_rows(units, 0, 10), truth, over)


def task_mean(
    units: tuple[int, ...], means: Means, size: str, *, rows: int = 4, over: str | None = None
) -> World:
    """The mean of task means: GenEval with four images a prompt, MMStar with one answer a unit."""
    spec = MetricSpec(name="overall", aggregate="macro_mean", by="task")
    draw = task_rows(units, rows)
    return World("mean of tasks", size, spec, units, means, 0.4, draw, average, over)


def one_to_five(of: Means) -> float:
    """The mean of chances as a rating."""
    return 1 + 4 * float(np.mean(of))


def imgedit(
    units: tuple[int, ...],
    means: Means,
    size: str,
    *,
    rounded: bool = False,
    over: str | None = None,
) -> World:
    """ImgEdit: the mean of type means of ratings from 1 to 5, rounded by its official script."""
    kind = "macro of ratings, rounded" if rounded else "macro of ratings"
    aggregate = "pairuni_eval.stats.official_means:RoundedMacroMean"
    spec = MetricSpec(
        name="overall",
        aggregate=aggregate if rounded else "macro_mean",
        by="task",
        range=(1.0, 5.0),
        decimals=2,
    )
    return World(kind, size, spec, units, means, 0.3, graded_rows(units, 1, 4), one_to_five, over)


def hps(units: int, mean: float, size: str) -> World:
    """HPSv2: the mean over blocks of 80 of scores without a known range."""
    spec = MetricSpec(name="photo", aggregate="pairuni_eval.stats.official_means:BlockMean")

    def truth(of: Means) -> float:
        return 20 + 10 * of[0]

    return World("means of blocks", size, spec, (units,), (mean,), 0.3, open_rows, truth)


def open_rows(rng: np.random.Generator, chance: Array) -> GradedRows:
    """One value a unit, 20 plus ten chances plus noise, on a scale without ends."""
    value = 20 + 10 * chance + rng.normal(0, 1, len(chance))
    return columns(value, np.arange(len(chance)))


_GENEVAL = (0.93, 0.8, 0.6, 0.8, 0.5, 0.45)
_WISE = (0.2, 0.28, 0.45, 0.24, 0.32, 0.16)
_WISE_ENDS = (0.97, 0.98, 0.4, 0.02, 0.03, 0.97)
_EDITS = (0.6, 0.5, 0.3, 0.5, 0.45, 0.55, 0.7, 0.35, 0.6)
_EDITS_ENDS = (0.97, 0.98, 0.3, 0.97, 0.02, 0.98, 0.7, 0.03, 0.97)
_TINY_EDITS = (9, 9, 9, 9, 9, 9, 9, 9, 8)
_ONE_WEAK = (0.4, 0.98, 0.99, 0.995, 0.99, 0.98)

# Corners in which intervals cover more than 97 %.
_AT_ENDS = "groups at an end of their range"
_FEW_DIFFER = "hardly an answer differs between two runs"
_SMALL = "groups of one or two units"

WORLDS: tuple[World, ...] = (
    binary(100, 0.6, "100 images, 1 to 6 questions each"),
    binary(300, 0.85, "300 images, 1 to 6 questions each"),
    binary(200, 0.6, "200 images, 1 question each", rows=(1, 1)),
    binary(17, 0.75, "17 images, 1 question each", rows=(1, 1)),
    binary(9, 0.8, "9 prompts, 4 images each", rows=(4, 4)),
    ratings(9, 0.5, "9 edits"),
    any_right(50, 0.7, "50 prompts, 4 images each"),
    mme((20,) * 4, (0.9, 0.8, 0.7, 0.6), "4 tasks of 20 images"),
    mme((30,) * 10, tuple(np.linspace(0.55, 0.9, 10).tolist()), "10 tasks of 30 images"),
    mme((6, 8), (0.96, 0.97), "2 tasks of 6 and 8 images, nearly all right", over=_FEW_DIFFER),
    mme((6, 6, 6, 20), (0.97, 0.95, 0.98, 0.6), "3 tasks of 6 nearly all right, one of 20"),
    pope(49, 0.85, "49 images, 6 questions each"),
    pope(250, 0.87, "250 images, 6 questions each"),
    pope(49, 0.85, "49 images, 6 questions each", score="precision"),
    pope(49, 0.85, "49 images, 6 questions each", score="recall"),
    pope_mean(49, 0.85, "49 images in 3 settings, 2 questions each"),
    pope_mean(20, 0.93, "20 images in 3 settings, 2 questions each"),
    wise((10,) * 6, _WISE, "6 categories of 10 prompts"),
    wise((120, 50, 40, 30, 30, 30), _WISE, "300 prompts in 6 categories"),
    wise((10, 6, 4, 6, 8, 6), _WISE_ENDS, "6 categories of 4 to 10, five at an end", over=_AT_ENDS),
    task_mean((9,) * 6, _GENEVAL, "6 tasks of 9 prompts, 4 images each"),
    task_mean((40,) * 6, _GENEVAL, "6 tasks of 40 prompts, 4 images each"),
    task_mean((9, 9, 16), (0.9, 0.9, 0.2), "3 tasks of 9, 9, 16 at .9 .9 .2, 1 image each", rows=1),
    task_mean((9, 9, 16), (0.9, 0.9, 0.2), "3 tasks of 9, 9, 16 at .9 .9 .2, 4 images each"),
    task_mean(
        (4, 10, 20, 30, 40, 25),
        _ONE_WEAK,
        "a weak task of 4, five of 10 to 40 nearly right",
        over=_AT_ENDS,
    ),
    task_mean(
        (4, 10, 20, 30, 40, 25),
        _ONE_WEAK,
        "a weak task of 4, five of 10 to 40 nearly right, 1 image each",
        over=_AT_ENDS,
        rows=1,
    ),
    task_mean((2,) * 9, (0.7,) * 9, "9 tasks of 2, 1 image each", rows=1),
    task_mean(
        (2,) * 9,
        tuple(np.linspace(0.5, 0.95, 9).tolist()),
        "9 tasks of 2, 4 images each",
        over=_SMALL,
    ),
    task_mean((10,) * 6, (0.97,) * 6, "6 tasks of 10 prompts at .97, 4 images each"),
    imgedit(_TINY_EDITS, _EDITS, "80 edits of 9 types"),
    imgedit((30,) * 9, _EDITS, "270 edits of 9 types"),
    imgedit((3,) * 9, _EDITS, "27 edits of 9 types"),
    imgedit(
        (5, 4, 6, 5, 4, 5, 6, 4, 5),
        _EDITS_ENDS,
        "44 edits of 9 types, seven at an end",
        over=_AT_ENDS,
    ),
    imgedit(_TINY_EDITS, _EDITS, "80 edits of 9 types", rounded=True),
    hps(200, 0.5, "200 prompts in blocks of 80"),
    task_mean(
        (1, 1, 3, 9, 9, 12),
        _GENEVAL,
        "6 tasks of 1, 1, 3, 9, 9, 12, 1 image each",
        over=_SMALL,
        rows=1,
    ),
    binary(10, 0.6, "10 images, 1 to 6 questions each"),
    binary(30, 0.95, "30 images, nearly all right"),
    pope(15, 0.85, "15 images, 6 questions each"),
    pope(30, 0.95, "30 images, nearly all right"),
)
