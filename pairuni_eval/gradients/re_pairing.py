"""Is the mean over i of c[i, i] more than re-paired halves would have? Permutations of partners.

Shapes: S pairs whose halves both have a gradient, B re-pairings.

Two questions, each answered by re-pairings that are equally likely if its answer is no:

    pairing    does it matter which halves are paired at all?   every permutation
    picture    does it matter beyond the concept?               permutations that give each half its
                                                                own partner or one with which it has
                                                                a concept in common

The statistic is the mean cosine of the partners. p is two-sided: the share of re-pairings, the
pairing seen among them, whose mean is at least as far from the mean of all of them. Where there are
no more permutations than draws, all are listed and p is exact.

Restricted permutations cannot be drawn one by one. They are walked to: two halves at random swap
partners where both swaps are allowed. The walk is as likely backward as forward, so from the
pairing seen it is walked to a hub, and from there anew to each draw; the pairing seen and the draws
are exchangeable then, however far the walk has come (Besag and Clifford 1989, parallel method). A
walk that is short, or a graph in parts, costs power, not validity.
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np

from pairuni_eval.stats.aggregate import Array, Codes, Mask

DRAWS = 10_000
_WALKS = 2_000  # draws of restricted permutations, each a walk
_STEPS_PER_PAIR = 30  # of a walk
_CLOSE = 1e-12  # what rounding makes of equal means


class RePaired(NamedTuple):
    """What re-pairings say.

    Attributes:
        seen: Mean cosine of the partners as they are.
        mean: Mean over the re-pairings.
        spread: Standard deviation of the mean cosine over re-pairings.
        p: Of "it does not matter".
        draws: Re-pairings that were listed or drawn.
        exact: Whether all of them were listed.
    """

    seen: float
    mean: float
    spread: float
    p: float
    draws: int
    exact: bool


def re_pair(cosine_SS: Array, *, seed: int, draws: int = DRAWS) -> RePaired:
    """All permutations, or `draws` of them.

    Args:
        cosine_SS: Finite; row i is understanding half i, column j generation half j.
        seed: Seed of the draws.
        draws: How many at most.
    """
    size = len(cosine_SS)
    exact = size < 20 and math.factorial(size) <= draws
    if exact:
        partner_BS = np.array(list(permutations(range(size))), dtype=np.int64)
    else:
        generator = np.random.default_rng(seed)
        partner_BS = generator.permuted(np.tile(np.arange(size), (draws, 1)), axis=1)
    return _compared(cosine_SS, partner_BS, exact=exact)


def re_pair_among(
    cosine_SS: Array,
    allowed_SS: Mask,
    *,
    seed: int,
    walks: int = _WALKS,
    steps_per_pair: int = _STEPS_PER_PAIR,
) -> RePaired | None:
    """Permutations that stay among allowed partners; None where only the pairing seen does.

    Args:
        cosine_SS: Finite.
        allowed_SS: Who may be paired with whom; a half always with its own partner.
        seed: Seed of the walks.
        walks: How many draws.
        steps_per_pair: How far each walk goes; p is valid at any length.
    """
    size = len(cosine_SS)
    allowed = allowed_SS | np.eye(size, dtype=bool)
    if not _may_move(allowed):
        return None
    generator = np.random.default_rng(seed)
    steps = steps_per_pair * size
    hub = _walked(np.arange(size)[None], allowed, steps, generator)
    drawn = _walked(np.tile(hub, (walks, 1)), allowed, steps, generator)
    return _compared(cosine_SS, drawn, exact=False)


def _may_move(allowed: Mask) -> bool:
    """Whether any two pairs may swap their halves."""
    both = allowed & allowed.T
    return bool((both & ~np.eye(len(allowed), dtype=bool)).any())


def _walked(partner_BS: Codes, allowed: Mask, steps: int, generator: np.random.Generator) -> Codes:
    found = partner_BS.copy()
    lines, size = np.arange(len(found)), found.shape[1]
    for _ in range(steps):
        i, j = generator.integers(0, size, (2, len(found)))
        of_i, of_j = found[lines, i], found[lines, j]
        may = allowed[i, of_j] & allowed[j, of_i]
        found[lines[may], i[may]] = of_j[may]
        found[lines[may], j[may]] = of_i[may]
    return found


def _compared(cosine_SS: Array, partner_BS: Codes, *, exact: bool) -> RePaired:
    size = len(cosine_SS)
    seen = float(np.trace(cosine_SS)) / size
    mean_B = cosine_SS[np.arange(size), partner_BS].mean(axis=1)
    every = mean_B if exact else np.append(mean_B, seen)
    center = float(every.mean())
    p = float(np.mean(np.abs(every - center) >= abs(seen - center) - _CLOSE))
    return RePaired(seen, center, float(every.std()), p, len(mean_B), exact)
