"""The figure of reward curves: arms over the steps of training, each at several seeds.

Shapes: R seeds of an arm, S steps.

Goes in: finished training runs. Comes out, for each task: a curve for each arm, the level that it
starts at and ends at, and the arm in question (the last) against each arm named in `against`.

A curve is the mean over seeds of a centered moving mean over a twelfth of the steps, the band
reaches from the lowest seed to the highest. The level at the start (end) is the mean over the first
(last) tenth of the steps, the rise is the difference of both. Seeds are compared as `over_seeds`
does; Holm corrects over the comparisons of the figure. Arms see other prompts, so the level holds
how easy an arm's prompts are as well as what was learned; the rise is nearer to the latter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pairuni_eval.analysis.aggregate import Array, Bounds
from pairuni_eval.analysis.arms import ENOUGH_SEEDS
from pairuni_eval.analysis.compare import TIE_MARGIN
from pairuni_eval.analysis.intervals import Estimate
from pairuni_eval.analysis.multiple import holm_where_known
from pairuni_eval.analysis.over_seeds import over_seeds, weigh_seeds
from pairuni_eval.analysis.paired import Evidence
from pairuni_eval.analysis.verdict import Word, change, choose, distance, sentence
from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import UserError
from pairuni_eval.report.charts import smooth
from pairuni_eval.report.curves import TASKS
from pairuni_eval.store.training import read_metrics
from pairuni_train.experiments.jobs import Setting, Trial, train_folder
from pairuni_train.experiments.spec import Arm, Experiment

REWARD = MetricSpec(name="reward", scale=1.0, decimals=3)
_PART = 10  # start and end are a tenth of the steps
_WINDOWS = 12  # a window is a twelfth of the steps


class Run(NamedTuple):
    """The reward of one task at every step of every seed: (R, S), NaN where none was given."""

    seeds: tuple[int, ...]
    reward_RS: Array


class Curve(NamedTuple):
    """The smoothed reward of an arm: (S,) each."""

    mean: Array
    low: Array
    high: Array


class ArmCurve(NamedTuple):
    """One arm in one task.

    Attributes:
        start_R: The mean reward of each seed over the first part; NaN where there is none.
        end_R: The same over the last part.
        bounds: The lowest and highest reward there can be, if known.
    """

    arm: str
    run: Run
    curve: Curve
    start_R: Array
    end_R: Array
    bounds: Bounds | None = None

    @property
    def start(self) -> Estimate:
        """The level at the start, over seeds."""
        return over_seeds(self.start_R, self.bounds)

    @property
    def end(self) -> Estimate:
        """The level at the end, over seeds."""
        return over_seeds(self.end_R, self.bounds)

    @property
    def rise(self) -> Estimate:
        """The end minus the start, seed by seed."""
        return over_seeds(self.end_R - self.start_R)


class Verdict(NamedTuple):
    """One arm against another in one task.

    Attributes:
        what: The number that is compared, in words, with a blank for the task.
        evidence: None where no test could be made.
        p: After Holm over the comparisons made together.
    """

    ours: str
    theirs: str
    task: str
    what: str
    values: tuple[float | None, float | None]
    evidence: Evidence | None
    p: float | None = None

    @property
    def word(self) -> Word:
        """What may be said."""
        if self.evidence is None:
            return Word.CANNOT_TELL
        return choose(self.evidence.interval, self.p, self.evidence.tie_p, REWARD.direction)

    @property
    def sentence(self) -> str:
        """E.g. "PairUni against random pair: understanding reward at the end is tied: ..."."""
        ours, theirs = self.values
        one = self.evidence
        told = sentence(
            self.what.format(TASKS[self.task]),
            self.word,
            change(theirs, ours, REWARD),
            p=self.p,
            margin=distance(one and one.margin, REWARD),
            detectable=distance(one and one.detectable, REWARD),
            reason=None
            if one
            else f"it needs {ENOUGH_SEEDS} seeds of both, and spread between them",
        )
        return f"{self.ours} against {self.theirs}: {told}."


class Panel(NamedTuple):
    """One task: its words and the arms that have a reward in it."""

    task: str
    title: str
    arms: tuple[ArmCurve, ...]


class CurveFigure(NamedTuple):
    """Everything that is printed and drawn.

    Attributes:
        window: Steps that a curve is smoothed over.
        part: Steps at the start and at the end that levels are taken over.
    """

    experiment: Experiment
    tiny: bool
    steps: int
    window: int
    part: int
    panels: tuple[Panel, ...]
    verdicts: tuple[Verdict, ...]


def make_curves(experiment: Experiment, setting: Setting) -> CurveFigure:
    """Read the training runs of every arm and compare them.

    Raises:
        UserError: if an arm has no finished run, or no step of any arm has a reward.
    """
    steps = setting.backbone.steps
    folders = {arm.name: _finished(arm, setting) for arm in experiment.arms}
    known = experiment.reward_range.get(setting.backbone.name, {})
    ranges: dict[str, tuple[float, float]] = dict(known.items())
    panels = tuple(
        Panel(task, words, arms)
        for task, words in TASKS.items()
        if (arms := _arms(folders, task, steps, ranges.get(task)))
    )
    if not panels:
        raise UserError(f"{experiment.name}: no step of any arm has a reward.")
    return CurveFigure(
        experiment=experiment,
        tiny=setting.tiny,
        steps=steps,
        window=window_of(steps),
        part=part_of(steps),
        panels=panels,
        verdicts=compare(panels, experiment),
    )


def window_of(steps: int) -> int:
    """An odd number of steps, about a twelfth of all."""
    return (steps // _WINDOWS) | 1


def part_of(steps: int) -> int:
    """A tenth of the steps, at least one."""
    return max(1, steps // _PART)


def _finished(arm: Arm, setting: Setting) -> dict[int, Path]:
    """The training folders of an arm by seed, those that have reached the last step."""
    every = {seed: train_folder(Trial(arm, seed), setting) for seed in range(setting.seeds)}
    last = f"checkpoint-{setting.backbone.steps}"
    found = {seed: folder for seed, folder in every.items() if (folder / last).is_dir()}
    if not found:
        raise UserError(
            f"No seed of the arm '{arm.name}' has finished its training, so there is no curve.",
            hint=f"Look into {setting.root / 'logs'}, then run the same command again.",
        )
    return found


def _arms(
    folders: Mapping[str, Mapping[int, Path]],
    task: str,
    steps: int,
    reach: tuple[float, float] | None,
) -> tuple[ArmCurve, ...]:
    runs = {
        name: Run(tuple(seeds), np.stack([_rewards(path, task, steps) for path in seeds.values()]))
        for name, seeds in folders.items()
    }
    bounds = None if reach is None else Bounds(*reach)
    return tuple(
        arm_curve(name, run, bounds)
        for name, run in runs.items()
        if np.isfinite(run.reward_RS).any()
    )


def _rewards(folder: Path, task: str, steps: int) -> Array:
    """(S,): the reward of every step."""
    found = np.full(steps, np.nan)
    for row in read_metrics(folder):
        if row["step"] < steps:
            found[int(row["step"])] = row.get(f"reward/{task}", np.nan)
    return found


def arm_curve(name: str, run: Run, bounds: Bounds | None = None) -> ArmCurve:
    """The curve of an arm and its levels."""
    reward_RS = run.reward_RS
    part = part_of(reward_RS.shape[1])
    start_R, end_R = (
        np.array([_mean(line) for line in side])
        for side in (reward_RS[:, :part], reward_RS[:, -part:])
    )
    return ArmCurve(name, run, curve_of(reward_RS), start_R, end_R, bounds)


def curve_of(reward_RS: Array) -> Curve:
    """The mean over seeds of the smoothed rewards, with the lowest and the highest seed."""
    window = window_of(reward_RS.shape[1])
    smooth_RS = np.stack([smooth(line, window) for line in reward_RS])
    known = np.isfinite(smooth_RS)
    some = known.any(axis=0)
    mean = np.where(known, smooth_RS, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    low = np.where(known, smooth_RS, np.inf).min(axis=0)
    high = np.where(known, smooth_RS, -np.inf).max(axis=0)
    return Curve(*(np.where(some, one, np.nan) for one in (mean, low, high)))


def _mean(line: Array) -> float:
    known = line[np.isfinite(line)]
    return float(known.mean()) if len(known) else float("nan")


_COMPARED: dict[str, Callable[[ArmCurve], Array]] = {
    "{} reward at the end": lambda arm: arm.end_R,
    "rise of the {} reward": lambda arm: arm.end_R - arm.start_R,
}


def compare(panels: Sequence[Panel], experiment: Experiment) -> tuple[Verdict, ...]:
    """The last arm against each arm in question: every task's level at the end, then its rise."""
    method = experiment.arms[-1].name
    found = []
    for what in _COMPARED:
        for other in experiment.against:
            for panel in panels:
                arms = {one.arm: one for one in panel.arms}
                if other != method and {method, other} <= arms.keys():
                    found.append(_verdict(arms[method], arms[other], panel.task, what))
    corrected = holm_where_known([one.evidence and one.evidence.p for one in found])
    return tuple(one._replace(p=p) for one, p in zip(found, corrected, strict=True))


def _verdict(ours: ArmCurve, theirs: ArmCurve, task: str, what: str) -> Verdict:
    one_R, two_R = (_COMPARED[what](arm) for arm in (ours, theirs))
    bounds = ours.bounds
    margin = None if bounds is None else TIE_MARGIN * (bounds.high - bounds.low)
    evidence = weigh_seeds(one_R, two_R, margin)
    values = (over_seeds(one_R).value, over_seeds(two_R).value)
    return Verdict(ours.arm, theirs.arm, task, what, values, evidence)
