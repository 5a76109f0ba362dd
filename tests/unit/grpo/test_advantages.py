"""Group-relative advantages and pair weights against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pairuni_train.grpo.advantages import EPSILON, normalize
from pairuni_train.pair_data.record import Kind, Pair
from pairuni_train.setup import find_weighting


def test_a_group_is_centered_and_divided_by_its_sample_deviation() -> None:
    # mean 0.5; deviations -.5 .5 -.5 .5; sample variance 4 * .25 / 3; std 0.57735027
    found = normalize(torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.zeros(4, dtype=torch.long))
    expected = 0.5 / (math.sqrt(1 / 3) + EPSILON)
    assert found.value_N.tolist() == pytest.approx([-expected, expected, -expected, expected])
    assert found.live_P.tolist() == [True]


def test_without_scaling_a_group_is_centered_alone() -> None:
    found = normalize(torch.tensor([0.0, 1.0, 4.0, 4.0]), torch.tensor([0, 0, 1, 1]), scaled=False)
    assert found.value_N.tolist() == [-0.5, 0.5, 0.0, 0.0]
    assert found.live_P.tolist() == [True, False]


def test_groups_do_not_see_each_other() -> None:
    reward_N = torch.tensor([1.0, 3.0, 100.0, 300.0])
    found = normalize(reward_N, torch.tensor([0, 0, 1, 1]))
    # std of (1, 3) is sqrt(2), of (100, 300) is 100 sqrt(2): the same advantages but for eps
    small, large = 1 / (2**0.5 + EPSILON), 100 / (100 * 2**0.5 + EPSILON)
    assert found.value_N.tolist() == pytest.approx([-small, small, -large, large])


def test_a_group_without_spread_has_exactly_no_advantage() -> None:
    # 0.1 has no exact binary form: the mean of three need not equal it
    found = normalize(torch.tensor([0.1, 0.1, 0.1, 1.0, 0.0]), torch.tensor([0, 0, 0, 1, 1]))
    assert found.value_N[:3].tolist() == [0.0, 0.0, 0.0]
    assert found.live_P.tolist() == [False, True]


def test_a_declined_reward_leaves_the_statistics() -> None:
    nan = float("nan")
    found = normalize(torch.tensor([0.0, nan, 1.0, nan, 1.0]), torch.tensor([0, 0, 0, 1, 1]))
    assert found.value_N.tolist() == pytest.approx(
        [-0.5 / (0.5**0.5 + EPSILON), 0.0, 0.5 / (0.5**0.5 + EPSILON), 0.0, 0.0]
    )
    assert found.live_P.tolist() == [True, False], "one reward has nothing to be compared with"


@pytest.mark.parametrize(("name", "retrieved"), [("none", 1.0), ("linear", 0.64), ("sqrt", 0.8)])
def test_weights_of_pairs(name: str, retrieved: float) -> None:
    weigh = find_weighting(name)
    assert weigh(Pair(id="a", kind=Kind.ALIGNED, similarity=1.0)) == 1.0
    assert weigh(Pair(id="r", kind=Kind.RETRIEVED, similarity=0.64)) == pytest.approx(retrieved)
    assert weigh(Pair(id="u", kind=Kind.UNPAIRED)) == 1.0
