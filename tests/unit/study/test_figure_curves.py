"""The figure of reward curves, from training folders written by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from support.made_up_experiments import EVERY, STEPS, Rewards, fixed_rows, training, write_trainings

from pairuni_eval.errors import UserError
from pairuni_eval.stats.over_seeds import spread_of
from pairuni_eval.stats.verdict import Word
from pairuni_train.grpo.fixed_reward import write_rows
from pairuni_train.study import curve_findings
from pairuni_train.study.curve_arms import curve_of, part_of, window_of
from pairuni_train.study.curves import CurveFigure, make_curves
from pairuni_train.study.fixed_curves import FixedRewards, steps_to
from pairuni_train.study.jobs import TrainJob, train_folder
from pairuni_train.study.pages import write_curves
from pairuni_train.study.spec import Experiment, find_experiment

ARMS = ("random pair", "PairUni")


@pytest.fixture
def experiment() -> Experiment:
    return find_experiment("figure4").on(tiny=True)


def level(und: float, gen: float) -> Rewards:
    return lambda seed, step: (und + 0.01 * seed, gen + 0.01 * seed)


def rising(end: float) -> Rewards:
    """From 0.4 to about `end` in understanding by a straight line, flat at 0.5 in generation."""
    return lambda seed, step: (
        0.4 + (end + 0.01 * seed - 0.4) * step / STEPS,
        0.5 + 0.01 * (seed - 1) * (step > 0),
    )


def apart(root: Path, experiment: Experiment) -> CurveFigure:
    """From the same start PairUni ends 0.3 above random pairs in understanding."""
    own = {"random pair": level(0.45, 0.5), "PairUni": level(0.65, 0.5)}
    fixed = {"random pair": rising(0.5), "PairUni": rising(0.8)}
    write_trainings(root, experiment, own, fixed=fixed)
    return make_curves(experiment, training(root))


def test_levels_areas_and_steps_by_hand(tmp_path: Path, experiment: Experiment) -> None:
    figure = apart(tmp_path, experiment)
    panel = figure.panels[0]
    random, ours = panel.arms
    assert [panel.title, random.arm, ours.arm] == ["understanding", "random pair", "PairUni"]
    assert panel.comparable.equal and panel.comparable.start == pytest.approx(0.4)
    assert (panel.ceiling, panel.margin) == (1.0, pytest.approx(0.01))
    assert ours.start_R.tolist() == [0.4] * 3
    assert ours.end_R.tolist() == pytest.approx([0.8, 0.81, 0.82])
    assert ours.area.value == pytest.approx((0.4 + 0.81) / 2), "the mean of a straight line"
    assert ours.rise.value == pytest.approx(0.41)
    half = 4.302653 * 0.01 / 3**0.5
    assert ours.end.interval == pytest.approx((0.81 - half, 0.81 + half), abs=1e-6)
    assert panel.level == pytest.approx(0.4 + 0.11 / 2), "half of what the slower one gains"
    assert ours.reached_R.tolist() == pytest.approx(
        [20 * 0.055 / gain for gain in (0.4, 0.41, 0.42)]
    )
    assert random.reached_R.tolist() == pytest.approx(
        [20 * 0.055 / gain for gain in (0.1, 0.11, 0.12)]
    )
    assert ours.own_end.value == pytest.approx(0.66), "its own prompts, the last 2 of 20 steps"
    assert ours.fixed is not None and ours.fixed.steps_T.tolist() == [0, 5, 10, 15, 20]
    assert spread_of(ours.fixed.reward_RT).high[-1] == pytest.approx(0.82)


def test_verdicts_by_hand(tmp_path: Path, experiment: Experiment) -> None:
    figure = apart(tmp_path, experiment)
    area, end, steps, *gen = figure.verdicts
    assert [one.measure for one in figure.verdicts] == ["area", "end", "steps"] * 2
    assert {one.word for one in (area, end, steps)} == {Word.BETTER}
    assert end.values == pytest.approx((0.81, 0.51))
    assert end.evidence is not None and end.evidence.error == pytest.approx(0.01 * (2 / 3) ** 0.5)
    assert end.evidence.margin == pytest.approx(0.01), "a hundredth of the rewards' range"
    assert end.joint is not None and end.evidence.interval is not None
    assert end.joint.low < end.evidence.interval.low, "it belongs to the corrected p"
    assert end.sentence.startswith(
        "PairUni against random pair: understanding reward at the end is better: 0.810 against "
        "0.510, +0.300 [+0."
    )
    assert "steps to understanding reward 0.455 is better (fewer): 3 against 10, " in steps.sentence
    assert {one.word for one in gen[:2]} == {Word.CANNOT_TELL}
    assert gen[2].evidence is None and "no level both reached" in gen[2].sentence


def test_a_faster_learner_is_nowhere_worse(tmp_path: Path, experiment: Experiment) -> None:
    """Equal weights, one ceiling: who learns within 30 steps has less left to rise in training."""
    draw = np.random.default_rng(11)
    pace = {"random pair": 60.0, "PairUni": 12.0}
    noise = {(arm, seed): draw.normal(0, 0.004, (301, 2)) for arm in pace for seed in range(3)}

    def learning(arm: str, *, jitter: float) -> Rewards:
        def reward(seed: int, step: int) -> tuple[float, float]:
            tau = pace[arm] * (1 + 0.05 * (seed - 1))
            gained = 1 - np.exp(-step / tau)
            und, gen = noise[arm, seed][step] * jitter * (step > 0)
            return (min(1.0, 0.6 + 0.4 * gained + und), min(1.0, 0.5 + 0.5 * gained + gen))

        return reward

    own = {arm: learning(arm, jitter=10.0) for arm in pace}
    fixed = {arm: learning(arm, jitter=1.0) for arm in pace}
    write_trainings(tmp_path, experiment, own, fixed=fixed, steps=300, every=20)
    figure = make_curves(experiment, training(tmp_path, steps=300))
    # What the first tenth of the training reward would have called the start:
    starts = [one.run.reward_RS[:, :30].mean() for one in figure.panels[0].arms]
    assert starts[1] > starts[0] + 0.1, "the case needs a faster learner"
    words = {(one.task, one.measure): one.word for one in figure.verdicts}
    assert Word.WORSE not in words.values()
    for task in ("und", "gen"):
        assert words[task, "area"] is Word.BETTER
        assert words[task, "steps"] is Word.BETTER
        assert words[task, "end"] is not Word.BETTER
    told = [*curve_findings.findings(figure), *curve_findings.notes(figure)]
    assert "worse" not in " ".join(told)
    ends = [one for one in figure.verdicts if one.measure == "end"]
    assert all("a saturated reward cannot tell" in one.sentence for one in ends)
    assert "PairUni ends at the ceiling of the understanding reward, 1: " in " ".join(told)
    page = _markdown(figure, tmp_path / "out")
    assert "worse" not in page


def test_unequal_starts_say_nothing_of_rises(tmp_path: Path, experiment: Experiment) -> None:
    fixed = {"random pair": level(0.4, 0.5), "PairUni": level(0.6, 0.5)}
    write_trainings(tmp_path, experiment, fixed, fixed=fixed)
    figure = make_curves(experiment, training(tmp_path))
    assert {panel.comparable.equal for panel in figure.panels} == {False}
    assert [one.measure for one in figure.verdicts] == ["end", "end"]
    assert figure.verdicts[0].word is Word.BETTER, "the end may be compared"
    told = [*curve_findings.findings(figure), *curve_findings.notes(figure)]
    assert not any("rose" in one or "fell" in one for one in told)
    assert any("0.400 to 0.620. Only the end can be compared" in one for one in told)


def test_older_trainings_are_compared_by_their_ends_alone(
    tmp_path: Path, experiment: Experiment
) -> None:
    write_trainings(
        tmp_path, experiment, {"random pair": level(0.4, 0.5), "PairUni": level(0.7, 0.5)}
    )
    figure = make_curves(experiment, training(tmp_path))
    panel = figure.panels[0]
    assert not panel.comparable.fixed and panel.arms[0].start.value is None
    assert panel.arms[0].rise.value is None and panel.level is None
    assert [one.measure for one in figure.verdicts] == ["end", "end"]
    assert "training understanding reward at the end, each arm's on its own prompts is better" in (
        figure.verdicts[0].sentence
    )
    told = " ".join([*curve_findings.findings(figure), *curve_findings.notes(figure)])
    assert "Only the end of training can be compared, and each arm on its own prompts" in told
    assert "no training was measured on prompts that are the same for all" in told
    page = _markdown(figure, tmp_path / "out")
    assert "| tiny understanding, PairUni | 3 | none | none | 0.710" in page


def test_some_trainings_without_fixed_prompts_or_with_others_are_said(
    tmp_path: Path, experiment: Experiment
) -> None:
    own = {"random pair": level(0.4, 0.5), "PairUni": level(0.7, 0.5)}
    write_trainings(tmp_path / "a", experiment, own, fixed={"PairUni": rising(0.8)})
    some = make_curves(experiment, training(tmp_path / "a")).panels[0].comparable
    assert "3 of 6 trainings were not measured on the fixed prompts" in some.sentence
    assert some.hint is not None
    both = {"random pair": rising(0.5), "PairUni": rising(0.8)}
    write_trainings(tmp_path / "b", experiment, own, fixed=both)
    folder = train_folder(TrainJob(experiment.arms[0], 0), training(tmp_path / "b"))
    write_rows(folder, [row for s in (0, 20) for row in fixed_rows(s, (0.4, 0.5), name="other")])
    other = make_curves(experiment, training(tmp_path / "b")).panels[0].comparable
    assert "measured on different fixed prompts" in other.sentence
    write_rows(folder, [row for s in (0, 10, 20) for row in fixed_rows(s, (0.4, 0.5))])
    fewer = make_curves(experiment, training(tmp_path / "b")).panels[0].arms[1].fixed
    assert fewer is not None and fewer.steps_T.tolist() == [0, 10, 20], "what all have measured"


def test_a_level_that_was_not_reached_is_no_number(tmp_path: Path, experiment: Experiment) -> None:
    def ends(*values: float) -> Rewards:
        return lambda seed, step: (0.4 + (values[seed] - 0.4) * step / STEPS, 0.5)

    fixed = {"random pair": ends(0.41, 0.6, 0.61), "PairUni": ends(0.8, 0.81, 0.82)}
    write_trainings(tmp_path, experiment, fixed, fixed=fixed)
    figure = make_curves(experiment, training(tmp_path))
    panel = figure.panels[0]
    assert panel.level == pytest.approx(0.4 + 0.07)
    assert panel.arms[0].missed == 1 and panel.arms[0].steps_to_level.value is None
    (steps,) = [o for o in figure.verdicts if o.measure == "steps" and o.task == "und"]
    assert steps.word is Word.CANNOT_TELL and steps.values[1] is None
    assert "1 of 3 seeds of random pair did not reach it" in steps.sentence
    page = _markdown(figure, tmp_path / "out")
    assert "not reached by 1 of 3 (to 0.470)" in page


def test_steps_to_a_level_lie_between_measurements() -> None:
    lines = np.array([[0.2, 0.4, 0.8], [0.6, 0.1, 0.1], [0.0, 0.1, 0.2], [np.nan, 0.7, 0.8]])
    run = FixedRewards((0, 1, 2, 3), np.array([0.0, 10.0, 20.0]), lines, lines[:, :1], 1, 1)
    found = steps_to(0.5, run)
    assert found.tolist() == pytest.approx([12.5, 0.0, np.nan, 10.0], nan_ok=True)
    assert run.area_R.tolist()[:2] == pytest.approx([(0.3 + 0.6) / 2, (0.35 + 0.1) / 2])


def test_what_is_said_follows_from_the_figures(tmp_path: Path, experiment: Experiment) -> None:
    answer, *others = curve_findings.findings(apart(tmp_path / "a", experiment))
    assert answer.startswith(
        "The tiny world shows a verdict in 3 of 6 comparisons: PairUni against random pair, mean "
        "understanding reward over the steps (area under the curve): better; "
    )
    assert "PairUni, understanding reward rose from 0.400 to 0.810: +0.410" in "\n".join(others)
    same = dict.fromkeys(ARMS, lambda seed, step: (0.1 * seed, 0.1 * seed))
    write_trainings(tmp_path / "b", experiment, same)
    answer, first, *_ = curve_findings.findings(make_curves(experiment, training(tmp_path / "b")))
    assert answer.startswith("The tiny world does not show whether one of the arms earns more")
    assert "cannot tell; 0.100 against 0.100, +0.000 [" in first and "p = 1" in first


def test_one_seed_is_drawn_but_not_compared(tmp_path: Path, experiment: Experiment) -> None:
    flat: Rewards = lambda seed, step: (0.5, float("nan"))  # noqa: E731
    write_trainings(tmp_path, experiment, dict.fromkeys(ARMS, flat), seeds=1)
    figure = make_curves(experiment, training(tmp_path))
    assert [panel.task for panel in figure.panels] == ["und"], "no step has the other reward"
    assert {one.word for one in figure.verdicts} == {Word.CANNOT_TELL}
    assert "this speaks of these runs alone; a word needs 3 seeds of both" in (
        figure.verdicts[0].sentence
    )
    assert any("not for training again" in note for note in curve_findings.notes(figure))
    page = _markdown(figure, tmp_path / "out")
    assert "| tiny understanding, PairUni | 1 | none | none | 0.500 |" in page


def test_an_arm_without_a_finished_run_is_refused(tmp_path: Path, experiment: Experiment) -> None:
    write_trainings(tmp_path, experiment, {"random pair": level(0.5, 0.5)})
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


def _markdown(figure: CurveFigure, folder: Path) -> str:
    page = write_curves(figure, folder, command="again", figures=[])
    return page.with_suffix(".md").read_text()


def test_the_files_of_a_figure(tmp_path: Path, experiment: Experiment) -> None:
    figure = apart(tmp_path / "root", experiment)
    options = {"command": "pairuni-train reproduce figure4", "figures": ["svg"]}
    page = write_curves(figure, tmp_path / "out", **options)
    html = page.read_text()
    assert page.name == "figure.html" and html.count('<path class="arm arm-0"') >= 4
    assert html.count(">ceiling 1<") == 4 and html.count(">level 0.455<") == 1
    text = page.with_suffix(".md").read_text()
    assert "| tiny understanding, PairUni | 3 | 0.400" in text
    assert "2 of 20 steps" in text and "is of the tiny world" in text
    assert text.rstrip().endswith("```\npairuni-train reproduce figure4\n```")
    lines = list(csv.reader((tmp_path / "out" / "figure.csv").open()))
    assert lines[0] == ["task", "arm", "seed", "prompts", "step", "reward"]
    assert len(lines) == 1 + 2 * 2 * 3 * (STEPS + STEPS // EVERY + 1)
    assert ["und", "PairUni", "0", "fixed", "20", "0.8"] in lines
    svg = (tmp_path / "out" / "figure.svg").read_bytes()
    assert b"#ffffff" in svg and b"dc:date" not in svg
    write_curves(figure, tmp_path / "again", **options)
    for file in (tmp_path / "out").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
