"""Recipes instead of checkpoints: numbers over several training seeds.

Shapes: R runs (training seeds) of an arm, C clusters, B draws.

An arm is a recipe that was trained R times; its number is the mean over its runs, on the outputs
that have a value in all of them. From three seeds on its error has two levels: clusters are drawn,
the same ones for all runs of both arms (a bootstrap), and seeds are drawn within each arm (whose
bootstrap variance, corrected for R draws, is s^2 / R in closed form). The two variances add up, and
t has their joint degrees of freedom (Satterthwaite 1946), hardly more than R - 1 where seeds matter
most. A seed's number holds the chance of its outputs too, so the interval is too wide rather than
too short where seeds hardly matter.

With fewer than three seeds nothing can be said about training again: clusters alone are drawn, the
verdict is about these checkpoints, and a sentence says so. An untrained checkpoint has no seeds to
draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from pairuni_eval.analysis.aggregate import Array, Bounds
from pairuni_eval.analysis.compare import (
    TIE_MARGIN,
    Comparison,
    Place,
    compare_sides,
    shared_places,
)
from pairuni_eval.analysis.intervals import (
    LEVEL,
    Estimate,
    Interval,
    agreeing_interval,
    bootstrap_numbers,
    clip,
    no_spread,
    spread,
    t_point,
)
from pairuni_eval.analysis.paired import (
    Evidence,
    Pair,
    detectable,
    difference_p,
    equivalence_p,
    pair_up,
    weigh,
)
from pairuni_eval.analysis.tables import Tables, metric_row
from pairuni_eval.seeds import seed_for

ENOUGH_SEEDS = 3


class Arm(NamedTuple):
    """The runs of one recipe, one a training seed.

    Attributes:
        trained: False for a checkpoint that is its own only run, e.g. the base model.
    """

    name: str
    runs: tuple[Tables, ...]
    trained: bool = True

    @property
    def few(self) -> bool:
        """Whether there are too few seeds to say anything about training again."""
        return self.trained and len(self.runs) < ENOUGH_SEEDS

    @property
    def note(self) -> str | None:
        """What the arm's numbers do not cover; None if they cover the seed as well."""
        if not self.few:
            return None
        seeds = "one training seed" if len(self.runs) == 1 else "two training seeds"
        return (
            f"{self.name} has {seeds}: what is said about it holds for "
            f"{'this checkpoint' if len(self.runs) == 1 else 'these checkpoints'}, "
            "not for training it again."
        )


class ArmRow(NamedTuple):
    """One metric of an arm.

    Attributes:
        estimate: The mean over seeds; its interval covers the choice of the units, and from three
            seeds on that of the seeds.
        by_seed: The number of each run.
        spread: Standard deviation between seeds; None below two.
    """

    place: Place
    estimate: Estimate
    by_seed: tuple[float, ...]
    spread: float | None


class _TwoLevels(NamedTuple):
    """Error and degrees of freedom of a number over seeds and units."""

    error: float
    freedom: float

    def interval(self, value: float, bounds: Bounds | None) -> Interval:
        half = t_point(0.5 * (1 + LEVEL), self.freedom) * self.error
        return clip(Interval(value - half, value + half), bounds)


def compare_arms(ours: Arm, theirs: Arm, *, margin: float = TIE_MARGIN) -> Comparison:
    """Everything that two recipes say about each other; as `compare` for one run each.

    Args:
        ours: Our arm.
        theirs: The arm it is compared with.
        margin: What counts as no difference, as a share of each metric's range.
    """
    notes = [arm.note for arm in (ours, theirs) if arm.note is not None]
    way = partial(weigh if notes else weigh_over_seeds, margin=margin)
    return compare_sides(ours.runs, theirs.runs, way)._replace(note=" ".join(notes) or None)


def weigh_over_seeds(pair: Pair, *, margin: float, seed: int) -> Evidence:
    """The evidence of two arms, units and seeds drawn; see the module docstring."""
    total = pair.stacked.sum(axis=0)
    value = float(pair.difference(total))
    numbers = pair.numbers(total)
    sides = [numbers[: len(pair.ours)], numbers[len(pair.ours) :]]
    units = bootstrap_numbers(pair.stacked, pair.difference, seed=seed)
    level = _two_levels(units, pair.clusters, sides)
    span = pair.span
    limit = margin * span if span else None
    if level.error == 0:
        tied = 0.0 if pair.equal else None
        return Evidence(None, 0.0, None, "t over seeds and units", limit, tied, None)
    return Evidence(
        interval=level.interval(value, Bounds(-span, span) if span else None),
        error=level.error,
        p=difference_p(value, *level),
        test="t over seeds and units",
        margin=limit,
        tie_p=None if limit is None else equivalence_p(value, *level, limit),
        detectable=detectable(*level),
    )


def _two_levels(units: Array, clusters: int, sides: Sequence[Array]) -> _TwoLevels:
    """The joint error of unit draws (B,) and of the numbers of each side's runs.

    Freedom: (sum of variances)^2 / sum of (variance^2 / its own freedom).
    """
    variances = [float(np.nanvar(units)) * clusters / (clusters - 1)]
    freedoms = [clusters - 1]
    for numbers in sides:
        if len(numbers) > 1:
            variances.append(float(np.var(numbers, ddof=1)) / len(numbers))
            freedoms.append(len(numbers) - 1)
    total = sum(variances)
    weighed = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    return _TwoLevels(total**0.5, total**2 / weighed if weighed > 0 else float(clusters - 1))


def arm_rows(arm: Arm) -> tuple[ArmRow, ...]:
    """Every metric that all runs of an arm have, in the order of its first."""
    places, _ = shared_places(arm.runs, ())
    return tuple(arm_row(arm, place) for place in places)


def arm_row(arm: Arm, place: Place) -> ArmRow:
    """One metric of an arm; of one run it is that run's own row."""
    if len(arm.runs) == 1:
        estimate = metric_row(arm.runs[0], *place[:3]).estimate
        return ArmRow(place, estimate, () if estimate.value is None else (estimate.value,), None)
    frames = [run.joined(place.benchmark, place.protocol, place.spec.of) for run in arm.runs]
    pair = pair_up(frames, (), place.spec)
    by_seed = pair.numbers(pair.stacked.sum(axis=0))
    if not np.isfinite(by_seed).all():
        return ArmRow(place, Estimate(None, None, pair.clusters, pair.bounds), (), None)
    interval = None
    if pair.clusters > 1:
        seed = seed_for(arm.runs[0].run.card.seed, place.name, 0, "arm")
        interval = _arm_interval(arm, pair, by_seed, seed)
    return ArmRow(
        place=place,
        estimate=Estimate(float(by_seed.mean()), interval, pair.clusters, pair.bounds),
        by_seed=tuple(by_seed.tolist()),
        spread=float(np.std(by_seed, ddof=1)),
    )


def _arm_interval(arm: Arm, pair: Pair, by_seed: Array, seed: int) -> Interval | None:
    """Interval of the mean over an arm's runs; `pair` has no other side."""

    def mean(stacked: Array) -> Array:
        number: Array = pair.numbers(stacked).mean(axis=-1)
        return number

    value = float(by_seed.mean())
    if not arm.few:
        draws = bootstrap_numbers(pair.stacked, mean, seed=seed)
        return _two_levels(draws, pair.clusters, [by_seed]).interval(value, pair.bounds)
    found = spread(pair.stacked, mean, bounds=pair.bounds, closed=pair.closed, seed=seed)
    if no_spread(found, value):
        return agreeing_interval(value, float(pair.clusters), pair.bounds)
    return found.interval and clip(found.interval, pair.bounds)
