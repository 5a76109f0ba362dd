"""Pairs of runs that differ by just the margin, or by more: how often are they called tied?

    python tests/simulation/ties.py [--sets 1000] [--seed 1]

Prints the table of ties in docs/statistics.md. A pair has a true difference of one point of its
range, once by a few units that differ and hardly any that differ the other way (sparse), once by
many that differ both ways (dense).

Shapes: C units, N rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).parents[1]))

from simulation.worlds import columns

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import Array, GradedRows
from pairuni_eval.stats.paired import pair_rows, tie_of_pair

ALPHA = 0.05
MARGIN = 0.01
SIZES = (17, 80, 300, 1000, 3000)
Draw = Callable[[np.random.Generator, int, float], tuple[GradedRows, GradedRows]]
"""Both runs on C units whose numbers truly differ by so much of the range."""


class Shape(NamedTuple):
    """A kind of score and how its runs differ."""

    score: str
    differ: str
    spec: MetricSpec
    draw: Draw


class Ties(NamedTuple):
    """How often pairs of a shape were called tied."""

    shape: Shape
    units: int
    times: float
    tied: int
    sets: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.tied / self.sets

    @property
    def least(self) -> float:
        """The lower end of the exact 99 % interval of the share."""
        return least_share(self.tied, self.sets)


def least_share(count: int, of: int) -> float:
    """The lower end of the exact 99 % interval (Clopper and Pearson) of a share."""
    return float(beta.ppf(0.005, count, of - count + 1)) if count else 0.0


def changed(
    rng: np.random.Generator, count: int, won: float, lost: float, base: float = 0.5
) -> tuple[Array, Array]:
    """Right or wrong on both sides: ours alone with chance `won`, theirs alone with `lost`."""
    at, right = rng.random(count), rng.random(count) < base
    ours = np.where(at < won, 1.0, np.where(at < won + lost, 0.0, right))
    theirs = np.where(at < won, 0.0, np.where(at < won + lost, 1.0, right))
    return ours, theirs


def binary(other: float) -> Draw:
    """One output a unit; `other` of them differ against us."""

    def draw(rng: np.random.Generator, units: int, by: float) -> tuple[GradedRows, GradedRows]:
        sides = changed(rng, units, other + by, other)
        return columns(sides[0], np.arange(units)), columns(sides[1], np.arange(units))

    return draw


def images(rng: np.random.Generator, units: int, by: float) -> tuple[GradedRows, GradedRows]:
    """Four outputs a unit; in a few units each output of ours may turn right."""
    unit = np.repeat(np.arange(units), 4)
    moved = (rng.random(units) < 2 * by)[unit] & (rng.random(4 * units) < 0.5)
    theirs = rng.random(4 * units) < 0.5
    return columns(np.where(moved, 1.0, theirs), unit), columns(np.where(moved, 0.0, theirs), unit)


def tasks(units: int, smallest: int) -> Array:
    """Six tasks of one size, or the first of them of `smallest` units."""
    if not smallest:
        return np.arange(units) % 6
    rest = np.arange(units - smallest) % 5 + 1
    return np.concatenate([np.zeros(smallest, np.int64), rest])


def six_tasks(where: str, other: float) -> Draw:
    """Six tasks that count alike; the difference lies in all, or in one small one alone."""

    def draw(rng: np.random.Generator, units: int, by: float) -> tuple[GradedRows, GradedRows]:
        small = max(2, units // 20) if where == "one" else 0
        task = tasks(units, small)
        won = np.where(task == 0, 6 * by, 0.0) if where == "one" else np.full(units, by)
        sides = changed(rng, units, won + other, other)  # type: ignore[arg-type]
        names = np.array([f"t{number}" for number in range(6)], dtype=object)[task]
        return (
            columns(sides[0], np.arange(units), task=names),
            columns(sides[1], np.arange(units), task=names),
        )

    return draw


def ratings(sparse: bool) -> Draw:
    """0 to 10: a few that rise by five, or all of them by noise around the difference."""

    def draw(rng: np.random.Generator, units: int, by: float) -> tuple[GradedRows, GradedRows]:
        theirs = rng.uniform(4, 5, units)
        ours = theirs + (
            np.where(rng.random(units) < 2 * by, 5.0, 0.0)
            if sparse
            else 10 * by + rng.uniform(-2, 2, units)
        )
        return columns(ours, np.arange(units)), columns(theirs, np.arange(units))

    return draw


def f1(recall: float, said: float, other: float) -> Draw:
    """Six questions a unit, half of them with the answer yes: more of these are answered yes."""

    def draw(rng: np.random.Generator, units: int, by: float) -> tuple[GradedRows, GradedRows]:
        theirs = 2 * recall / (1 + recall + said)
        more = (theirs + by) * (1 + said) / (2 - theirs - by) - recall
        unit, gold = np.repeat(np.arange(units), 6), np.tile([True, False] * 3, units)
        at = rng.random(6 * units)
        # the base keeps both recalls where they should be
        base = (recall - other) / (1 - more - 2 * other)
        yes = changed(rng, 6 * units, more + other, other, base)
        label = np.where(gold, "yes", "no")
        first, second = (np.where(gold, side, at < said) for side in yes)
        return columns(first, unit, label=label), columns(second, unit, label=label)

    return draw


def mme(both: bool) -> Draw:
    """Four tasks of two questions a unit: units whose second question turns right, or their first.

    The second one is worth 150 of 200, since then all of the unit is right; the first one 50.
    """

    def draw(rng: np.random.Generator, units: int, by: float) -> tuple[GradedRows, GradedRows]:
        worth = 0.75 if both else 0.25
        moved = rng.random(units) < by / worth
        kind = rng.integers(0, 3, units)  # right answers of a unit that both runs share
        theirs = np.column_stack([kind > 0, kind > 1]).astype(float)
        theirs[moved] = [1, 0] if both else [0, 0]
        ours = theirs.copy()
        ours[moved] = [1, 1] if both else [1, 0]
        unit = np.repeat(np.arange(units), 2)
        names = np.array([f"t{n}" for n in range(4)], dtype=object)[unit % 4]
        return columns(ours.ravel(), unit, task=names), columns(theirs.ravel(), unit, task=names)

    return draw


MEAN = MetricSpec(name="accuracy")
RATING = MetricSpec(name="score", range=(0.0, 10.0))
SIX = MetricSpec(name="overall", aggregate="macro_mean", by="task")
F1 = MetricSpec(name="f1", aggregate="f1")
MME = MetricSpec(name="total", aggregate="mme_total", by="task")
SHAPES = (
    Shape("binary", "1 : 0 points", MEAN, binary(0.0)),
    Shape("binary", "1.2 : 0.2 points", MEAN, binary(0.002)),
    Shape("binary", "2 : 1 points", MEAN, binary(0.01)),
    Shape("binary", "11 : 10 points", MEAN, binary(0.1)),
    Shape("four images a prompt", "2 % of the prompts", MEAN, images),
    Shape("mean of six tasks", "1 : 0 points in all", SIX, six_tasks("all", 0.0)),
    Shape("mean of six tasks", "6 : 0 points in a small one", SIX, six_tasks("one", 0.0)),
    Shape("mean of six tasks", "6 : 5 points in all", SIX, six_tasks("all", 0.05)),
    Shape("ratings", "2 % rise by half", RATING, ratings(sparse=True)),
    Shape("ratings", "all by noise", RATING, ratings(sparse=False)),
    Shape("F1 of .84", "only answers that turn right", F1, f1(0.8, 0.1, 0.0)),
    Shape("F1 of .84", "both ways", F1, f1(0.8, 0.1, 0.05)),
    Shape("F1 of .18", "only answers that turn right", F1, f1(0.1, 0.02, 0.0)),
    Shape("MME", "pairs become right", MME, mme(both=True)),
    Shape("MME", "first answers become right", MME, mme(both=False)),
)


def study(shape: Shape, units: int, sets: int, seed: int = 1, times: float = 1.0) -> Ties:
    """Draw the pairs and count those called tied; they differ by `times` the margin."""
    address = [7, seed, units, round(100 * times), *map(ord, shape.score + shape.differ)]
    rng = np.random.default_rng(address)
    names = np.arange(units).astype(object)
    tied = 0
    for _ in range(sets):
        ours, theirs = shape.draw(rng, units, times * MARGIN)
        pair = pair_rows([ours], [theirs], shape.spec, names)
        found = tie_of_pair(pair, pair.spread(), margin=MARGIN)
        tied += found.p is not None and found.p < ALPHA
    return Ties(shape, units, times, tied, sets)


def table(found: Sequence[Sequence[Ties]]) -> str:
    """One line a shape, one column a number of units."""
    sizes = [one.units for one in found[0]]
    lines = [
        "| score | what differs | " + " | ".join(f"{size:,} units" for size in sizes) + " |",
        "| --- | --- |" + " ---: |" * len(sizes),
    ]
    for line in found:
        shares = " | ".join(f"{100 * one.share:.1f} %" for one in line)
        lines.append(f"| {line[0].shape.score} | {line[0].shape.differ} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsWritten)
    parser.add_argument("--sets", type=int, default=1000, help="pairs of each shape and size")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=float, default=1.0, help="the difference, in margins")
    given = parser.parse_args()
    for shape in SHAPES:
        found = [study(shape, size, given.sets, given.seed, given.times) for size in SIZES]
        print(table([found]) if shape is SHAPES[0] else table([found]).splitlines()[-1], flush=True)


_AsWritten = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
