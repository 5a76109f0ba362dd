"""The figure of reward curves: arms over the steps of training, each at several seeds.

Shapes: R seeds of an arm, S steps.

Goes in: finished training runs. Comes out, for each task: two curves for each arm, what may be
compared, and the arm in question (the last) against each arm named in `against`.

The training reward is that of the prompts of each step, which differ between arms: a centered
moving mean over a twelfth of the steps, mean over seeds, the band from the lowest seed to the
highest. Its first steps have learned already, the faster the learner the more, so they are nobody's
start. Arms are compared on prompts that are the same for all (`fixed_curves`): before any update,
where equal weights must earn the same, by the area under the curve, at the end, and by the steps to
a level; `curve_verdicts` says how. Older trainings, which were not measured so, are compared by the
training reward of the last tenth of the steps alone, with the remark that each arm sees its own
prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.report import TASKS
from pairuni_eval.toolkit.stats import Array, Bounds
from pairuni_eval.toolkit.store import read_metrics
from pairuni_train.study.curve_arms import (
    ArmCurve,
    Panel,
    RewardRuns,
    margin_of,
)
from pairuni_train.study.curve_verdicts import CurveVerdict, compare
from pairuni_train.study.fixed_curves import (
    Comparability,
    FixedRewards,
    fixed_runs,
    level_of,
    steps_to,
)
from pairuni_train.study.jobs import StudyOptions, jobs_of, last_checkpoint, train_folder
from pairuni_train.study.spec import Experiment, StudyArm


class CurveFigure(NamedTuple):
    """Everything that is printed and drawn."""

    experiment: Experiment
    tiny: bool
    steps: int
    panels: tuple[Panel, ...]
    verdicts: tuple[CurveVerdict, ...]


def make_curves(experiment: Experiment, options: StudyOptions) -> CurveFigure:
    """Read the training runs of every arm and compare them.

    Raises:
        UserError: if an arm has no finished run, or no step of any arm has a reward.
    """
    steps = options.recipe.steps
    folders = {arm.name: _finished(arm, options) for arm in experiment.arms}
    panels = tuple(_panels(experiment, options, folders))
    if not panels:
        raise UserError(f"{experiment.name}: no step of any arm has a reward.")
    return CurveFigure(
        experiment=experiment,
        tiny=options.tiny,
        steps=steps,
        panels=panels,
        verdicts=compare(panels, experiment.arms[-1].name, experiment.against),
    )


def _panels(
    experiment: Experiment, options: StudyOptions, folders: Mapping[str, Mapping[int, Path]]
) -> Iterator[Panel]:
    """The tasks that some arm has a reward in."""
    known = experiment.reward_range.get(options.recipe.name, {})
    ranges: dict[str, tuple[float, float]] = dict(known.items())
    for task, words in TASKS.items():
        runs = {
            name: RewardRuns(
                tuple(seeds),
                np.stack([_rewards(path, task, options.recipe.steps) for path in seeds.values()]),
            )
            for name, seeds in folders.items()
        }
        runs = {name: run for name, run in runs.items() if np.isfinite(run.reward_RS).any()}
        if runs:
            reach = ranges.get(task)
            bounds = None if reach is None else Bounds(*reach)
            measured = fixed_runs({name: folders[name] for name in runs}, task)
            yield _panel(task, words, runs, bounds, measured)


def _panel(
    task: str,
    words: str,
    runs: Mapping[str, RewardRuns],
    bounds: Bounds | None,
    measured: tuple[dict[str, FixedRewards], Comparability],
) -> Panel:
    fixed, comparable = measured
    margin = margin_of(bounds)
    level = level_of(fixed, comparable, margin or 0.0)
    arms = []
    for name, run in runs.items():
        earned = fixed.get(name)
        reached_R = np.zeros(0)
        if level is not None and earned is not None:
            reached_R = steps_to(level, earned)
        arms.append(ArmCurve(name, run, bounds, earned, reached_R))
    ceiling = None if bounds is None else bounds.high
    return Panel(task, words, tuple(arms), comparable, ceiling, margin, level)


def _finished(arm: StudyArm, options: StudyOptions) -> dict[int, Path]:
    """The training folders of an arm by seed, those that have reached the last step."""
    found = {
        job.seed: train_folder(job, options)
        for job in jobs_of(arm, options)
        if last_checkpoint(job, options).is_dir()
    }
    if not found:
        raise UserError(
            f"No seed of the arm '{arm.name}' has finished its training, so there is no curve.",
            hint=f"Look into {options.root / 'logs'}, then run the same command again.",
        )
    return found


def _rewards(folder: Path, task: str, steps: int) -> Array:
    """(S,): the reward of every step."""
    found = np.full(steps, np.nan)
    for row in read_metrics(folder):
        if row["step"] < steps:
            found[int(row["step"])] = row.get(f"reward/{task}", np.nan)
    return found
