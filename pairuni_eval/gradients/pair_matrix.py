"""The gradient of every understanding half against that of every generation half of some pairs.

Shapes: N pairs.

    u_i, g_j    the gradients of the understanding half of pair i and the generation half of pair j
    inner       <u_i, g_j>, (N, N), in one block of parameters
    cosine      <u_i, g_j> / |u_i| |g_j|

A half whose rewards do not differ has no gradient: its row or column is NaN, never 0. Entries fall
into four classes, of which the third holds the second and the fourth:

    within the pair                   i = j
    same concept, another picture     i != j, and the two halves ask for a concept in common
    random pairing                    i != j
    nothing in common                 i != j, and what the two halves ask for has nothing in common

A half whose concepts are not known, or that names none, is in neither the second nor the fourth.

Of a class there are the mean of its cosines and the pooled cosine

    sum <u_i, g_j> / sqrt(sum |u_i|^2  sum |g_j|^2)      over its entries

in which a loud pair of halves weighs more and no noisy quotient is taken. Entries of one row or one
column hang together, so standard errors are those of the jackknife over pairs: pair k is left out
with its row and its column (Arvesen 1969). Within the pair that is s / sqrt(n) for the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from pairuni_eval.gradients.rows import ALL
from pairuni_eval.stats.aggregate import Array, Codes, Mask

SHARED, APART, NOT_KNOWN = 1, 0, -1  # codes of `common_NN`


class PairClass(StrEnum):
    """How the halves of an entry belong together."""

    WITHIN = "within the pair"
    SAME_CONCEPT = "same concept, another picture"
    RANDOM = "random pairing"
    NOTHING = "nothing in common"


class PairTable(NamedTuple):
    """The halves of a scenario's pairs and their inner products.

    Attributes:
        scenario: What was paired how.
        pairs: Ids of the N pairs.
        no_N: True where the answer to the pair's question is "no".
        common_NN: `SHARED` where understanding half i and generation half j ask for a concept in
            common, `APART` where for none, `NOT_KNOWN` where that is not known.
        inner: (N, N) by block; NaN where a half has no gradient.
        und: (N,) squared norms by block; NaN for a half without a gradient.
        gen: The same of the generation halves.
    """

    scenario: str
    pairs: tuple[str, ...]
    no_N: Mask
    common_NN: Codes
    inner: Mapping[str, Array]
    und: Mapping[str, Array]
    gen: Mapping[str, Array]

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks, all shared parameters together first."""
        return (ALL, *(name for name in self.inner if name != ALL))

    def cosines(self, block: str = ALL) -> Array:
        """(N, N); NaN where a half has no gradient in the block."""
        norm = np.sqrt(self.und[block][:, None] * self.gen[block][None, :])
        found = np.full(norm.shape, np.nan)
        np.divide(self.inner[block], norm, out=found, where=norm > 0)
        return found

    def among(self, chosen_N: Mask) -> PairTable:
        """Some of the pairs: their rows and their columns."""
        square = np.ix_(chosen_N, chosen_N)
        return PairTable(
            self.scenario,
            tuple(pair for pair, keep in zip(self.pairs, chosen_N, strict=True) if keep),
            self.no_N[chosen_N],
            self.common_NN[square],
            {block: found[square] for block, found in self.inner.items()},
            {block: found[chosen_N] for block, found in self.und.items()},
            {block: found[chosen_N] for block, found in self.gen.items()},
        )


class ClassMean(msgspec.Struct, frozen=True, kw_only=True):
    """The entries of a class in one block.

    Attributes:
        pair_class: Which.
        cosines: Entries whose halves both have a gradient.
        mean: Mean of the cosines; None without any.
        error: Standard error of the mean; None where fewer than two pairs have entries.
        pooled: The pooled cosine.
        pooled_error: Its standard error.
    """

    pair_class: PairClass
    cosines: int
    mean: float | None
    error: float | None
    pooled: float | None
    pooled_error: float | None


def members(table: PairTable, pair_class: PairClass) -> Mask:
    """(N, N): the entries of a class, whether or not they have a number."""
    within = np.eye(len(table.pairs), dtype=bool)
    if pair_class is PairClass.WITHIN:
        return within
    if pair_class is PairClass.RANDOM:
        return ~within
    wanted = SHARED if pair_class is PairClass.SAME_CONCEPT else APART
    found: Mask = ~within & (table.common_NN == wanted)
    return found


def class_means(table: PairTable, block: str = ALL) -> tuple[ClassMean, ...]:
    """All four classes in one block."""
    return tuple(_class_mean(table, block, one) for one in PairClass)


def _class_mean(table: PairTable, block: str, pair_class: PairClass) -> ClassMean:
    cosines = table.cosines(block)
    chosen = members(table, pair_class) & np.isfinite(cosines)

    def chosen_of(entries: Array) -> Array:
        return np.where(chosen, entries, 0.0)

    counted = chosen.astype(np.float64)
    mean = jackknife(counted, (chosen_of(cosines),), lambda count, sums: sums[0] / count)
    und, gen = table.und[block][:, None], table.gen[block][None, :]
    parts = (chosen_of(table.inner[block]), chosen_of(und + 0 * gen), chosen_of(gen + 0 * und))
    pooled = jackknife(counted, parts, lambda _, sums: sums[0] / np.sqrt(sums[1] * sums[2]))
    return ClassMean(
        pair_class=pair_class,
        cosines=int(chosen.sum()),
        mean=mean.value,
        error=mean.error,
        pooled=pooled.value,
        pooled_error=pooled.error,
    )


class Jackknifed(NamedTuple):
    """A number and its standard error; None where there is none."""

    value: float | None
    error: float | None


Number = Callable[[Array, tuple[Array, ...]], Array]
"""From the numbers of entries (K,), none of them 0, and sums over them (K,) to a number (K,)."""


def jackknife(chosen: Array, parts: tuple[Array, ...], number: Number) -> Jackknifed:
    """A number made of sums over some entries of an (N, N) table, with its error over pairs.

    Args:
        chosen: 1 for an entry that counts, else 0.
        parts: Tables that are summed; an entry that does not count is 0 in all of them.
        number: What is made of the sums.
    """
    count = chosen.sum()
    if not count:
        return Jackknifed(None, None)
    whole = tuple(np.array([part.sum()]) for part in parts)
    value = float(number(np.array([count]), whole)[0])
    involved = (chosen != 0).any(axis=0) | (chosen != 0).any(axis=1)
    left = _sums_without_each(chosen)[involved]
    if len(left) < 2 or not left.all():
        return Jackknifed(value, None)
    without = number(left, tuple(_sums_without_each(part)[involved] for part in parts))
    spread = float(np.sum((without - without.mean()) ** 2))
    return Jackknifed(value, ((len(left) - 1) / len(left) * spread) ** 0.5)


def _sums_without_each(table: Array) -> Array:
    """(N,): the sum of an (N, N) table without row and column k."""
    left: Array = table.sum() - table.sum(axis=1) - table.sum(axis=0) + np.diagonal(table)
    return left
