"""How often intervals cover the truth and tests reject it, over made-up data sets.

    python tests/simulation/coverage.py [--sets 1000] [--seed 1] [--second 2]

Prints the tables of docs/statistics.md, in per cent. Everything is drawn from fixed seeds, so two
runs print the same table. The numbers in the rules of the method were chosen on data sets of
other seeds; the second seed is for looking once at the end.

A measured share is judged by its exact 99 % interval (Clopper and Pearson): it fails if that lies
wholly outside of what is promised. Promised are 93 to 97 % for intervals, at least 93 % in the
corners that cover more (`World.over`), and at most 5 % for tests of no difference.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from scipy.stats import binomtest
from simulation.worlds import WORLDS, World, binary, columns

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import make_aggregate
from pairuni_eval.stats.intervals import Interval, estimate
from pairuni_eval.stats.paired import Evidence, PairedSums, compare_pair, pair_rows
from pairuni_eval.stats.two_levels import compare_over_seeds

ALPHA = 0.05


POWER_EVERY = 20  # one pair in so many is tested for power, which is only shown


class Share(NamedTuple):
    """How many data sets of how many."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """From 0 to 1."""
        return self.hits / self.of

    def exact(self) -> tuple[float, float]:
        """The 99 % interval of Clopper and Pearson."""
        found = binomtest(self.hits, self.of).proportion_ci(0.99, method="exact")
        return float(found.low), float(found.high)

    def at_least(self, share: float) -> bool:
        """Whether the chance behind it may be as high as that: the exact interval reaches it."""
        return self.exact()[1] >= share

    def at_most(self, share: float) -> bool:
        """Whether the chance behind it may be as low as that."""
        return self.exact()[0] <= share


def counted(hits: Sequence[bool]) -> Share:
    """How many are true."""
    return Share(sum(map(bool, hits)), len(hits))


class Found(NamedTuple):
    """What became of the data sets of one world.

    Attributes:
        covered: Intervals of one run that hold the truth.
        paired: Intervals of a difference of zero that hold zero.
        apart: Intervals of the difference that is just detectable that hold it.
        rejected: Paired tests with p < 0.05 where the two runs are alike.
        power: Paired tests with p < 0.05 where the difference is the `detectable` one.
    """

    world: World
    covered: Share
    paired: Share
    apart: Share
    rejected: Share
    power: Share


def study(world: World, sets: int, seed: int = 1) -> Found:
    """Draw the data sets of a world and count."""
    rng = np.random.default_rng([seed, *map(ord, world.kind + world.size)])
    truth = world.lifted(0.0)
    covered = [_covers(world, rng, truth) for _ in range(sets)]
    alike = [_weighed(world, rng, 0.0, number) for number in range(sets)]
    lift = _lift(world, float(np.mean([one.detectable or 0.0 for one in alike])))
    pairs = [_pair(world, rng, lift) for _ in range(sets)]
    change = world.lifted(lift) - truth
    tested = [compare_pair(one, margin=0.0, seed=n) for n, one in enumerate(pairs[::POWER_EVERY])]
    return Found(
        world,
        counted(covered),
        counted([_holds(one.interval, 0.0) for one in alike]),
        counted([_holds(one.spread().interval, change) for one in pairs]),
        counted([_rejects(one) for one in alike]),
        counted([_rejects(one) for one in tested]),
    )


def _covers(world: World, rng: np.random.Generator, truth: float) -> bool:
    rows = world.rows(rng, world.chances(world.difficulties(rng)))
    return _holds(estimate(make_aggregate(world.spec, rows), rows).interval, truth)


def _holds(interval: Interval | None, truth: float) -> bool:
    """Whether an interval holds the truth, up to rounding; every world has one to print."""
    return interval is not None and interval.low - 1e-9 <= truth <= interval.high + 1e-9


def _pair(world: World, rng: np.random.Generator, lift: float) -> PairedSums:
    """Two runs on the same units, of which the first has its chances lifted."""
    difficulty = world.difficulties(rng)
    ours, theirs = (world.rows(rng, world.chances(difficulty, by)) for by in (lift, 0.0))
    return pair_rows([ours], [theirs], world.spec, np.arange(len(difficulty)).astype(object))


def _weighed(world: World, rng: np.random.Generator, lift: float, seed: int) -> Evidence:
    return compare_pair(_pair(world, rng, lift), margin=0.0, seed=seed)


def _lift(world: World, difference: float) -> float:
    """By how much all means must move, toward one half, for a difference of the score."""
    sign = 1.0 if np.mean(world.means) < 0.5 else -1.0
    low = 0.0
    high = 0.99 - max(world.means) if sign > 0 else min(world.means) - 0.01
    for _ in range(40):
        middle = (low + high) / 2
        enough = abs(world.lifted(sign * middle) - world.lifted(0.0)) >= difference
        low, high = (low, middle) if enough else (middle, high)
    return sign * high


def _rejects(one: Evidence) -> bool:
    return one.p is not None and one.p < ALPHA


class Sides(NamedTuple):
    """What became of pairs of arms or of nearly equal runs.

    Attributes:
        what: The situation in words.
        covered: Intervals that hold the true difference.
        rejected: p < 0.05 of "no difference".
        tied: p < 0.05 of "the difference is at least the margin".
    """

    what: str
    covered: Share
    rejected: Share
    tied: Share


def sides(what: str, found: Sequence[Evidence], truth: float) -> Sides:
    """Count what a number of comparisons with one truth said."""
    return Sides(
        what,
        counted([_holds(one.interval, truth) for one in found]),
        counted([_rejects(one) for one in found]),
        counted([one.tie_p is not None and one.tie_p < ALPHA for one in found]),
    )


def arms_study(seeds: int, spread: float, sets: int, seed: int = 1, units: int = 100) -> Sides:
    """Two equal arms; the chance of each run is moved by a normal with this deviation."""
    rng = np.random.default_rng([1 + seed, seeds, round(1000 * spread)])
    world = binary(units, 0.6, "", rows=(1, 1))
    names = np.arange(units).astype(object)
    found = []
    for number in range(sets):
        difficulty = world.difficulties(rng)
        runs = [
            world.rows(rng, world.chances(difficulty, rng.normal(0, spread)))
            for _ in range(2 * seeds)
        ]
        pair = pair_rows(runs[:seeds], runs[seeds:], world.spec, names)
        found.append(compare_over_seeds(pair, margin=0.01, seed=number))
    return sides(f"{seeds} seeds each, {100 * spread:g} points between seeds", found, 0.0)


def tie_study(difference: float, sets: int, seed: int = 1, units: int = 2000) -> Sides:
    """Runs of which 2 % of the outputs differ, against a margin of one point."""
    rng = np.random.default_rng([2 + seed, round(1000 * difference)])
    spec, names = MetricSpec(name="accuracy"), np.arange(units).astype(object)
    found = []
    for number in range(sets):
        at = rng.random(units)
        ours = at < 0.5 + (0.02 + difference) / 2
        theirs = (at < 0.5) | (at > 1 - (0.02 - difference) / 2)
        rows = [columns(side, np.arange(units)) for side in (ours, theirs)]
        pair = pair_rows(rows[:1], rows[1:], spec, names)
        found.append(compare_pair(pair, margin=0.01, seed=number))
    points = f"{100 * difference:g}" + (" point" if difference else "")
    return sides(f"true difference {points}, margin 1 point", found, difference)


def _cells(one: Found | Sides, other: Found | Sides | None) -> list[str]:
    """The shares, each with that of the second seed beside it."""
    found = [one[1:]] if other is None else [one[1:], other[1:]]
    return [
        " / ".join(f"{100 * share.value:.1f}" for share in both)
        for both in zip(*found, strict=True)
    ]


def sides_table(found: Sequence[Sides], second: Sequence[Sides] | None = None) -> str:
    """The second table of docs/statistics.md; in per cent."""
    lines = [
        "| two sides | interval covers | difference found | tied |",
        "| --- | ---: | ---: | ---: |",
    ]
    for number, one in enumerate(found):
        cells = [one.what, *_cells(one, second[number] if second else None)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table(found: Sequence[Found], second: Sequence[Found] | None = None) -> str:
    """The table of docs/statistics.md; in per cent."""
    head = ["score", "size", "one run", "no difference", "a difference", "p < .05", "found"]
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * 2 + " ---: |" * 5,
    ]
    for number, one in enumerate(found):
        shares = _cells(one, second[number] if second else None)
        lines.append("| " + " | ".join([one.world.kind, one.world.size, *shares]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsWritten)
    parser.add_argument("--sets", type=int, default=1000, help="data sets of each world")
    parser.add_argument("--seed", type=int, default=1, help="where the data sets begin")
    parser.add_argument("--second", type=int, help="another seed, printed beside the first")
    given = parser.parse_args()
    start = time.perf_counter()
    seeds = [given.seed, *([given.second] if given.second is not None else [])]
    worlds = [[study(world, given.sets, seed) for world in WORLDS] for seed in seeds]
    print(table(*worlds), end="\n\n")
    two = [[*all_arms(given.sets, seed), *all_ties(given.sets, seed)] for seed in seeds]
    print(sides_table(*two), end="\n\n")
    print(f"{given.sets} data sets each, {time.perf_counter() - start:.0f} s")


def all_arms(sets: int, seed: int = 1) -> list[Sides]:
    """Arms of three and five seeds that do not differ."""
    spreads = (0.0, 0.03, 0.1)
    return [arms_study(seeds, spread, sets, seed) for seeds in (3, 5) for spread in spreads]


def all_ties(sets: int, seed: int = 1) -> list[Sides]:
    """Runs that do not differ, and runs that differ by just the margin."""
    return [tie_study(difference, sets, seed) for difference in (0.0, 0.01)]


_AsWritten = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
