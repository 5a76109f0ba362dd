"""How often intervals cover the truth and tests reject it, over made-up data sets.

    python tests/simulation/coverage.py [--sets 1000] [--corners]

Prints the table of docs/statistics.md. Everything is drawn from fixed seeds, so two runs print the
same table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from worlds import CORNERS, WORLDS, World

from pairuni_eval.analysis.aggregate import make_aggregate
from pairuni_eval.analysis.intervals import estimate
from pairuni_eval.analysis.paired import Evidence, pair_rows, weigh

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


def table(found: Sequence[Found]) -> str:
    """The table of docs/statistics.md."""
    head = ["score", "size", "interval covers", "paired interval covers", "null rejected", "power"]
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
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsWritten)
    parser.add_argument("--sets", type=int, default=1000, help="data sets of each world")
    parser.add_argument("--corners", action="store_true", help="the corners instead")
    options = parser.parse_args()
    start = time.perf_counter()
    print(table([study(world, options.sets) for world in (CORNERS if options.corners else WORLDS)]))
    print(f"\n{options.sets} data sets each, {time.perf_counter() - start:.0f} s")


_AsWritten = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
