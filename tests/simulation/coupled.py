"""Made-up facts of which it is known how far a reader's yes is coupled to what is so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate
from pairuni_eval.stats.intervals import Estimate, estimate

LEAST = 10  # prompts that hold a wrong fact, and prompts that hold a right one


class CoupledWorld(NamedTuple):
    """Facts of `draws` pictures of each of `prompts` prompts, one fact a picture.

    Attributes:
        right: The chance that a fact holds.
        approved: The chance of a yes where it holds.
        fooled: The chance of a yes where it does not.
        alike: How alike the facts of a prompt are, and its answers, 0 to 1: the correlation inside
            a prompt of each.
    """

    prompts: int
    draws: int
    right: float
    approved: float
    fooled: float
    alike: float

    @property
    def youden_j(self) -> float:
        """The planted number."""
        return self.approved - self.fooled


def _chances(generator: np.random.Generator, mean: float, alike: float, size: int) -> np.ndarray:
    """Chances that differ between prompts, with this mean; outcomes correlate by `alike`."""
    if alike == 0 or mean in (0.0, 1.0):
        return np.full(size, mean)
    weight = (1 - alike) / alike
    return generator.beta(mean * weight, (1 - mean) * weight, size)


def coupled_rows(generator: np.random.Generator, world: CoupledWorld) -> GradedRows:
    """One data set with enough prompts of each class; the few others are drawn anew."""
    shape = (world.prompts, world.draws)
    while True:
        chances = [
            _chances(generator, mean, world.alike, world.prompts)[:, None]
            for mean in (world.right, world.approved, world.fooled)
        ]
        so = generator.random(shape) < chances[0]
        if min(so.any(axis=1).sum(), (~so).any(axis=1).sum()) >= LEAST:
            break
    said = generator.random(shape) < np.where(so, chances[1], chances[2])
    unit = np.repeat(np.arange(world.prompts), world.draws)
    draw = np.tile(np.arange(world.draws), world.prompts)
    label = np.where(so.ravel(), "yes", "no").astype(object)
    return GradedRows(said.ravel().astype(np.float64), unit, draw, {"label": label})


def estimated(rows: GradedRows) -> Estimate:
    """The number and its interval, by the product's own rule."""
    spec = MetricSpec(name="j", aggregate="youden_j", of="said_yes")
    return estimate(make_aggregate(spec, rows), rows)


def covered(world: CoupledWorld, sets: int, seed: int) -> int:
    """How many of the data sets have an interval that holds the planted number.

    Raises:
        AssertionError: if one has no interval.
    """
    generator = np.random.default_rng(seed)
    hits = 0
    for _ in range(sets):
        found = estimated(coupled_rows(generator, world)).interval
        assert found is not None
        hits += found.low <= world.youden_j <= found.high
    return hits
