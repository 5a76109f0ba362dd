"""How often intervals cover the truth and tests reject it, over made-up data sets.

    python tests/simulation/coverage.py [--sets 1000]

Prints the tables of docs/statistics.md. Everything is drawn from fixed seeds, so two runs print the
same table.
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

from simulation.worlds import CORNERS, WORLDS, World, binary, columns

from pairuni_eval.analysis.aggregate import make_aggregate
from pairuni_eval.analysis.arms import weigh_over_seeds
from pairuni_eval.analysis.intervals import estimate
from pairuni_eval.analysis.paired import Evidence, pair_rows, weigh
from pairuni_eval.cards import MetricSpec

ALPHA = 0.05


class Found(NamedTuple):
    """What became of the data sets of one world, as shares.

    Attributes:
        covered: Intervals of one run that hold the truth.
        paired: Intervals of a difference of zero that hold zero.
        rejected: Paired tests with p < 0.05 where the two runs are alike.
        power: Paired tests with p < 0.05 where the difference is the `detectable` one.
    """

    world: World
    covered: float
    paired: float
    rejected: float
    power: float


def study(world: World, sets: int, seed: int = 1) -> Found:
    """Draw the data sets of a world and count."""
    rng = np.random.default_rng([seed, *map(ord, world.kind + world.size)])
    truth = world.lifted(0.0)
    covered = sum(_covers(world, rng, truth, number) for number in range(sets))
    alike = [_weighed(world, rng, 0.0, number) for number in range(sets)]
    lift = _lift(world, float(np.mean([one.detectable or 0.0 for one in alike])))
    apart = [_weighed(world, rng, lift, number) for number in range(sets)]
    return Found(
        world,
        covered / sets,
        np.mean([_holds_zero(one) for one in alike]).item(),
        np.mean([_rejects(one) for one in alike]).item(),
        np.mean([_rejects(one) for one in apart]).item(),
    )


def _covers(world: World, rng: np.random.Generator, truth: float, seed: int) -> bool:
    rows = world.rows(rng, world.chances(world.difficulties(rng)))
    found = estimate(make_aggregate(world.spec, rows), rows, seed=seed).interval
    return found is not None and found.low <= truth <= found.high


def _weighed(world: World, rng: np.random.Generator, lift: float, seed: int) -> Evidence:
    """Two runs on the same units, of which the first has its chances lifted."""
    difficulty = world.difficulties(rng)
    ours, theirs = (world.rows(rng, world.chances(difficulty, by)) for by in (lift, 0.0))
    names = np.arange(len(difficulty)).astype(object)
    return weigh(pair_rows([ours], [theirs], world.spec, names), margin=0.01, seed=seed)


def _lift(world: World, difference: float) -> float:
    """By how much all means must move, towards one half, for a difference of the score."""
    sign = 1.0 if np.mean(world.means) < 0.5 else -1.0
    low = 0.0
    high = 0.99 - max(world.means) if sign > 0 else min(world.means) - 0.01
    for _ in range(40):
        middle = (low + high) / 2
        enough = abs(world.lifted(sign * middle) - world.lifted(0.0)) >= difference
        low, high = (low, middle) if enough else (middle, high)
    return sign * high


def _holds_zero(one: Evidence) -> bool:
    return one.interval is None or one.interval.low <= 0 <= one.interval.high


def _rejects(one: Evidence) -> bool:
    return one.p is not None and one.p < ALPHA


class Sides(NamedTuple):
    """What became of pairs of arms or of nearly equal runs, as shares.

    Attributes:
        what: The situation in words.
        covered: Intervals that hold the true difference.
        rejected: p < 0.05 of "no difference".
        tied: p < 0.05 of "the difference is at least the margin".
    """

    what: str
    covered: float
    rejected: float
    tied: float


def counted(what: str, found: Sequence[Evidence], truth: float) -> Sides:
    """Count what a number of comparisons with one truth said."""
    held = [one.interval is None or one.interval.low <= truth <= one.interval.high for one in found]
    tied = [one.tie_p is not None and one.tie_p < ALPHA for one in found]
    return Sides(
        what,
        np.mean(held).item(),
        np.mean([_rejects(one) for one in found]).item(),
        np.mean(tied).item(),
    )


def arms_study(seeds: int, spread: float, sets: int, units: int = 100) -> Sides:
    """Two equal arms; the chance of each run is moved by a normal with this deviation."""
    rng = np.random.default_rng([2, seeds, round(1000 * spread)])
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
        found.append(weigh_over_seeds(pair, margin=0.01, seed=number))
    return counted(f"{seeds} seeds each, {100 * spread:g} points between seeds", found, 0.0)


def tie_study(difference: float, sets: int, units: int = 2000) -> Sides:
    """Runs of which 2 % of the outputs differ, against a margin of one point."""
    rng = np.random.default_rng([3, round(1000 * difference)])
    spec, names = MetricSpec(name="accuracy"), np.arange(units).astype(object)
    found = []
    for number in range(sets):
        at = rng.random(units)
        ours = at < 0.5 + (0.02 + difference) / 2
        theirs = (at < 0.5) | (at > 1 - (0.02 - difference) / 2)
        rows = [columns(side, np.arange(units)) for side in (ours, theirs)]
        pair = pair_rows(rows[:1], rows[1:], spec, names)
        found.append(weigh(pair, margin=0.01, seed=number))
    points = f"{100 * difference:g}" + (" point" if difference else "")
    return counted(f"true difference {points}, margin 1 point", found, difference)


def sides_table(found: Sequence[Sides]) -> str:
    """The second table of docs/statistics.md."""
    lines = [
        "| two sides | interval covers | difference found | tied |",
        "| --- | ---: | ---: | ---: |",
    ]
    for one in found:
        shares = " | ".join(f"{100 * share:.1f} %" for share in one[1:])
        lines.append(f"| {one.what} | {shares} |")
    return "\n".join(lines)


def table(found: Sequence[Found]) -> str:
    """The table of docs/statistics.md."""
    head = [
        "score",
        "size",
        "interval covers",
        "paired interval covers",
        "no difference, found",
        "difference, found",
    ]
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * 2 + " ---: |" * 4,
    ]
    for one in found:
        shares = (one.covered, one.paired, one.rejected, one.power)
        cells = [one.world.kind, one.world.size, *(f"{100 * share:.1f} %" for share in shares)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsWritten)
    parser.add_argument("--sets", type=int, default=1000, help="data sets of each world")
    sets = parser.parse_args().sets
    start = time.perf_counter()
    print(table([study(world, sets) for world in (*WORLDS, *CORNERS)]), end="\n\n")
    print(sides_table([*all_arms(sets), *all_ties(sets)]), end="\n\n")
    print(f"{sets} data sets each, {time.perf_counter() - start:.0f} s")


def all_arms(sets: int) -> list[Sides]:
    """Arms of three and five seeds that do not differ."""
    return [arms_study(seeds, spread, sets) for seeds in (3, 5) for spread in (0.0, 0.03, 0.1)]


def all_ties(sets: int) -> list[Sides]:
    """Runs that do not differ, and runs that differ by just the margin."""
    return [tie_study(difference, sets) for difference in (0.0, 0.01)]


_AsWritten = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
