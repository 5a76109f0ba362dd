"""Words that are false stand on at most 5 % of pages, of families of groups, and of near ties.

A share fails only where the lower end of its exact 99 % interval is above 5 %. The slow tests draw
the 1,000 data sets of docs/statistics.md; the quick ones a few. All seeds are fixed.
"""

from __future__ import annotations

import pytest
from simulation import pages, ties
from simulation.pages import BENCHES, WORLDS, World
from simulation.ties import SHAPES, SIZES, Shape, least_share

MOST = 0.05


def named(shape: Shape) -> str:
    return f"{shape.score}, {shape.differ}"


def test_the_lower_end_by_hand() -> None:
    # at least one of 10: 1 - (1 - p)^10 = .005
    assert least_share(1, 10) == pytest.approx(1 - 0.995**0.1) and least_share(0, 10) == 0
    assert least_share(69, 1000) < MOST < least_share(70, 1000)


@pytest.mark.parametrize("world", WORLDS[::3], ids=lambda world: world.what)
def test_a_few_pages(world: World) -> None:
    found = pages.study(world, 8, benches=(BENCHES[0], BENCHES[-1]))
    assert max(found.least) <= MOST and found.of > 0


def test_what_differs_is_found() -> None:
    world = World("all groups differ", {bench.name: (0.25,) * 4 for bench in BENCHES[-1:]})
    found = pages.study(world, 6, benches=BENCHES[-1:])
    assert found.true == 12 and found.found >= 6 and found.headlines == 0


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[4], SHAPES[6]], ids=named)
def test_a_few_ties_at_the_margin(shape: Shape) -> None:
    assert ties.study(shape, 300, 60).least <= MOST


def test_models_that_are_alike_are_tied() -> None:
    """One point is safe where 3,000 units show no difference, or few both ways."""
    assert ties.study(SHAPES[0], 3000, 10, times=0.0).share == 1
    assert ties.study(SHAPES[1], 3000, 20, times=0.0).share >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.what)
def test_a_thousand_pages(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = pages.study(world, 1000)
    with capsys.disabled():
        print("\n" + pages.table([found]).splitlines()[-1])
    assert max(found.least) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("times", [1.0, 1.5])
@pytest.mark.parametrize("shape", SHAPES, ids=named)
def test_a_thousand_ties_at_the_margin(
    shape: Shape, times: float, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [ties.study(shape, units, 1000, times=times) for units in SIZES]
    with capsys.disabled():
        print("\n" + ties.table([found]).splitlines()[-1])
    assert max(one.least for one in found) <= MOST
