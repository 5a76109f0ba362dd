"""The gradient probe inside a training step: exact, without influence, whatever the batch sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from support import small_training as small
from torch import Tensor

from pairuni_eval.models.janus import JanusPolicy
from pairuni_eval.records import GradientRow
from pairuni_eval.tiny import janus
from pairuni_train.config import Arm
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.gram import ALL, Gram, task_grams
from pairuni_train.gradient_probe.hooks import PCGrad
from pairuni_train.grpo.hooks import TaskGradients
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.trainable_parameters import select_trainable
from pairuni_train.grpo.trainer import StepResult
from pairuni_train.pair_data.record import Pair


def blocks(result: StepResult, *, preconditioned: bool = False) -> dict[str, GradientRow]:
    """What the probe saw of each block."""
    rows = [row for row in result.gradients if row.preconditioned is preconditioned]
    return {row.block: row for row in rows}


def looked(policy: JanusPolicy, pairs: Sequence[Pair], **changes: Any) -> dict[str, GradientRow]:
    """What the probe sees in the first step."""
    recipe = small.small_recipe(probe__every=1, lr=0.0, **changes)
    return blocks(small.small_trainer(policy, recipe, pairs).step(0))


def task_gradients(policy: JanusPolicy, pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """Flat float64 gradients of both tasks in the first step, by autograd of the whole batch."""
    recipe = small.small_recipe(micro_batch=64, rollout_batch=64)
    rows = small.small_trainer(policy, recipe, pairs).parts.sampler.of_step(0)
    return {
        task: small.loss_and_gradient(policy, small.sampled(policy, task, rows, recipe), recipe)[1]
        for task in TASKS
    }


def same(found: Sequence[float], expected: Sequence[float]) -> None:
    assert tuple(found) == pytest.approx(tuple(expected), rel=1e-4)


def test_grams_are_those_of_whole_gradients(policy: JanusPolicy, pairs: Sequence[Pair]) -> None:
    gradients = task_gradients(policy, pairs)
    u, g = gradients["und"], gradients["gen"]
    row = looked(policy, pairs)[ALL]
    same(row.tasks, (float(u @ u), float(u @ g), float(g @ g)))
    cosine = float(u @ g / u.norm() / g.norm())
    assert Gram(*row.tasks).cosine == pytest.approx(cosine, abs=1e-6)
    assert (row.und_live, row.gen_live) == (1.0, 1.0)


def test_blocks_add_up_and_halves_are_the_task(policy: JanusPolicy, pairs: Sequence[Pair]) -> None:
    raw = looked(policy, pairs)
    assert set(raw) == {ALL, "embed_tokens", "layers.0", "norm"}
    for i in range(3):
        parts = [raw[block].tasks[i] for block in raw if block != ALL]
        assert raw[ALL].tasks[i] == pytest.approx(sum(parts), rel=1e-9)
    halves = Gram(*(raw[ALL].gen_halves or ()))
    # |a + b|^2 = a.a + 2 a.b + b.b
    assert halves.aa + 2 * halves.ab + halves.bb == pytest.approx(raw[ALL].tasks[2], rel=1e-6)


def test_cosine_equals_torchjds_gramian(policy: JanusPolicy, pairs: Sequence[Pair]) -> None:
    pytest.importorskip("torchjd")
    from torchjd.autojac import jac

    a, b = torch.nn.Parameter(torch.randn(7, 3)), torch.nn.Parameter(torch.randn(3))
    x = torch.randn(5, 7)
    losses = [((x @ a + b) ** 2).mean(), (x @ a).sin().sum() + b.prod()]
    jacobians = jac(losses, [a, b], retain_graph=True)
    theirs = sum(j.flatten(1).double() @ j.flatten(1).double().T for j in jacobians)
    held = TaskGradients({"a": a, "b": b}, {"a": "layers.0", "b": "norm"})
    for task, loss in zip(TASKS, losses, strict=True):
        loss.backward(retain_graph=True)
        held.capture(task, 0)
    gram = task_grams(held).raw[ALL].tasks
    assert [gram.aa, gram.ab, gram.bb] == pytest.approx(
        [float(theirs[0, 0]), float(theirs[0, 1]), float(theirs[1, 1])], rel=1e-6
    )


def test_figures_do_not_depend_on_accumulation(policy: JanusPolicy, pairs: Sequence[Pair]) -> None:
    whole = looked(policy, pairs, micro_batch=16)
    for size in (4, 3):  # 2 and 3 micro-batches in each half
        parts = looked(policy, pairs, micro_batch=size)
        for block, grams in whole.items():
            for one, other in zip(grams_of(parts[block]), grams_of(grams), strict=True):
                scale = math.sqrt(other.aa * other.bb)
                assert one.aa == pytest.approx(other.aa, rel=1e-4)
                assert one.ab == pytest.approx(other.ab, abs=1e-5 * scale)


def grams_of(row: GradientRow) -> Iterator[Gram]:
    for numbers in (row.tasks, row.und_halves, row.gen_halves):
        assert numbers is not None
        yield Gram(*numbers)


def weights_after(policy: JanusPolicy, pairs: Sequence[Pair], every: int) -> Mapping[str, Tensor]:
    recipe = small.small_recipe(probe__every=every, lr=1e-3)
    trainer = small.small_trainer(policy, recipe, pairs)
    for step in range(3):
        trainer.step(step)
    return {name: value.clone() for name, value in policy.state_dict().items()}


def test_looking_does_not_change_the_training(
    policy: JanusPolicy, pairs: Sequence[Pair], untrained: Path
) -> None:
    blind = weights_after(policy, pairs, 0)
    fresh = janus.load(untrained)
    seen = weights_after(JanusPolicy(fresh.model, fresh.processor).eval(), pairs, 1)
    for name, value in blind.items():
        # halves are added in another order
        assert torch.allclose(seen[name], value, atol=2e-5, rtol=1e-3), name


def test_preconditioned_grams_come_with_the_second_step(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    trainer = small.small_trainer(policy, small.small_recipe(probe__every=1), pairs)
    first, second = trainer.step(0), trainer.step(1)
    assert not blocks(first, preconditioned=True)
    raw = Gram(*blocks(second)[ALL].tasks)
    scaled = Gram(*blocks(second, preconditioned=True)[ALL].tasks)
    assert scaled.aa > 100 * raw.aa, "divided by root mean squares far below 1"
    assert -1 <= scaled.cosine <= 1


# PCGrad


def projected(u: list[float], g: list[float]) -> list[float]:
    """What PCGrad makes of two gradients."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    held = TaskGradients({"p": parameter}, {"p": "norm"})
    for task, gradient in zip(TASKS, (u, g), strict=True):
        parameter.grad = torch.tensor(gradient)
        held.capture(task, 0)
    engine = Engine(Accelerator(cpu=True), torch.nn.Module())
    assert PCGrad(engine)(held, {}, 0) == ()
    held.restore()
    assert parameter.grad is not None
    found: list[float] = parameter.grad.tolist()
    return found


def test_pcgrad_by_hand() -> None:
    # u = (2, 0), g = (-1, 1): u.g = -2, u.u = 4, g.g = 2
    # u - (-2 / 2) g = (1, 1);  g - (-2 / 4) u = (0, 1)
    assert projected([2.0, 0.0], [-1.0, 1.0]) == [1.0, 2.0]
    assert projected([2.0, 0.0], [1.0, 1.0]) == [3.0, 1.0], "no conflict: the sum"


def test_pcgrad_is_torchjds() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    generator = torch.Generator().manual_seed(0)
    signs = set()
    for _ in range(8):
        u, g = torch.randn(2, 2, generator=generator)
        signs.add(bool(u @ g < 0))
        theirs = aggregation.PCGrad()(torch.stack((u, g)))
        assert projected(u.tolist(), g.tolist()) == pytest.approx(theirs.tolist(), abs=1e-6)
    assert signs == {True, False}


def test_a_run_with_pcgrad_follows_both_tasks(policy: JanusPolicy, pairs: Sequence[Pair]) -> None:
    gradients = task_gradients(policy, pairs)
    u, g = gradients["und"], gradients["gen"]
    recipe = small.small_recipe(max_grad_norm=1e9, lr=0.0)
    arm = Arm(name="pcgrad", summary="", pairs="random", surgery="pcgrad")
    trainer = small.small_trainer(policy, recipe, pairs, arm=arm)
    trainer.step(0)
    found = small.flat_gradient(policy)
    inner = float(u @ g)
    expected = u + g
    if inner < 0:
        expected = u - inner / (g @ g) * g + g - inner / (u @ u) * u
    assert float((found - expected).norm()) < 1e-4 * float(expected.norm())
    assert select_trainable(policy, recipe.trainable)
