"""How many arrangements a permutation test draws, and the p value that follows.

Draws go on until 200 of them are as large as the arrangement seen, or until there are 100,000: the
sequential test of Besag and Clifford (1991). With the h-th at draw n the p value is h / n, and
where all draws are made (as large + 1) / (draws + 1), since the arrangement seen is one of them; a
p value so made is at most x with a chance of at most x under no difference. Where a p is .1 a few
thousand draws suffice; the smallest one is 1 / 100,001, small enough for 5,000 tests by Holm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from pairuni_eval.analysis.aggregate import Array, Mask

MOST_DRAWS = 100_000
ENOUGH_AS_LARGE = 200
_FIRST = 2_000  # draws of the first block
_MANY = 8  # lines that are alike and are drawn as a binomial number
_CELLS = 1_000_000  # numbers held at once: 8 MB


class MonteCarlo(NamedTuple):
    """A p value by drawn arrangements.

    Attributes:
        p: From 1 / 100,001 to 1.
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
        as_large: Blocks of drawn arrangements, whether each is as large as the one seen. No more
            blocks are asked for than are needed.
    """
    large = draws = 0
    for block in as_large:
        hits = np.flatnonzero(block[: MOST_DRAWS - draws])
        if large + len(hits) >= ENOUGH_AS_LARGE:
            last = int(hits[ENOUGH_AS_LARGE - large - 1])
            return MonteCarlo(ENOUGH_AS_LARGE / (draws + last + 1), draws + last + 1)
        large += len(hits)
        draws += min(len(block), MOST_DRAWS - draws)
        if draws >= MOST_DRAWS:
            break
    return MonteCarlo((large + 1) / (draws + 1), draws)


def block_sizes(cells: int) -> Iterator[int]:
    """How many draws to make at a time, 100,000 in all.

    Args:
        cells: Numbers that one draw needs.
    """
    made = 0
    most = max(1, _CELLS // max(1, cells))
    while made < MOST_DRAWS:
        size = min(MOST_DRAWS - made, max(made, _FIRST), most)  # twice as many as before
        yield size
        made += size


def random_swaps(change: Array, seed: int) -> Iterator[Array]:
    """Blocks (b, K) of sums over random halves of the lines (C, K), 100,000 in all.

    Lines that are alike up to their sign stand together: of many of them a binomial number is
    taken, of few each by a coin. The signs do not matter to what is drawn, so that a difference
    and its opposite have the same p value.
    """
    first = change[np.arange(len(change)), (change != 0).argmax(axis=1)]
    turned = change[first < 0].sum(axis=0)
    kinds, counts = np.unique(change * np.sign(first)[:, None], axis=0, return_counts=True)
    many = counts >= _MANY
    lines = np.repeat(kinds[~many], counts[~many], axis=0)
    draw = np.random.default_rng(seed)
    for size in block_sizes(int(many.sum()) + len(lines)):
        coins = np.frombuffer(draw.bytes(size * -(-len(lines) // 8)), np.uint8)
        alone = np.unpackbits(coins.reshape(size, -1), axis=1, count=len(lines)).astype(np.float64)
        together = draw.binomial(counts[many], 0.5, size=(size, int(many.sum())))
        yield alone @ lines + together @ kinds[many] + turned
