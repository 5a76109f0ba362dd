"""What changes nothing in a training step of a masked-diffusion policy; untrained, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from support import small_training as small
from torch import Tensor

from pairuni_eval.models.base import LoadOptions, Rollout, Task, View, ViewPlan
from pairuni_eval.models.lumina_dimoo.adapter import DimooModel
from pairuni_eval.models.lumina_dimoo.policy import DimooPolicy
from pairuni_eval.tiny import dimoo
from pairuni_train.config import Recipe
from pairuni_train.gradient_probe.gram import ALL, Gram
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.pair_data.record import Pair

TASK = pytest.mark.parametrize("task", TASKS)
SIZE = dimoo.TinyDimooSize(hidden=32, layers=2, heads=2, feed_forward=48, vq_channels=8)


def recipe_of(**changes: Any) -> Recipe:
    """A small recipe whose answers and pictures take several steps."""
    steps = {
        "und__decoding__steps": 4,
        "und__decoding__answer_tokens": 8,
        "gen__decoding__steps": 6,
        "trainable": ["network."],
    }
    return small.small_recipe(**{**steps, **changes})


@pytest.fixture
def policy(tmp_path: Path) -> DimooPolicy:
    torch.set_num_threads(1)
    dimoo.save(dimoo.build(0, SIZE), tmp_path, recipe="none", step=0)
    return DimooModel.load(str(tmp_path), LoadOptions(device="cpu")).policy


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return small.tiny_pairs(8)


def close(found: Tensor, expected: Tensor) -> bool:
    """Vectors that differ by no more than rounding; the vector must be no zero."""
    size = float(expected.norm())
    assert size > 1e-6
    return float((found - expected).norm()) <= 1e-5 * size


@TASK
@pytest.mark.parametrize("estimator", ["trace", "random", "coupled"])
def test_micro_batches_change_neither_loss_nor_gradient(
    policy: DimooPolicy, pairs: Sequence[Pair], task: Task, estimator: str
) -> None:
    rollouts = small.sampled(policy, task, pairs[:3], recipe_of())
    found = [
        small.loss_and_gradient(policy, rollouts, recipe_of(micro_batch=size, estimator=estimator))
        for size in (16, 5)
    ]
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], abs=1e-6)
        assert close(gradient, found[0][1])


@TASK
def test_the_order_of_views_changes_neither_loss_nor_gradient(
    policy: DimooPolicy, pairs: Sequence[Pair], task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = small.sampled(policy, task, pairs[:3], recipe_of())
    loss, gradient = small.loss_and_gradient(policy, rollouts, recipe_of())
    planned = DimooPolicy.plan_views

    def backwards(
        self: DimooPolicy, rollout: Rollout, seeds: Sequence[int], plan: ViewPlan
    ) -> list[View]:
        views = planned(self, rollout, seeds, plan)
        assert len(views) > 1, "the case needs several views"
        return views[::-1]

    monkeypatch.setattr(DimooPolicy, "plan_views", backwards)
    again = small.loss_and_gradient(policy, rollouts, recipe_of())
    assert again[0] == pytest.approx(loss, abs=1e-6)
    assert close(again[1], gradient)


@TASK
def test_every_token_weighs_once_whatever_the_number_of_groups(
    policy: DimooPolicy, pairs: Sequence[Pair], task: Task
) -> None:
    chunks = small.sampled(policy, task, pairs[:2], recipe_of()).chunks
    for groups in (1, 2, 4, 6):
        for rollout in chunks:
            views = policy.plan_views(rollout, range(len(rollout)), ViewPlan("trace", groups))
            each_NT = sum(
                view.weight_N[:, None] * view.target_NT / view.target_NT.sum(1, True).clamp(min=1)
                for view in views
            )
            assert isinstance(each_NT, Tensor)
            counted_NT = rollout.mask_NT / rollout.mask_NT.sum(1, True)
            assert torch.allclose(each_NT, counted_NT.float(), atol=1e-6)


def test_on_the_first_inner_step_the_ratio_is_one_and_nothing_is_clipped(
    policy: DimooPolicy, pairs: Sequence[Pair]
) -> None:
    for inner_steps in (1, 2):
        recipe = recipe_of(inner_steps=inner_steps, lr=0.1)
        metrics = small.small_trainer(policy, recipe, pairs).step(0).metrics
        for task in TASKS:
            assert metrics[f"first_ratio_off/{task}"] == 0.0
            clipped = metrics[f"clip_ratio/low/{task}"] + metrics[f"clip_ratio/high/{task}"]
            assert (clipped > 0) == (inner_steps == 2), "a large second step leaves the bounds"


def test_the_cosine_of_both_tasks_is_that_of_float64(
    policy: DimooPolicy, pairs: Sequence[Pair]
) -> None:
    """The probe in a float32 step with micro-batches, against whole gradients in float64."""
    recipe = recipe_of(probe__every=1, lr=0.0, micro_batch=3)
    trainer = small.small_trainer(policy, recipe, pairs)
    rows = trainer.parts.sampler.of_step(0)
    rollouts = {task: small.sampled(policy, task, rows, recipe) for task in TASKS}
    (seen,) = (row for row in trainer.step(0).gradients if row.block == ALL)
    exact, whole = deepcopy(policy).double(), recipe_of(micro_batch=64)
    u, g = (small.loss_and_gradient(exact, rollouts[task], whole)[1] for task in TASKS)
    assert Gram(*seen.tasks).cosine == pytest.approx(float(u @ g / u.norm() / g.norm()), abs=1e-5)
    assert seen.tasks[0] == pytest.approx(float(u @ u), rel=1e-4)


def test_parameters_are_probed_by_block(policy: DimooPolicy, pairs: Sequence[Pair]) -> None:
    recipe = recipe_of(probe__every=1, lr=0.0)
    seen = {row.block for row in small.small_trainer(policy, recipe, pairs).step(0).gradients}
    assert seen == {ALL, "wte", "blocks.0", "blocks.1", "ln_f", "ff_out"}
