"""One arm of a figure of curves, and the arms of one task beside each other.

Shapes: R seeds of an arm, S steps, T measured steps.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from pairuni_eval.toolkit.report import smooth
from pairuni_eval.toolkit.stats import (
    TIE_MARGIN,
    Array,
    Bounds,
    Estimate,
    SeedCurve,
    over_seeds,
    spread_of,
)
from pairuni_train.study.fixed_curves import Comparability, FixedRewards

Measure = Literal["area", "end", "steps"]
"""What arms are compared by: the area under the curve, the end, the steps to a level."""

_PART = 10  # the end of training is a tenth of the steps
_WINDOWS = 12  # a window is a twelfth of the steps


class RewardRuns(NamedTuple):
    """The reward of one task at every step of every seed: (R, S), NaN where none was given."""

    seeds: tuple[int, ...]
    reward_RS: Array


class ArmCurve(NamedTuple):
    """One arm in one task.

    Attributes:
        run: The training reward, each step's on its own prompts.
        bounds: The lowest and highest reward there can be, if known.
        fixed: What it earned on the fixed prompts, if these were answered.
        reached_R: Steps of each seed to the panel's level; NaN for a seed that never reached it.
    """

    arm: str
    run: RewardRuns
    bounds: Bounds | None
    fixed: FixedRewards | None
    reached_R: Array

    @property
    def curve(self) -> SeedCurve:
        """The training reward, smoothed."""
        return curve_of(self.run.reward_RS)

    @property
    def start_R(self) -> Array:
        """The reward of each seed before any update, on the fixed prompts.

        NaN where it was not measured: the first steps of training have learned already.
        """
        seeds = len(self.run.seeds)
        return np.full(seeds, np.nan) if self.fixed is None else self.fixed.reward_RT[:, 0]

    @property
    def end_R(self) -> Array:
        """The level at the end: on the fixed prompts after the last step, else in training."""
        return self.own_end_R if self.fixed is None else self.fixed.reward_RT[:, -1]

    @property
    def own_end_R(self) -> Array:
        """The mean training reward over the last part, on the arm's own prompts."""
        last = part_of(self.run.reward_RS.shape[1])
        return np.array([_mean(line) for line in self.run.reward_RS[:, -last:]])

    def measured_R(self, measure: Measure) -> Array:
        """A number of each seed; the area and the steps are there on fixed prompts only."""
        if measure == "steps":
            return self.reached_R
        if measure == "end":
            return self.end_R
        return np.zeros(0) if self.fixed is None else self.fixed.area_R

    @property
    def start(self) -> Estimate:
        """The level before any update, over seeds."""
        return over_seeds(self.start_R, self.bounds)

    @property
    def end(self) -> Estimate:
        """The level at the end, over seeds."""
        return over_seeds(self.end_R, self.bounds)

    @property
    def rise(self) -> Estimate:
        """The end minus the start, seed by seed; none where the start was not measured."""
        return over_seeds(self.end_R - self.start_R)

    @property
    def area(self) -> Estimate:
        """The mean reward over the steps on the fixed prompts, over seeds."""
        return over_seeds(self.measured_R("area"), self.bounds)

    @property
    def steps_to_level(self) -> Estimate:
        """Steps to the panel's level, over seeds; none unless every seed reached it."""
        return over_seeds(self.reached_R if np.isfinite(self.reached_R).all() else np.zeros(0))

    @property
    def missed(self) -> int:
        """Seeds that never reached the panel's level."""
        return int(np.isnan(self.reached_R).sum())

    @property
    def own_end(self) -> Estimate:
        """The training reward over the last part, over seeds."""
        return over_seeds(self.own_end_R, self.bounds)


class Panel(NamedTuple):
    """One task: its words and the arms that have a reward in it.

    Attributes:
        comparable: What may be compared.
        ceiling: The highest reward there can be, if known; a line to draw.
        margin: A difference that counts as none: a hundredth of the reward's range.
        level: The reward that steps are counted to, if all arms have a common start and end above
            it: halfway to the lowest of their ends.
    """

    task: str
    title: str
    arms: tuple[ArmCurve, ...]
    comparable: Comparability
    ceiling: float | None = None
    margin: float | None = None
    level: float | None = None

    @property
    def saturated(self) -> tuple[str, ...]:
        """Arms that end at the ceiling, to within the margin."""
        if self.ceiling is None or self.margin is None:
            return ()
        least = self.ceiling - self.margin
        ends = {one.arm: one.end.value for one in self.arms}
        return tuple(name for name, end in ends.items() if end is not None and end >= least)


def margin_of(bounds: Bounds | None) -> float | None:
    """A difference that counts as none, if the range is known."""
    return None if bounds is None else TIE_MARGIN * (bounds.high - bounds.low)


def window_of(steps: int) -> int:
    """An odd number of steps, about a twelfth of all."""
    return (steps // _WINDOWS) | 1


def part_of(steps: int) -> int:
    """A tenth of the steps, at least one."""
    return max(1, steps // _PART)


def curve_of(reward_RS: Array) -> SeedCurve:
    """The mean over seeds of the smoothed rewards, with the lowest and the highest seed."""
    window = window_of(reward_RS.shape[1])
    return spread_of(np.stack([smooth(line, window) for line in reward_RS]))


def _mean(line: Array) -> float:
    known = line[np.isfinite(line)]
    return float(known.mean()) if len(known) else float("nan")
