"""The gradient probe against hand-made vectors and float64."""

from __future__ import annotations

import math

import pytest
import torch
from accelerate import Accelerator
from support import small_training as small
from torch import nn

from pairuni_eval.models.base import Task
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.gram import ALL, adam_scale, gramian, task_grams
from pairuni_train.gradient_probe.rows import gradient_rows
from pairuni_train.grpo.batch import TaskBatch
from pairuni_train.grpo.hooks import TaskGradients
from pairuni_train.grpo.metrics import live_shares
from pairuni_train.grpo.rollouts import TaskRollouts


def parameters(**values: list[float]) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(torch.tensor(value)) for name, value in values.items()}


def fill(named: dict[str, nn.Parameter], **gradients: list[float]) -> None:
    for name, gradient in gradients.items():
        named[name].grad = torch.tensor(gradient)


def captured() -> tuple[dict[str, nn.Parameter], TaskGradients]:
    named = parameters(a=[0.0, 0.0], b=[0.0])
    held = TaskGradients(named, {"a": "layers.0", "b": "norm"})
    fill(named, a=[1.0, 0.0], b=[2.0])
    held.capture("und", 0)
    fill(named, a=[2.0, 0.0])  # b has no gradient in this half
    held.capture("und", 1)
    fill(named, a=[0.0, 4.0], b=[1.0])
    held.capture("gen", 0)
    fill(named, a=[3.0, 0.0], b=[-1.0])
    held.capture("gen", 1)
    return named, held


def test_grams_of_tasks_and_halves() -> None:
    _, held = captured()
    grams = task_grams(held).raw
    # und = a (3, 0), b (2); gen = a (3, 4), b (0)
    assert grams["layers.0"].tasks == (9.0, 9.0, 25.0)
    assert grams["norm"].tasks == (4.0, 0.0, 0.0)
    assert grams[ALL].tasks == (13.0, 9.0, 25.0)
    assert grams[ALL].tasks.cosine == pytest.approx(9 / math.sqrt(13 * 25))
    assert grams[ALL].halves["und"] == (5.0, 2.0, 4.0)
    assert grams[ALL].halves["gen"] == (17.0, -1.0, 10.0)
    assert math.isnan(grams["norm"].tasks.cosine)


def test_the_parameters_get_back_the_sum() -> None:
    named, held = captured()
    assert named["a"].grad is None
    held.restore()
    assert named["a"].grad.tolist() == [6.0, 4.0]
    assert named["b"].grad.tolist() == [2.0]


def test_a_look_is_a_row_for_each_block() -> None:
    named, held = captured()
    del held.parts["gen", 1]  # its gradients were not taken apart
    optimizer = torch.optim.AdamW(named.values())
    for parameter in named.values():
        optimizer.state[parameter] = {
            "step": torch.tensor(1.0),
            "exp_avg_sq": torch.full_like(parameter, 0.25e-3),
        }
    rollouts = {task: with_live(task, live) for task, live in (("und", [1, 1]), ("gen", [1, 0]))}
    batches = {task: TaskBatch(one, [], 1.0) for task, one in rollouts.items()}
    engine = Engine(Accelerator(cpu=True), nn.Module())
    found = gradient_rows(
        engine,
        held,
        named,
        optimizer,
        live_shares(engine, batches),
        scenario="pairuni",
        step=3,
        rows=8,
    )
    assert [row.block for row in found] == [ALL, "layers.0", "norm"] * 2
    assert [row.preconditioned for row in found] == [False] * 3 + [True] * 3
    raw, scaled = found[0], found[3]
    assert (raw.scenario, raw.step, raw.rows) == ("pairuni", 3, 8)
    # und = a (3, 0), b (2); gen = a (0, 4), b (1)
    assert raw.tasks == (13.0, 2.0, 17.0)
    # v = 0.25e-3 / (1 - 0.999) = 0.25: the gradients are doubled
    assert scaled.tasks == pytest.approx((52.0, 8.0, 68.0), rel=1e-5)
    assert raw.und_halves == (5.0, 2.0, 4.0)
    assert raw.gen_halves is None, "its second half had no gradient"
    assert (raw.und_live, raw.gen_live) == (1.0, 0.5)


def with_live(task: Task, live: list[int]) -> TaskRollouts:
    none = torch.zeros(0)
    spec = small.small_recipe().task(task)
    return TaskRollouts(task, spec, [], [], [], none, {}, none, torch.tensor(live).bool(), [])


def test_sums_are_float64() -> None:
    # in float32, 1e8 + 1 - 1e8 is 0
    first = torch.tensor([1e4, 1.0, 1e4])
    second = torch.tensor([1e4, 1.0, -1e4])
    assert gramian([first, second]).raw[0][1] == 1.0


def test_long_vectors_are_summed_in_chunks() -> None:
    length = (1 << 15) + 3
    ones, twos = torch.ones(length), torch.full((length,), 2.0)
    found = gramian([ones, twos], torch.full((length,), 3.0))
    assert found.raw == [[length, 2 * length], [2 * length, 4 * length]]
    assert found.scaled == [[9 * length, 18 * length], [18 * length, 36 * length]]


def test_preconditioned_grams_are_those_of_scaled_vectors() -> None:
    _, held = captured()
    raw, scaled = task_grams(held, {"a": torch.tensor([2.0, 1.0]), "b": torch.tensor([10.0])})
    assert raw[ALL].tasks == (13.0, 9.0, 25.0)
    # und = a (6, 0), b (20); gen = a (6, 4), b (0)
    assert scaled is not None
    assert scaled[ALL].tasks == (436.0, 36.0, 52.0)
    assert scaled["norm"].halves["gen"] == (100.0, -100.0, 100.0)


def test_preconditioning_divides_by_adams_root_mean_square() -> None:
    named = parameters(a=[0.0, 0.0])
    optimizer = torch.optim.AdamW(named.values(), lr=0.1, betas=(0.9, 0.5), eps=0.0)
    assert adam_scale(named, optimizer) is None, "no step yet"
    fill(named, a=[2.0, 8.0])
    optimizer.step()
    # v = 0.5 g^2, corrected by 1 - 0.5: g^2
    assert adam_scale(named, optimizer)["a"].tolist() == pytest.approx([0.5, 0.125])
