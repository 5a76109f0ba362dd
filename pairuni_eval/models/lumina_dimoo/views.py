"""By which noisy inputs a rollout is scored: the views of masked diffusion.

`trace` (default) scores what the sampler did: a view's inputs are the state at the start of a group
of steps, its targets the tokens that were kept in the group. Groups have about as many tokens each,
so that K views cost K forwards; with as many groups as steps that is the exact trace (TraceRL's
shrink 1, Wang et al. 2025), with fewer it takes tokens of one group as independent. A view counts
by its share of the row's tokens, so that every token weighs once, whatever K is.

`random` masks each token with a chance that is drawn from 0.6 to 1 for the row, and scores the
masked ones (MaskGRPO, 2025). `coupled` has such a mask and its complement as two views, so that
every token is scored once.

Legend: N rows, T places, S steps, K views.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pairuni_eval.models.base import Rollout, View, ViewPlan

_LEAST_MASKED = 0.6


def plan_views(
    rollout: Rollout, seeds: Sequence[int], plan: ViewPlan, *, masked: int
) -> list[View]:
    """The views of a rollout.

    Args:
        rollout: With its trace.
        seeds: One per row; `trace` draws nothing.
        plan: Which views.
        masked: What stands for an unknown token in a view's inputs.
    """
    if plan.estimator == "trace":
        assert rollout.trace_NT is not None
        return _of_trace(rollout, rollout.trace_NT, plan.groups, masked)
    chosen_NT = _masks(rollout, seeds)
    views = [chosen_NT] if plan.estimator == "random" else [chosen_NT, rollout.mask_NT & ~chosen_NT]
    if plan.estimator == "random":
        return [_view(rollout, chosen_NT, chosen_NT, chosen_NT.sum(1), masked)]
    total_N = rollout.mask_NT.sum(1)
    # Padding after an answer is no target and stays as it is.
    return [_view(rollout, one_NT, one_NT, total_N, masked) for one_NT in views]


def _of_trace(rollout: Rollout, trace_NT: Tensor, groups: int, masked: int) -> list[View]:
    ends = group_ends(trace_NT, groups if rollout.task == "gen" else trace_NT.shape[1])
    total_N = rollout.mask_NT.sum(1)
    views, start = [], 0
    for end in ends:
        target_NT = rollout.mask_NT & (trace_NT >= start) & (trace_NT < end)
        views.append(_view(rollout, target_NT, trace_NT >= start, total_N, masked))
        start = end
    return views


def group_ends(trace_NT: Tensor, groups: int) -> list[int]:
    """The steps before which groups end, of about equally many tokens each.

    All rows of a rollout follow one schedule, so the first tells.

    Args:
        trace_NT: The step at which each token was kept; -1 for what was known.
        groups: How many, at most; there are no more than steps.
    """
    steps = int(trace_NT.max()) + 1
    kept_S = torch.bincount(trace_NT[0].clamp(min=-1) + 1, minlength=steps + 1)[1:]
    total, found, so_far = int(kept_S.sum()), list[int](), 0
    wanted = min(groups, steps)
    for step, count in enumerate(kept_S.tolist()):
        so_far += count
        left = wanted - len(found)
        # A group ends where its share is reached, or where each step left must be one.
        if so_far * wanted >= total * (len(found) + 1) or steps - step - 1 < left:
            found.append(step + 1)
    return found


def _masks(rollout: Rollout, seeds: Sequence[int]) -> Tensor:
    """A random mask over each row's tokens, at least one of them."""
    rows = []
    for seed, mask_T in zip(seeds, rollout.mask_NT.cpu(), strict=True):
        generator = torch.Generator().manual_seed(seed)
        share = _LEAST_MASKED + (1 - _LEAST_MASKED) * torch.rand((), generator=generator)
        chosen_T = (torch.rand(len(mask_T), generator=generator) < share) & mask_T
        if mask_T.any() and not chosen_T.any():
            chosen_T[int(mask_T.nonzero()[0])] = True
        rows.append(chosen_T)
    return torch.stack(rows).to(rollout.mask_NT.device)


def _view(
    rollout: Rollout, target_NT: Tensor, hidden_NT: Tensor, total_N: Tensor, masked: int
) -> View:
    weight_N = target_NT.sum(1) / total_N.clamp(min=1)
    return View(target_NT, weight_N, rollout.tokens_NT.masked_fill(hidden_NT, masked))
