"""Arms in place of checkpoints: numbers over several training seeds of an arm.

Shapes: R runs (training seeds) of an arm, C clusters, B draws.

An arm is trained R times; its number is the mean over its runs, on the outputs
that have a value in all of them. From three seeds on its error has two levels, units and seeds; see
`two_levels`.

With fewer than three seeds nothing can be said about training again: clusters alone are drawn, the
verdict is about these checkpoints, and a sentence says so. An untrained checkpoint has no seeds to
draw.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pairuni_eval.seeds import seed_for
from pairuni_eval.stats.aggregate import Array
from pairuni_eval.stats.compare import Place
from pairuni_eval.stats.intervals import (
    Estimate,
    Interval,
    agreeing_interval,
    bootstrap_numbers,
    clip,
    no_spread,
    spread,
)
from pairuni_eval.stats.meeting import pair_up
from pairuni_eval.stats.paired import PairedSums
from pairuni_eval.stats.scope import NamedSide
from pairuni_eval.stats.strata import moves_of
from pairuni_eval.stats.tables import Tables, metric_row
from pairuni_eval.stats.two_levels import two_levels


class ArmRuns(NamedTuple):
    """The runs of one arm, one a training seed.

    Attributes:
        trained: False for a checkpoint that is its own only run, e.g. the base model.
    """

    name: str
    runs: tuple[Tables, ...]
    trained: bool = True

    @property
    def named(self) -> NamedSide:
        """The arm as a side of a comparison."""
        return NamedSide(self.name, self.runs, self.trained)

    @property
    def few(self) -> bool:
        """Whether there are too few seeds to say anything about training again."""
        return self.named.few


class ArmMetric(NamedTuple):
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


def arm_row(arm: ArmRuns, place: Place) -> ArmMetric:
    """One metric of an arm; of one run it is that run's own row."""
    if len(arm.runs) == 1:
        estimate = metric_row(arm.runs[0], *place[:3]).estimate
        return ArmMetric(place, estimate, () if estimate.value is None else (estimate.value,), None)
    frames = [run.joined(place.benchmark, place.protocol, place.spec.of) for run in arm.runs]
    seed = seed_for(arm.runs[0].run.card.seed, place.name, 0, "arm")
    found, by_seed = number_over_seeds(pair_up(frames, (), place.spec), few=arm.few, seed=seed)
    return ArmMetric(place, found, by_seed, float(np.std(by_seed, ddof=1)) if by_seed else None)


def number_over_seeds(
    pair: PairedSums, *, few: bool, seed: int
) -> tuple[Estimate, tuple[float, ...]]:
    """The mean over several runs of an arm with its interval, and the number of each run.

    Args:
        pair: The runs; there is no other side.
        few: Whether there are too few of them to say anything about training again.
        seed: Of the draws.
    """
    by_seed = pair.numbers(pair.stacked.sum(axis=0))
    if not np.isfinite(by_seed).all():
        return Estimate(None, None, pair.clusters, pair.bounds), ()
    interval = _arm_interval(pair, by_seed, seed, few=few) if pair.clusters > 1 else None
    found = Estimate(float(by_seed.mean()), interval, pair.clusters, pair.bounds)
    return found, tuple(by_seed.tolist())


def _arm_interval(pair: PairedSums, by_seed: Array, seed: int, *, few: bool) -> Interval | None:
    """Interval of the mean over an arm's runs; `pair` has no other side."""
    value = float(by_seed.mean())
    if not few:
        draws = bootstrap_numbers(pair.stacked, pair.numbers, seed=seed)
        level = two_levels(draws, by_seed, len(by_seed), pair.clusters)
        return level.interval(value, pair.bounds)

    def mean_parts(stacked: Array) -> Array:
        number: Array = pair.part_numbers(stacked).mean(axis=-2)
        return number

    moves = moves_of(pair.stacked, pair.strata.of(mean_parts))
    found = spread(value, moves, pair.bounds)
    if no_spread(found, value):
        return agreeing_interval(value, moves.effective_clusters(), pair.bounds)
    return found.interval and clip(found.interval, pair.bounds)
