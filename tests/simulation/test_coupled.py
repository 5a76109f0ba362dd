"""The interval of J covers what was planted in 93 to 97 % of data sets, from 40 prompts on."""

from __future__ import annotations

import pytest
from simulation.coupled import CoupledWorld, covered
from simulation.coverage import Share

WORLDS = (
    CoupledWorld(40, 4, right=0.9, approved=0.9, fooled=0.3, alike=0.3),
    CoupledWorld(40, 4, right=0.65, approved=0.8, fooled=0.2, alike=0.3),
    CoupledWorld(40, 4, right=0.35, approved=0.6, fooled=0.6, alike=0.6),
    CoupledWorld(80, 4, right=0.65, approved=0.5, fooled=0.2, alike=0.3),
)


def test_a_few_data_sets() -> None:
    assert Share(covered(WORLDS[0], 60, seed=3), 60).at_least(0.93)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: f"J {world.youden_j:.1f}")
def test_a_thousand_data_sets(world: CoupledWorld) -> None:
    found = Share(covered(world, 1000, seed=4), 1000)
    assert found.at_least(0.93) and found.at_most(0.97)
