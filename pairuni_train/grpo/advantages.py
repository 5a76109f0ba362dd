"""Advantages of PairGRPO: rewards compared inside a group, scaled by how well the pair is aligned.

A group is the rollouts of one prompt for one task, so an answer is never compared with a picture.
The advantage is (r - mean) / (std + eps) within the group; a pair weight w_p multiplies it: 1 for
aligned pairs, sqrt(similarity) for retrieved ones (paper, section "PairGRPO").

A reward of NaN means that the reward declined to judge: it leaves the group's statistics and its
advantage is 0. A group without spread, or with fewer than two rewards, has no advantage at all
(exactly 0, so exactly zero gradient) and is counted as dead.

Departure: the standard deviation is the sample one (n - 1) with eps = 1e-4, as in trl; the paper
does not say which it takes. Dr.GRPO (arXiv 2503.20783) leaves the division out, which lifts prompts
that are nearly always or nearly never answered: `scaled=False`.

Legend: N rollouts, P groups (one per prompt and task).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_train.pair_data.record import Kind, Pair

EPSILON = 1e-4

Weighting = Callable[[Pair], float]
"""The weight of a pair's advantages; finite and not negative. They enter by the entry points
`pairuni.weightings`."""


class Advantages(NamedTuple):
    """Advantages of one task's rollouts.

    Attributes:
        value_N: Normalized within the group, not yet weighted by the pair; float32.
        live_P: True where a group has spread, i.e. teaches something.
    """

    value_N: Tensor
    live_P: Tensor


def normalize(reward_N: Tensor, group_N: Tensor, *, scaled: bool = True) -> Advantages:
    """Rewards to advantages inside each group.

    Args:
        reward_N: Rewards; NaN where the reward declined.
        group_N: Group of each rollout, 0 to P - 1, every group present.
        scaled: Divide by the standard deviation of the group.
    """
    judged_N = ~reward_N.isnan()
    wide_N = torch.where(judged_N, reward_N, 0.0).double()
    groups = int(group_N.max()) + 1 if len(group_N) else 0
    count_P = _per_group(judged_N.double(), group_N, groups)
    mean_P = _per_group(wide_N, group_N, groups) / count_P.clamp(min=1.0)
    off_N = torch.where(judged_N, wide_N - mean_P[group_N], 0.0)
    std_P = (_per_group(off_N.square(), group_N, groups) / (count_P - 1).clamp(min=1.0)).sqrt()
    # Equal rewards may differ from their mean by rounding: that is not spread.
    live_P = (count_P >= 2) & (std_P > 1e-9)
    size_N = std_P[group_N] + EPSILON if scaled else torch.ones_like(off_N)
    value_N = torch.where(live_P[group_N], off_N / size_N, 0.0)
    return Advantages(value_N.float(), live_P)


def _per_group(value_N: Tensor, group_N: Tensor, groups: int) -> Tensor:
    return value_N.new_zeros(groups).index_add_(0, group_N, value_N)


def no_weight(pair: Pair) -> float:  # noqa: ARG001 - a weighting looks at a pair
    """Every pair counts alike (paper T6 "without similarity", T7 "none")."""
    return 1.0


def linear_weight(pair: Pair) -> float:
    """1 for aligned pairs, s for retrieved ones (paper T7 "linear")."""
    return _similarity(pair)


def sqrt_weight(pair: Pair) -> float:
    """1 for aligned pairs, sqrt(s) for retrieved ones (the paper's choice)."""
    return math.sqrt(_similarity(pair))


def _similarity(pair: Pair) -> float:
    """How alike the halves' images are; a pair whose similarity nobody measured counts in full."""
    return 1.0 if pair.kind is Kind.ALIGNED or pair.similarity is None else pair.similarity
