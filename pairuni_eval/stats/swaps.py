"""Swaps of clusters between two runs: counted where that can be done, drawn elsewhere.

Shapes: C clusters that differ, K sums, b draws of a block.

Where the difference of two runs is a sum of whole numbers over clusters (right answers), how often
each sum comes about over all 2^C swaps is counted: clusters that differ by the same number move it
by a binomial number of steps.

Elsewhere swaps are drawn, until 200 of them are as large as the arrangement seen or until there are
100,000 (at least 20,000 where clusters differ in so many ways that each draw costs more): the
sequential test of Besag and Clifford (1991). With the h-th at draw n the p value is h / n, and
where all draws are made (as large + 1) / (draws + 1), since the arrangement seen is one of them; a
p value so made is at most x with a chance of at most x under no difference. Where a p is .1 two
thousand draws suffice; the smallest one is 1 / 100,001, small enough for 5,000 tests by Holm, or
1 / 20,001 for 1,000.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from functools import lru_cache
from itertools import tee
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from pairuni_eval.stats.aggregate import Array, Codes, Mask

MOST_DRAWS, LEAST_DRAWS = 100_000, 20_000  # before it is said that few are as large
ENOUGH_AS_LARGE = 200
_FIRST = 2_000  # draws of the first block
_MANY = 8  # lines that are alike and are drawn as a binomial number
_CELLS = 1_000_000  # numbers held at once: 8 MB
_ALL_CELLS = 10_000_000  # numbers drawn for one p value, as far as the least draws allow
_KEPT_CELLS = 4_000_000  # sums kept for the next number: 32 MB


def sign_flip_p(steps: Codes) -> float:
    """Two-sided p of a sum of whole numbers (C,), none of them 0, whose signs are fair coins."""
    chances = np.ones(1)
    sizes, counts = np.unique(np.abs(steps), return_counts=True)
    for size, count in zip(sizes, counts, strict=True):
        tosses = np.zeros(size * count + 1)
        heads = np.arange(count + 1)
        tosses[::size] = np.exp(
            gammaln(count + 1) - gammaln(heads + 1) - gammaln(count - heads + 1) - count * np.log(2)
        )
        chances = np.convolve(chances, tosses)
    reached = np.abs(2 * np.arange(len(chances)) - np.abs(steps).sum())  # |sum| by its heads
    return float(min(1.0, chances[reached >= abs(int(steps.sum()))].sum()))


class MonteCarlo(NamedTuple):
    """A p value by drawn arrangements.

    Attributes:
        p: From 1 / (draws + 1) to 1.
        draws: How many it took.
    """

    p: float
    draws: int

    @property
    def words(self) -> str:
        """E.g. "2,000 draws"."""
        return f"{self.draws:,} draws"


def monte_carlo_p(as_large: Iterable[Mask]) -> MonteCarlo:
    """The p value of arrangements that are drawn until enough is known.

    Args:
        as_large: Blocks of drawn arrangements, whether each is as large as the one seen, as many as
            may be drawn. No more blocks are asked for than are needed.
    """
    large = draws = 0
    for block in as_large:
        hits = np.flatnonzero(block)
        if large + len(hits) >= ENOUGH_AS_LARGE:
            last = int(hits[ENOUGH_AS_LARGE - large - 1])
            return MonteCarlo(ENOUGH_AS_LARGE / (draws + last + 1), draws + last + 1)
        large += len(hits)
        draws += len(block)
    return MonteCarlo((large + 1) / (draws + 1), draws)


def block_sizes(cells: int) -> Iterator[int]:
    """How many draws to make at a time, 20,000 to 100,000 in all.

    Args:
        cells: Numbers that one draw needs.
    """
    made, most = 0, max(1, _CELLS // max(1, cells))
    wanted = min(MOST_DRAWS, max(LEAST_DRAWS, _ALL_CELLS // max(1, cells)))
    while made < wanted:
        size = min(wanted - made, max(made, _FIRST), most)  # twice as many as before
        yield size
        made += size


def random_swaps(change: Array, seed: int) -> Iterator[Array]:
    """Blocks (b, K) of sums over random halves of the lines (C, K).

    Lines that are alike up to their sign stand together: of many of them a binomial number is
    taken, of few each by a coin. The signs do not matter to what is drawn, so that a difference
    and its opposite have the same p value.

    F1, precision and recall of the same outputs have the same lines. What was drawn for one of them
    is kept for the next, because drawing costs more than the rest.
    """
    if MOST_DRAWS * change.shape[1] > _KEPT_CELLS:
        return _draw_swaps(change, seed)
    return copy(_kept_swaps(change.tobytes(), change.shape[1], seed))


@lru_cache(maxsize=4)
def _kept_swaps(change: bytes, sums: int, seed: int) -> Iterator[Array]:
    """As `random_swaps`, to be copied: a copy draws what none before it has drawn."""
    (start,) = tee(_draw_swaps(np.frombuffer(change).reshape(-1, sums), seed), 1)
    return start


def _draw_swaps(change: Array, seed: int) -> Iterator[Array]:
    first = change[np.arange(len(change)), (change != 0).argmax(axis=1)]
    turned = change[first < 0].sum(axis=0)
    kinds, counts = np.unique(change * np.sign(first)[:, None], axis=0, return_counts=True)
    many = counts >= _MANY
    lines = np.repeat(kinds[~many], counts[~many], axis=0)
    heaps, masks = _words(counts[many])
    together = kinds[many][heaps]
    draw = np.random.default_rng(seed)
    for size in block_sizes(len(masks) + len(lines)):
        coins = np.frombuffer(draw.bytes(size * -(-len(lines) // 8)), np.uint8)
        alone = np.unpackbits(coins.reshape(size, -1), axis=1, count=len(lines))
        words = np.frombuffer(draw.bytes(8 * size * len(masks)), np.uint64).reshape(size, -1)
        heads = np.bitwise_count(words & masks)
        yield alone.astype(float) @ lines + heads.astype(float) @ together + turned


def _words(counts: Codes) -> tuple[Codes, npt.NDArray[np.uint64]]:
    """The heap that each word of 64 coins belongs to, and which of its coins are tossed."""
    heaps = np.repeat(np.arange(len(counts)), -(-counts // 64))
    masks = np.full(len(heaps), np.iinfo(np.uint64).max, dtype=np.uint64)
    last = np.cumsum(-(-counts // 64)) - 1
    masks[last] >>= ((64 - counts % 64) % 64).astype(np.uint64)
    return heaps, masks
