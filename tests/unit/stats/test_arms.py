"""Arms of several training seeds, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from support import example_run as example

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import GradedRows
from pairuni_eval.stats.arms import ArmRuns, arm_row
from pairuni_eval.stats.compare import (
    TIE_MARGIN,
    Comparison,
    Place,
    Word,
    find_differences,
    shared_places,
)
from pairuni_eval.stats.families import together
from pairuni_eval.stats.paired import pair_rows
from pairuni_eval.stats.scope import NamedSide
from pairuni_eval.stats.tables import Tables, metric_row
from pairuni_eval.stats.two_levels import compare_over_seeds
from pairuni_eval.store.read import StoredRun

MEAN = MetricSpec(name="accuracy")


def of_runs(*values: list[float]) -> list[GradedRows]:
    count = len(values[0])
    return [
        GradedRows(np.array(one), np.arange(count), np.zeros(count, np.int64), {}) for one in values
    ]


def names(count: int) -> np.ndarray:
    return np.array([f"u{n}" for n in range(count)], dtype=object)


def test_seeds_alone_by_hand() -> None:
    # no unit differs from another: numbers 1, 1, 0 against 0, 0, 0; variance 1/3 over 3 seeds
    ours, theirs = of_runs([1] * 4, [1] * 4, [0] * 4), of_runs([0] * 4, [0] * 4, [0] * 4)
    found = compare_over_seeds(pair_rows(ours, theirs, MEAN, names(4)), margin=0.01, seed=0)
    assert found.error == pytest.approx(1 / 3)
    assert found.interval == pytest.approx((2 / 3 - 4.302653 / 3, 1.0), abs=1e-6)
    assert found.p == pytest.approx(0.183503, abs=1e-6)  # t = 2 with 2 degrees of freedom
    assert found.test == "t over seeds and units"


def test_units_and_seeds_add_up() -> None:
    draw = np.random.default_rng(0)
    chances = np.array([[0.3], [0.5], [0.6]])
    ours = of_runs(*(draw.random((3, 200)) < chances).astype(float).tolist())
    theirs = of_runs(*(draw.random((3, 200)) < chances).astype(float).tolist())
    both = pair_rows(ours, theirs, MEAN, names(200))
    found = compare_over_seeds(both, margin=0.01, seed=0)
    change = np.mean([one.value for one in ours], 0) - np.mean([one.value for one in theirs], 0)
    units = change.var(ddof=1) / 200
    seeds = sum(np.var([one.value.mean() for one in side], ddof=1) / 3 for side in (ours, theirs))
    chance = sum(map(residual, (ours, theirs)))
    assert units < units + seeds - chance < units + seeds
    assert found.error**2 == pytest.approx(units + seeds - chance, rel=0.1)  # 2,000 draws


def residual(side: list[GradedRows]) -> float:
    """Variance of the arm's mean by what belongs to one seed in one unit, by the two-way table."""
    table = np.array([one.value for one in side])
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    runs, units = table.shape
    return float((rest**2).sum() / ((runs - 1) * (units - 1)) / (runs * units))


def test_seeds_that_hardly_differ_leave_the_units_error() -> None:
    start = np.random.default_rng(5).permutation(100) % 2
    level = of_runs(*(np.roll(start, n).tolist() for n in range(3)))
    found = compare_over_seeds(pair_rows(level, level, MEAN, names(100)), margin=0.01, seed=0)
    assert found.error == 0  # the same rows on both sides
    theirs = of_runs(*(np.roll(start, 50 + n).tolist() for n in range(3)))
    found = compare_over_seeds(pair_rows(level, theirs, MEAN, names(100)), margin=0.01, seed=0)
    assert found.between == 0 and found.freedom == pytest.approx(99)  # all six numbers are equal


def test_an_untrained_checkpoint_adds_no_seeds() -> None:
    ours, theirs = of_runs([1] * 4, [1] * 4, [0] * 4), of_runs([0] * 4)
    found = compare_over_seeds(pair_rows(ours, theirs, MEAN, names(4)), margin=0.01, seed=0)
    assert found.error == pytest.approx(1 / 3)


def test_equal_arms_are_tied() -> None:
    for count, tied in ((17, False), (300, True)):
        ours = of_runs(*[[1, *[0] * (count - 1)]] * 3)
        found = compare_over_seeds(pair_rows(ours, ours, MEAN, names(count)), margin=0.01, seed=0)
        chance = 0.99**count
        assert found.tie_p == pytest.approx(chance if chance < 0.5 else 1.0, rel=1e-6)
        assert (found.tie_p < 0.05) is tied


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Tables]:
    """Six runs on one benchmark: three of skill 0.9, then three of skill 0.4."""
    folder = tmp_path_factory.mktemp("arms")
    skills = (0.9, 0.9, 0.9, 0.4, 0.4, 0.4)
    return [
        Tables(
            StoredRun(
                example.write_run(
                    folder / str(n),
                    skill=skill,
                    seed=n,
                    count=48,
                    benchmarks=example.choice_cards(48)[1:],
                    with_images=False,
                )
            )
        )
        for n, skill in enumerate(skills)
    ]


def compared(ours: NamedSide, theirs: NamedSide) -> Comparison:
    return together({theirs.name: find_differences(ours, theirs, margin=TIE_MARGIN)})[theirs.name]


def test_three_seeds_each_speak_about_the_recipe(runs: list[Tables]) -> None:
    found = compared(
        ArmRuns("pairuni", tuple(runs[:3])).named, ArmRuns("grpo", tuple(runs[3:])).named
    )
    assert found.note is None
    (headline,) = found.headlines
    assert headline.seeds == (3, 3) and headline.word is Word.BETTER
    assert headline.test == "t over seeds and units"


def test_fewer_seeds_speak_about_the_checkpoints(runs: list[Tables]) -> None:
    found = compared(ArmRuns("pairuni", tuple(runs[:2])).named, ArmRuns("grpo", (runs[3],)).named)
    assert found.note == (
        "pairuni has two training seeds: what is said about it holds for these checkpoints, not "
        "for training it again. grpo has one training seed: what is said about it holds for this "
        "checkpoint, not for training it again."
    )
    assert found.headlines[0].test == "t over units"


def test_one_run_each_is_the_plain_comparison(runs: list[Tables]) -> None:
    found = compared(ArmRuns("pairuni", (runs[0],)).named, ArmRuns("grpo", (runs[3],)).named)
    assert found.headlines[0].test.startswith("permutation") and found.note is not None


def test_the_base_model_needs_no_seeds(runs: list[Tables]) -> None:
    base = ArmRuns("base", (runs[3],), trained=False)
    found = compared(ArmRuns("pairuni", tuple(runs[:3])).named, base.named)
    assert found.note is None and found.headlines[0].seeds == (3, 1)


def test_a_row_of_an_arm(runs: list[Tables]) -> None:
    arm = ArmRuns("pairuni", tuple(runs[:3]))
    (place,), _ = shared_places(arm.runs, ())
    row = arm_row(arm, place)
    assert row.estimate.value == pytest.approx(np.mean(row.by_seed)) and len(row.by_seed) == 3
    assert row.spread == pytest.approx(np.std(row.by_seed, ddof=1))
    assert row.estimate.interval is not None
    assert row.estimate.interval.low < min(row.by_seed) < row.estimate.interval.high


def test_a_row_of_one_run_is_its_own(runs: list[Tables]) -> None:
    spec = runs[0].spec("tiny-mmstar", "official").metrics[0]
    row = arm_row(
        ArmRuns("base", (runs[0],), trained=False), Place("tiny-mmstar", "official", spec)
    )
    assert row.estimate == metric_row(runs[0], "tiny-mmstar", "official", spec).estimate
    assert row.spread is None
