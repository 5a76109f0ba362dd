"""What may change nothing in a training step, on an untrained tiny model in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy

import pytest
import torch
from support import small_training as small
from torch import Tensor

from pairuni_eval.models.base import Task
from pairuni_eval.models.janus import JanusPolicy
from pairuni_train.grpo.advantages import sqrt_weight
from pairuni_train.grpo.batch import micro_batches
from pairuni_train.grpo.rewards import Judged, Reward
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.trainable_parameters import trainable_parameters
from pairuni_train.pair_data.record import Pair

TASK = pytest.mark.parametrize("task", TASKS)


def close(found: Tensor, expected: Tensor, *, within: float = 1e-5) -> bool:
    """Vectors that differ by less than a share of their length; the vector must be no zero."""
    size = float(expected.norm())
    assert size > 1e-6
    return float((found - expected).norm()) <= within * size


@TASK
def test_micro_batches_change_neither_loss_nor_gradient(
    policy: JanusPolicy, pairs: Sequence[Pair], task: Task
) -> None:
    rollouts = small.sampled(policy, task, pairs[:3], small.small_recipe())
    found = [
        small.loss_and_gradient(policy, rollouts, small.small_recipe(micro_batch=size))
        for size in (16, 3, 1)
    ]
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], abs=1e-6)
        assert close(gradient, found[0][1])


@TASK
def test_the_order_of_pairs_changes_neither_loss_nor_gradient(
    policy: JanusPolicy, pairs: Sequence[Pair], task: Task
) -> None:
    recipe = small.small_recipe()
    ordered = small.sampled(policy, task, pairs[:4], recipe, weighting=sqrt_weight)
    other = small.sampled(policy, task, small.shuffled(pairs[:4]), recipe, weighting=sqrt_weight)
    assert [p.pair for p in other.prompts] != [p.pair for p in ordered.prompts]
    loss, gradient = small.loss_and_gradient(policy, ordered, recipe)
    assert small.loss_and_gradient(policy, other, recipe)[0] == pytest.approx(loss, abs=1e-6)
    assert close(small.loss_and_gradient(policy, other, recipe)[1], gradient)


@TASK
def test_the_gradient_is_linear_in_the_weights_of_pairs(
    policy: JanusPolicy, pairs: Sequence[Pair], task: Task
) -> None:
    recipe = small.small_recipe()

    def gradient(weights: dict[str, float]) -> Tensor:
        rollouts = small.sampled(
            policy, task, pairs[:2], recipe, weighting=lambda pair: weights[pair.id]
        )
        return small.loss_and_gradient(policy, rollouts, recipe)[1]

    first, second = gradient({"pair0": 1.0, "pair1": 0.0}), gradient({"pair0": 0.0, "pair1": 1.0})
    assert close(gradient({"pair0": 0.25, "pair1": 3.0}), 0.25 * first + 3 * second)
    assert not close(first, second, within=0.1)


@TASK
def test_a_group_without_spread_has_exactly_no_gradient_and_is_counted(
    policy: JanusPolicy, pairs: Sequence[Pair], task: Task
) -> None:
    recipe = small.small_recipe()
    same = {each: small.summed(small.Same()) for each in TASKS}
    rollouts = small.sampled(policy, task, pairs[:2], recipe, rewards=same)
    loss, gradient = small.loss_and_gradient(policy, rollouts, recipe)
    assert loss == 0.0
    assert not gradient.any()
    trainer = small.small_trainer(policy, recipe, pairs, rewards=same)
    before = {name: p.detach().clone() for name, p in trainable_parameters(policy).items()}
    metrics = trainer.step(0).metrics
    assert metrics["grad_norm"] == 0.0
    assert metrics[f"live_groups/{task}"] == 0.0
    assert metrics[f"frac_reward_zero_std/{task}"] == 1.0
    assert metrics[f"entropy/{task}"] > 0.1, "its tokens are still counted"
    assert all(torch.equal(before[n], p) for n, p in trainable_parameters(policy).items())


class Picky(Reward):
    """Declines the first rollout of every group."""

    def __init__(self, inner: Reward, size: int) -> None:
        self.inner, self.size = inner, size

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        values = self.inner(batch)
        return [math.nan if i % self.size == 0 else value for i, value in enumerate(values)]


def test_a_declined_rollout_has_no_advantage_and_no_part_in_the_mean(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    picky = {"und": small.summed(Picky(small.Letters(), 4)), "gen": small.summed(small.Redness())}
    rollouts = small.sampled(policy, "und", pairs[:2], small.small_recipe(), rewards=picky)
    assert rollouts.advantage_N[::4].tolist() == [0.0, 0.0]
    assert rollouts.advantage_N.view(2, 4).sum(1).abs().max() < 1e-6
    metrics = small.small_trainer(policy, small.small_recipe(), pairs, rewards=picky).step(0)
    assert metrics.metrics["declined/und"] == 0.25
    assert metrics.metrics["declined/gen"] == 0.0


def test_on_the_first_inner_step_the_ratio_is_one_and_nothing_is_clipped(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    for inner_steps in (1, 2):
        recipe = small.small_recipe(inner_steps=inner_steps, lr=0.1)
        metrics = small.small_trainer(policy, recipe, pairs).step(0).metrics
        for task in TASKS:
            assert metrics[f"first_ratio_off/{task}"] == 0.0
            clipped = metrics[f"clip_ratio/low/{task}"] + metrics[f"clip_ratio/high/{task}"]
            assert (clipped > 0) == (inner_steps == 2), "a large second step leaves the bounds"


def test_a_picture_is_never_taken_as_cut_off(policy: JanusPolicy, pairs: Sequence[Pair]) -> None:
    recipe = small.small_recipe(gen__decoding__max_tokens=2)
    rollouts = small.sampled(policy, "gen", pairs[:2], recipe)
    batches = micro_batches(policy, rollouts, recipe.objective, size=recipe.batch.micro_batch)
    assert all(batch.rollout.fixed_length for batch in batches)
    assert sum(int(batch.view.target_NT.sum()) for batch in batches) == 2 * 4 * 16
    assert all(reply.tokens == 16 for reply in rollouts.replies)


def test_halves_of_a_pair_are_in_one_step(policy: JanusPolicy, pairs: Sequence[Pair]) -> None:
    recipe = small.small_recipe()
    for step in range(4):
        rows = small.small_trainer(policy, recipe, pairs).parts.sampler.of_step(step)
        rollouts = {task: small.sampled(policy, task, rows, recipe) for task in TASKS}
        assert [p.pair for p in rollouts["und"].prompts] == [
            p.pair for p in rollouts["gen"].prompts
        ]


def test_a_penalty_holds_the_policy_near_its_reference(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    reference = deepcopy(policy).requires_grad_(False)
    found = {}
    for beta in (0.0, 20.0):
        policy.load_state_dict(reference.state_dict())
        recipe = small.small_recipe(beta=beta, lr=3e-3)
        trainer = small.small_trainer(policy, recipe, pairs, reference=reference)
        metrics = [trainer.step(step).metrics for step in range(4)]
        assert metrics[0]["kl/gen"] == pytest.approx(0.0, abs=1e-9), "nothing has moved yet"
        found[beta] = metrics[-1]["kl/gen"]
    assert 0.0 < found[20.0] < 0.5 * found[0.0]


def test_with_a_penalty_groups_without_spread_are_pulled_back(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    reference = deepcopy(policy).requires_grad_(False)
    with torch.no_grad():
        for parameter in policy.janus.model.language_model.parameters():
            parameter.mul_(1.05)
    same = {task: small.summed(small.Same()) for task in TASKS}
    recipe = small.small_recipe(beta=0.1)
    trainer = small.small_trainer(policy, recipe, pairs, rewards=same, reference=reference)
    assert trainer.step(0).metrics["grad_norm"] > 0.0


@TASK
def test_gradient_checkpointing_changes_no_gradient(
    policy: JanusPolicy, pairs: Sequence[Pair], task: Task
) -> None:
    recipe = small.small_recipe()
    rollouts = small.sampled(policy, task, pairs[:2], recipe)
    plain = small.loss_and_gradient(policy, rollouts, recipe)[1]
    policy.janus.activation_checkpointing_enable()
    policy.train()
    saved = small.loss_and_gradient(policy, rollouts, recipe)[1]
    again = small.sampled(policy, task, pairs[:2], recipe)
    policy.janus.activation_checkpointing_disable()
    assert close(saved, plain)
    assert torch.equal(again.chunks[0].tokens_NT, rollouts.chunks[0].tokens_NT), (
        "sampling ignores it"
    )


@TASK
def test_bfloat16_keeps_the_gradient_to_its_precision(
    policy: JanusPolicy, pairs: Sequence[Pair], task: Task
) -> None:
    rollouts = small.sampled(policy, task, pairs[:2], small.small_recipe())
    exact = small.loss_and_gradient(policy, rollouts, small.small_recipe())[1]
    rough = small.loss_and_gradient(policy, rollouts, small.small_recipe(precision="bf16"))[1]
    assert not close(rough, exact, within=1e-5), "the case needs bfloat16 to be in force"
    assert close(rough, exact, within=0.05)


def test_a_run_in_bfloat16_is_on_policy_and_keeps_its_weights_whole(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    few = {"pairs_per_step": 1, "und.rollouts": 2, "gen.rollouts": 2}
    recipe = small.small_recipe(precision="bf16", inner_steps=2, **few)
    metrics = small.small_trainer(policy, recipe, pairs).step(0).metrics
    assert metrics["first_ratio_off/und"] == metrics["first_ratio_off/gen"] == 0.0
    assert metrics["grad_norm"] > 0
    assert all(p.dtype == torch.float32 for p in trainable_parameters(policy).values())
