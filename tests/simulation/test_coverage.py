"""Intervals cover the truth in 93 to 97 % of made-up data sets, and tests reject 5 % of nulls.

The slow tests draw the 1,000 data sets a world of docs/statistics.md and judge them as `coverage`
says; the quick ones a few dozen, with bounds as wide as chance needs. All seeds are fixed.
"""

from __future__ import annotations

import pytest
from simulation.coverage import Share, arms_study, sides_table, study, table, tie_study
from simulation.worlds import WORLDS, World

QUICK = [WORLDS[0], WORLDS[11], WORLDS[19], WORLDS[22]]  # a mean, F1, and groups at an end


def named(world: World) -> str:
    return f"{world.kind}, {world.size}"


def test_an_exact_interval_by_hand() -> None:
    # none of 10: 1 - .005^(1/10)
    assert Share(0, 10).exact() == pytest.approx((0, 0.411297), abs=1e-5)
    assert Share(64, 1000).at_most(0.05) and not Share(70, 1000).at_most(0.05)
    assert Share(910, 1000).at_least(0.93) and not Share(900, 1000).at_least(0.93)


@pytest.mark.parametrize("world", QUICK, ids=named)
def test_a_few_data_sets(world: World) -> None:
    found = study(world, 40)
    for share in (found.covered, found.paired, found.apart):
        assert share.at_least(0.93)
    assert found.rejected.at_most(0.05)


def test_a_few_arms() -> None:
    found = arms_study(3, 0.1, 60)
    assert found.covered.at_least(0.93) and found.rejected.at_most(0.05)


def test_a_few_ties() -> None:
    assert tie_study(0.0, 60).tied.value >= 0.65
    assert tie_study(0.01, 60).tied.at_most(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS, ids=named)
def test_a_thousand_data_sets(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = study(world, 1000)
    with capsys.disabled():
        print("\n" + table([found]).splitlines()[-1])
    for share in (found.covered, found.paired, found.apart):
        assert share.at_least(0.93)
        assert world.over is not None or share.at_most(0.97)
    assert found.rejected.at_most(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.03, 0.1])
def test_a_thousand_arms(seeds: int, spread: float, capsys: pytest.CaptureFixture[str]) -> None:
    found = arms_study(seeds, spread, 1000)
    with capsys.disabled():
        print("\n" + sides_table([found]).splitlines()[-1])
    assert found.covered.at_least(0.93) and found.covered.at_most(0.97)
    assert found.rejected.at_most(0.05)


@pytest.mark.slow
def test_a_thousand_ties(capsys: pytest.CaptureFixture[str]) -> None:
    alike, at_margin = tie_study(0.0, 1000), tie_study(0.01, 1000)
    with capsys.disabled():
        print("\n" + "\n".join(sides_table([alike, at_margin]).splitlines()[-2:]))
    assert alike.tied.value >= 0.7
    assert at_margin.tied.at_most(0.05)
