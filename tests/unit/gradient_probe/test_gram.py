"""The gradient probe against hand-made vectors and float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pairuni_train.gradient_probe.gram import ALL, Probe, adam_scale, gramian


def parameters(**values: list[float]) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(torch.tensor(value)) for name, value in values.items()}


def fill(named: dict[str, nn.Parameter], **gradients: list[float]) -> None:
    for name, gradient in gradients.items():
        named[name].grad = torch.tensor(gradient)


def probed() -> tuple[dict[str, nn.Parameter], Probe]:
    named = parameters(a=[0.0, 0.0], b=[0.0])
    probe = Probe(named, {"a": "layers.0", "b": "norm"})
    fill(named, a=[1.0, 0.0], b=[2.0])
    probe.take("und", 0)
    fill(named, a=[2.0, 0.0])  # b has no gradient in this half
    probe.take("und", 1)
    fill(named, a=[0.0, 4.0], b=[1.0])
    probe.take("gen", 0)
    fill(named, a=[3.0, 0.0], b=[-1.0])
    probe.take("gen", 1)
    return named, probe


def test_grams_of_tasks_and_halves() -> None:
    _, probe = probed()
    grams = probe.grams().raw
    # und = a (3, 0), b (2); gen = a (3, 4), b (0)
    assert grams["layers.0"].tasks == (9.0, 9.0, 25.0)
    assert grams["norm"].tasks == (4.0, 0.0, 0.0)
    assert grams[ALL].tasks == (13.0, 9.0, 25.0)
    assert grams[ALL].tasks.cosine == pytest.approx(9 / math.sqrt(13 * 25))
    assert grams[ALL].halves["und"] == (5.0, 2.0, 4.0)
    assert grams[ALL].halves["gen"] == (17.0, -1.0, 10.0)
    assert math.isnan(grams["norm"].tasks.cosine)


def test_the_parameters_get_back_the_sum() -> None:
    named, probe = probed()
    assert named["a"].grad is None
    probe.give_back()
    assert named["a"].grad.tolist() == [6.0, 4.0]
    assert named["b"].grad.tolist() == [2.0]


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
    _, probe = probed()
    raw, scaled = probe.grams({"a": torch.tensor([2.0, 1.0]), "b": torch.tensor([10.0])})
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
