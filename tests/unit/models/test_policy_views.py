"""The objective under a policy that scores a rollout by two views, against numbers made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from support import small_training as small
from torch import Tensor, nn

from pairuni_eval.models.base import LogProbs, Rollout, View, ViewPlan
from pairuni_train.distributed.engine import Engine
from pairuni_train.grpo.batch import TaskBatch, micro_batches, with_old_log_probs
from pairuni_train.grpo.config import ObjectiveSpec
from pairuni_train.grpo.rollouts import TaskRollouts
from pairuni_train.grpo.update import accumulate

# What the policy reads in each view: two rollouts of two tokens.
INPUTS = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 7.0], [1.0, 1.0]]])


class TwoViews(nn.Module):
    """The log-prob of a token is a weight times what the view puts in its place."""

    def __init__(self, weights: tuple[float, float] = (0.25, 0.75)) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.0))
        self.weights = weights
        self.seeds: dict[int, int] = {}

    def plan_views(self, rollout: Rollout, seeds: Sequence[int], plan: ViewPlan) -> list[View]:
        """The first view scores the first token alone, the second both."""
        row_N = rollout.tokens_NT[:, 0]
        self.seeds |= dict(zip(row_N.tolist(), seeds, strict=True))
        first_NT = torch.tensor([[True, False]]).expand(len(rollout), 2)
        targets = (first_NT, torch.ones_like(first_NT))
        return [
            View(target_NT, torch.full((len(rollout),), weight), inputs_RT[row_N])
            for target_NT, weight, inputs_RT in zip(targets, self.weights, INPUTS, strict=True)
        ]

    def forward(self, rollout: Rollout, view: View, **_: Any) -> LogProbs:
        assert view.inputs_NT is not None
        logp_NT = self.slope * view.inputs_NT
        return LogProbs(logp_NT.masked_fill(~view.target_NT, 0.0), torch.zeros_like(logp_NT))


def two_rollouts() -> TaskRollouts:
    """One prompt, two rollouts of advantage 1 and -1; the tokens say which is which."""
    token_NT = torch.tensor([[0, 0], [1, 1]])
    rollout = Rollout("gen", token_NT, torch.ones_like(token_NT).bool(), {}, True)
    return TaskRollouts(
        task="gen",
        spec=small.small_recipe().gen,
        prompts=["a prompt"],  # type: ignore[list-item]
        chunks=[rollout],
        replies=[],
        group_N=torch.tensor([0, 0]),
        rewards={},
        advantage_N=torch.tensor([1.0, -1.0]),
        live_P=torch.tensor([True]),
        seeds=[11, 22],
    )


OBJECTIVE = ObjectiveSpec(inner_steps=2)


def batch_of(policy: Any, size: int) -> tuple[Engine, TaskBatch]:
    engine = Engine(Accelerator(cpu=True), policy)
    cut = micro_batches(policy, two_rollouts(), OBJECTIVE, size=size)
    compared = with_old_log_probs(engine, policy, None, cut, OBJECTIVE)
    return engine, TaskBatch(two_rollouts(), compared, 2.0)


@pytest.mark.parametrize("size", [1, 2])
def test_views_count_by_their_weights(size: int) -> None:
    policy: Any = TwoViews()
    engine, batch = batch_of(policy, size)
    assert len(batch.micro_batches) == 4 // size
    totals = accumulate(engine, policy, batch, OBJECTIVE)
    # Row 0: 0.25 * 1 + 0.75 * (5 + 7) / 2 = 4.75; row 1: 0.25 * 3 + 0.75 * 1 = 1.5.
    assert policy.slope.grad.item() == pytest.approx(-(4.75 - 1.5) / 2)
    assert totals.terms.loss.item() == pytest.approx(0.0, abs=1e-7)
    assert totals.terms.tokens.item() == 2 * (1 + 2)
    assert policy.seeds == {0: 11, 1: 22}, "a row keeps its seed wherever it is cut"


def test_views_are_replayed_as_they_were_planned() -> None:
    policy: Any = TwoViews()
    engine, batch = batch_of(policy, 2)
    with torch.no_grad():
        policy.slope.fill_(math.log(1.1))
    totals = accumulate(engine, policy, batch, OBJECTIVE)
    # Ratios are 1.1 to the power of the input, held at 1.2 where the advantage is positive:
    # row 0: 0.25 * 1.1 + 0.75 * 1.2 = 1.175; row 1: -(0.25 * 1.331 + 0.75 * 1.1) = -1.15775.
    assert totals.terms.loss.item() == pytest.approx(-(1.175 - 1.15775) / 2, abs=1e-6)
    assert totals.terms.clipped_high.item() == 2


def test_weights_of_views_must_sum_to_one() -> None:
    policy: Any = TwoViews(weights=(0.5, 0.75))
    with pytest.raises(ValueError, match=r"sum to \[1\.25, 1\.25\], not to 1"):
        micro_batches(policy, two_rollouts(), OBJECTIVE, size=2)


def test_some_rows_of_a_view() -> None:
    inputs_NT: Tensor = INPUTS[0]
    view = View(inputs_NT > 1, torch.tensor([0.5, 0.25]), inputs_NT).rows(slice(1, 2))
    assert view.weight_N.tolist() == [0.25]
    assert view.target_NT.tolist() == [[True, True]]
    assert view.inputs_NT is not None and view.inputs_NT.tolist() == [[3.0, 4.0]]
