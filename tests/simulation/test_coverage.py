"""Intervals cover the truth in 93 to 97 % of made-up data sets, and tests reject 3 to 7 % of nulls.

The slow tests draw the 1,000 data sets a world of docs/statistics.md; the quick ones a few dozen,
with bounds as wide as chance needs. All seeds are fixed.
"""

from __future__ import annotations

import pytest
from simulation.coverage import arms_study, sides_table, study, table, tie_study
from simulation.worlds import CORNERS, WORLDS, World

QUICK = [WORLDS[0], WORLDS[3], WORLDS[5], WORLDS[7]]  # one of each score type


def named(world: World) -> str:
    return f"{world.kind}, {world.size}"


@pytest.mark.parametrize("world", QUICK, ids=named)
def test_a_few_data_sets(world: World) -> None:
    found = study(world, 60)
    assert found.covered >= 0.87  # 3 standard errors below 95 %
    assert found.paired >= 0.87 and found.rejected <= 0.13
    assert 0.5 <= found.power <= 0.95


def test_a_few_arms() -> None:
    found = arms_study(3, 0.1, 60)
    assert found.covered >= 0.87 and found.rejected <= 0.13


def test_a_few_ties() -> None:
    assert tie_study(0.0, 60).tied >= 0.65
    assert tie_study(0.01, 60).tied <= 0.13


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS, ids=named)
def test_a_thousand_data_sets(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = study(world, 1000)
    with capsys.disabled():
        print("\n" + table([found]).splitlines()[-1])
    assert 0.93 <= found.covered <= 0.97
    assert 0.93 <= found.paired <= 0.97
    assert 0.03 <= found.rejected <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("world", CORNERS, ids=named)
def test_few_clusters_are_not_fooled(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = study(world, 1000)
    with capsys.disabled():
        print("\n" + table([found]).splitlines()[-1])
    assert found.covered >= 0.9 and found.paired >= 0.9 and found.rejected <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.03, 0.1])
def test_a_thousand_arms(seeds: int, spread: float, capsys: pytest.CaptureFixture[str]) -> None:
    found = arms_study(seeds, spread, 1000)
    with capsys.disabled():
        print("\n" + sides_table([found]).splitlines()[-1])
    assert found.covered >= 0.93 and found.rejected <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize(("difference", "low", "high"), [(0.0, 0.75, 0.95), (0.01, 0.03, 0.07)])
def test_a_thousand_ties(
    difference: float, low: float, high: float, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tie_study(difference, 1000)
    with capsys.disabled():
        print("\n" + sides_table([found]).splitlines()[-1])
    assert low <= found.tied <= high
