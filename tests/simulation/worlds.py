"""Worlds whose truth is known: made-up data sets of every score type.

Shapes: C units, N rows.

A unit has a chance of being right, drawn from a beta distribution around its task's mean; `alike`
is the intraclass correlation that this gives its rows. The truth of every score follows from the
means (and for MME, where both questions of an image must be right, from the second moment) in
closed form. Sizes are those of the tiny benchmarks, of a few hundred units, and of very few.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from pairuni_eval.analysis.aggregate import Array, Rows
from pairuni_eval.cards import MetricSpec

Means = tuple[float, ...]
Draw = Callable[[np.random.Generator, Array], Rows]
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
        held: Whether the bounds of the test apply; False for what is only shown.
    """

    kind: str
    size: str
    spec: MetricSpec
    units: tuple[int, ...]
    means: Means
    alike: float
    rows: Draw
    truth: Callable[[Means], float]
    held: bool = True

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


def columns(value: Array, unit: Array, **tags: Array) -> Rows:
    """Rows of one draw each."""
    named = {name: np.asarray(cells, dtype=object) for name, cells in tags.items()}
    codes = np.asarray(unit, dtype=np.int64)
    return Rows(np.asarray(value, dtype=np.float64), codes, np.zeros(len(codes), np.int64), named)


def binary_rows(sizes: tuple[int, int]) -> Draw:
    """Units of `low` to `high` rows, right or wrong; how many is fixed by the unit's number."""

    def draw(rng: np.random.Generator, chance: Array) -> Rows:
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

    def draw(rng: np.random.Generator, chance: Array) -> Rows:
        unit = np.repeat(np.arange(len(chance)), rows)
        return columns(rng.random(len(unit)) < chance[unit], unit, task=task)

    return draw


def verdict_rows(pairs: int) -> Draw:
    """POPE: `pairs` questions with gold yes and as many with gold no about each image."""

    def draw(rng: np.random.Generator, chance: Array) -> Rows:
        unit = np.repeat(np.arange(len(chance)), 2 * pairs)
        gold = np.tile([True, False] * pairs, len(chance))
        said = (rng.random(len(unit)) < chance[unit]) == gold
        return columns(said, unit, label=np.where(gold, "yes", "no"))

    return draw


def graded_rows(units: tuple[int, ...], low: float, steps: int) -> Draw:
    """One rating a unit: `low` plus a binomial number of steps."""
    task = task_names(units, 1)

    def draw(rng: np.random.Generator, chance: Array) -> Rows:
        value = low + rng.binomial(steps, chance) / (steps if low == 0 else 1)
        return columns(value, np.arange(len(chance)), task=task)

    return draw


def average(means: Means) -> float:
    """The mean over tasks, each counted once."""
    return float(np.mean(means))


def binary(
    units: int, mean: float, size: str, *, rows: tuple[int, int] = (1, 6), held: bool = True
) -> World:
    """A plain mean of questions about images: MMStar, MMMU."""
    spec = MetricSpec(name="accuracy")
    draw = binary_rows(rows)
    return World("clustered binary", size, spec, (units,), (mean,), 0.3, draw, average, held)


def mme(units: tuple[int, ...], means: Means, size: str) -> World:
    """MME: 100 * accuracy + 100 * share of images with both right, summed over tasks."""
    alike = 0.3
    spec = MetricSpec(name="total", aggregate="mme_total", by="task", scale=1.0)

    def truth(of: Means) -> float:
        return sum(100 * mean + 100 * second_moment(mean, alike) for mean in of)

    return World("MME pairs", size, spec, units, means, alike, task_rows(units, 2), truth)


def pope(units: int, mean: float, size: str, *, held: bool = True) -> World:
    """POPE: F1 of yes; with balanced labels and equal chances it is the chance itself."""
    spec = MetricSpec(name="f1", aggregate="f1", of="said_yes")
    return World("F1", size, spec, (units,), (mean,), 0.2, verdict_rows(3), average, held)


WEIGHTS = (0.4, 0.167, 0.133, 0.1, 0.1, 0.1)


def wise(units: tuple[int, ...], means: Means, size: str) -> World:
    """WISE: ratings in tenths, weighted over six categories."""
    weights = {f"t{n}": weight for n, weight in enumerate(WEIGHTS)}
    spec = MetricSpec(name="overall", aggregate="weighted_mean", by="task", weights=weights)

    def truth(of: Means) -> float:
        return float(np.dot(WEIGHTS, of)) / sum(WEIGHTS)

    return World("weighted", size, spec, units, means, 0.3, graded_rows(units, 0, 10), truth)


def geneval(units: tuple[int, ...], means: Means, size: str) -> World:
    """GenEval: the mean of six task means, four images a prompt."""
    spec = MetricSpec(name="overall", aggregate="macro_mean", by="task")
    return World("mean of tasks", size, spec, units, means, 0.4, task_rows(units, 4), average)


def imgedit(units: tuple[int, ...], means: Means, size: str) -> World:
    """ImgEdit: the mean of nine type means of ratings from 1 to 5."""
    spec = MetricSpec(name="overall", aggregate="macro_mean", by="task", range=(1.0, 5.0))

    def truth(of: Means) -> float:
        return 1 + 4 * float(np.mean(of))

    return World("macro of ratings", size, spec, units, means, 0.3, graded_rows(units, 1, 4), truth)


_GENEVAL = (0.93, 0.8, 0.6, 0.8, 0.5, 0.45)
_WISE = (0.2, 0.28, 0.45, 0.24, 0.32, 0.16)
_EDITS = (0.6, 0.5, 0.3, 0.5, 0.45, 0.55, 0.7, 0.35, 0.6)
_TINY_EDITS = (9, 9, 9, 9, 9, 9, 9, 9, 8)

WORLDS: tuple[World, ...] = (
    binary(100, 0.6, "100 images, 1 to 6 questions each"),
    binary(300, 0.85, "300 images, 1 to 6 questions each"),
    binary(200, 0.6, "200 images, 1 question each", rows=(1, 1)),
    mme((20,) * 4, (0.9, 0.8, 0.7, 0.6), "4 tasks of 20 images"),
    mme((30,) * 10, tuple(np.linspace(0.55, 0.9, 10).tolist()), "10 tasks of 30 images"),
    pope(49, 0.85, "49 images, 6 questions each"),
    pope(250, 0.87, "250 images, 6 questions each"),
    wise((10,) * 6, _WISE, "6 categories of 10 prompts"),
    wise((120, 50, 40, 30, 30, 30), _WISE, "300 prompts in 6 categories"),
    geneval((9,) * 6, _GENEVAL, "6 tasks of 9 prompts, 4 images each"),
    geneval((40,) * 6, _GENEVAL, "6 tasks of 40 prompts, 4 images each"),
    imgedit(_TINY_EDITS, _EDITS, "80 edits of 9 types"),
    imgedit((30,) * 9, _EDITS, "270 edits of 9 types"),
)
CORNERS: tuple[World, ...] = (
    binary(10, 0.6, "10 images, 1 to 6 questions each", held=False),
    binary(30, 0.95, "30 images, nearly all right", held=False),
    pope(15, 0.85, "15 images, 6 questions each", held=False),
    pope(30, 0.95, "30 images, nearly all right", held=False),
)
