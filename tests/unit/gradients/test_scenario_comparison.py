"""Scenarios of the gradient probe whose batches have nothing to do with each other."""

from __future__ import annotations

import numpy as np
import pytest

from pairuni_eval.gradients.rows import ALL, gradient_table
from pairuni_eval.gradients.scenario_comparison import (
    ScenarioComparison,
    compare_two,
    corrected_together,
)
from pairuni_eval.records import GradientRow


def row(scenario: str, step: int, cosine: float | None) -> GradientRow:
    return GradientRow(
        scenario=scenario,
        step=step,
        block=ALL,
        preconditioned=False,
        tasks=(1.0, cosine, 1.0) if cosine is not None else (0.0, 0.0, 1.0),
        und_halves=None,
        gen_halves=None,
        und_live=1.0,
        gen_live=1.0,
        rows=4,
    )


def compared(
    rows: list[GradientRow], ours: str = "ours", theirs: str = "theirs"
) -> ScenarioComparison:
    (found,) = corrected_together([compare_two(gradient_table([rows]), ours, theirs, paired=False)])
    return found


def test_means_are_compared_and_batches_allotted_anew() -> None:
    ours, theirs = np.linspace(0.2, 0.4, 9), np.linspace(-0.1, 0.1, 11)
    rows = [row("ours", n, c) for n, c in enumerate(ours)]
    rows += [row("theirs", n, c) for n, c in enumerate(theirs)]
    found = compared(rows)
    assert found.difference.value == pytest.approx(0.3)
    assert found.difference.interval is not None and found.difference.interval.low > 0.1
    assert found.p is not None and found.p < 1e-4, "of 167,960 allotments one is as far apart"
    assert (found.batches, found.word) == (9, "agree more")
    back = compared(rows, "theirs", "ours")
    assert (back.difference.value, back.word) == (pytest.approx(-0.3), "agree less")


def test_sides_are_drawn_by_themselves() -> None:
    cosines = np.linspace(-0.5, 0.5, 12)
    rows = [row(name, n, c) for name in ("ours", "theirs") for n, c in enumerate(cosines)]
    found = compared(rows)
    assert found.difference.value == 0 and found.p == 1
    held = found.difference.interval
    assert held is not None and held.high - held.low > 0.3, "equal batches, yet two samples"


def test_a_scenario_without_batches_is_not_compared() -> None:
    rows = [row("ours", n, 0.1 * n) for n in range(6)] + [row("theirs", 0, None)]
    found = compared(rows)
    assert (found.p, found.reason) == (None, "theirs has no batches with a cosine")
    assert found.sentence == (
        "ours against theirs: not compared, theirs has no batches with a cosine; left out: 1 in "
        "which a task had no gradient."
    )
