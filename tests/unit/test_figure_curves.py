"""The figure of reward curves, from training folders written by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from made_up_experiments import STEPS, Rewards, training, write_trainings

from pairuni_eval.analysis.compare import Word
from pairuni_eval.errors import UserError
from pairuni_train.experiments import curve_findings
from pairuni_train.experiments.curves import CurveFigure, curve_of, make_curves, part_of, window_of
from pairuni_train.experiments.pages import write_curves
from pairuni_train.experiments.spec import Experiment, find_experiment


@pytest.fixture
def experiment() -> Experiment:
    return find_experiment("figure4").on(tiny=True)


def apart(root: Path, experiment: Experiment) -> CurveFigure:
    """PairUni ends 0.3 above random pairs in understanding and level in generation."""
    write_trainings(
        root,
        experiment,
        {
            "random pair": lambda seed, step: (0.4 + 0.01 * seed, 0.5 + 0.01 * seed),
            "PairUni": lambda seed, step: (
                0.4 + 0.01 * seed + 0.3 * (step >= 10),
                0.52 - 0.01 * seed,
            ),
        },
    )
    return make_curves(experiment, training(root))


def test_levels_and_verdicts_by_hand(tmp_path: Path, experiment: Experiment) -> None:
    figure = apart(tmp_path, experiment)
    assert (figure.part, figure.window) == (2, 1)
    panel = figure.panels[0]
    random, ours = panel.arms
    assert [panel.title, random.arm, ours.arm] == ["understanding", "random pair", "PairUni"]
    assert ours.end_R.tolist() == pytest.approx([0.7, 0.71, 0.72])
    assert ours.rise.value == pytest.approx(0.3) and random.rise.value == pytest.approx(0)
    half = 4.302653 * 0.01 / 3**0.5
    assert ours.end.interval == pytest.approx((0.71 - half, 0.71 + half), abs=1e-6)
    end, level, rise, _ = figure.verdicts
    assert end.values == pytest.approx((0.71, 0.41))
    assert end.evidence is not None and end.evidence.error == pytest.approx(0.01 * (2 / 3) ** 0.5)
    assert (end.word, level.word) == (Word.BETTER, Word.CANNOT_TELL)
    assert end.p == pytest.approx(2 * (end.evidence.p or 0)), "Holm over two tests"
    assert end.evidence.margin == pytest.approx(0.01), "a hundredth of the rewards' range"
    assert rise.evidence is None, "every seed rises by the same: nothing to test with"
    assert "understanding reward at the end got better: 0.410 -> 0.710" in end.sentence


def test_what_is_said_follows_from_the_figures(tmp_path: Path, experiment: Experiment) -> None:
    answer, *others = curve_findings.findings(apart(tmp_path / "a", experiment))
    assert answer == (
        "The tiny world shows a verdict in 1 of 4 comparisons: PairUni against random pair, "
        "understanding reward at the end: better."
    )
    assert "PairUni, understanding reward rose from 0.410 to 0.710: +0.300" in "\n".join(others)
    same = {
        name: lambda seed, step: (0.1 * seed, 0.1 * seed) for name in ("random pair", "PairUni")
    }
    write_trainings(tmp_path / "b", experiment, same)
    answer, first, *_ = curve_findings.findings(make_curves(experiment, training(tmp_path / "b")))
    assert answer.startswith("The tiny world does not show whether one of the arms earns more")
    assert "cannot tell; 0.100 -> 0.100, p = 1" in first


def test_one_seed_is_drawn_but_not_compared(tmp_path: Path, experiment: Experiment) -> None:
    level: Rewards = lambda seed, step: (0.5, float("nan"))  # noqa: E731
    write_trainings(tmp_path, experiment, {"random pair": level, "PairUni": level}, seeds=1)
    figure = make_curves(experiment, training(tmp_path))
    assert [panel.task for panel in figure.panels] == ["und"], "no step has the other reward"
    assert {one.word for one in figure.verdicts} == {Word.CANNOT_TELL}
    assert "not compared, it needs 3 seeds of both" in figure.verdicts[0].sentence
    assert any("not for training again" in note for note in curve_findings.notes(figure))
    page = write_curves(figure, tmp_path / "out", command="again", figures=[]).read_text()
    assert "PairUni, understanding reward: from 0.500 to 0.500, +0.000; no interval" in page


def test_an_arm_without_a_finished_run_is_refused(tmp_path: Path, experiment: Experiment) -> None:
    write_trainings(tmp_path, experiment, {"random pair": lambda seed, step: (0.5, 0.5)})
    with pytest.raises(UserError, match="No seed of the arm 'PairUni' has finished") as refused:
        make_curves(experiment, training(tmp_path))
    assert "logs" in str(refused.value.hint)


def test_a_curve_is_the_mean_of_smoothed_seeds_with_the_lowest_and_highest() -> None:
    assert (window_of(300), window_of(12), window_of(8), part_of(300), part_of(8)) == (
        25,
        1,
        1,
        30,
        1,
    )
    flat = np.vstack([np.full(36, 0.2), np.full(36, 0.6)])
    flat[0, 10] = 3.2  # an outlier of one step, over a window of 3
    curve = curve_of(flat)
    assert curve.mean[[0, 9, 10, 11, 12]] == pytest.approx([0.4, 0.9, 0.9, 0.9, 0.4])
    assert curve.high[10] == pytest.approx(1.2) and curve.low[10] == pytest.approx(0.6)
    gap = np.full((2, 5), np.nan)
    gap[0, 0] = 0.5
    assert curve_of(gap).mean.tolist() == pytest.approx([0.5, *[np.nan] * 4], nan_ok=True)


def test_the_files_of_a_figure(tmp_path: Path, experiment: Experiment) -> None:
    figure = apart(tmp_path / "root", experiment)
    options = {"command": "pairuni-train reproduce figure4", "figures": ["svg"]}
    page = write_curves(figure, tmp_path / "out", **options)
    assert page.name == "figure.html" and page.read_text().count('<path class="arm arm-0"') >= 2
    text = page.with_suffix(".md").read_text()
    assert "| tiny understanding, PairUni | 3 | 0.410" in text
    assert "the first and the last 2 of 20 steps" in text and "is of the tiny world" in text
    assert text.rstrip().endswith("```\npairuni-train reproduce figure4\n```")
    lines = list(csv.reader((tmp_path / "out" / "figure.csv").open()))
    assert lines[0] == ["task", "arm", "seed", "step", "reward"]
    assert len(lines) == 1 + 2 * 2 * 3 * STEPS
    svg = (tmp_path / "out" / "figure.svg").read_bytes()
    assert b"#ffffff" in svg and b"dc:date" not in svg
    write_curves(figure, tmp_path / "again", **options)
    for file in (tmp_path / "out").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
