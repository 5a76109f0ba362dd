"""Arms of a figure of curves against each other: what is compared, how, and in which words.

What may be compared is said by `fixed_curves`: the area under the curve, the level at the
end and the steps to a level, or the end alone. Seeds are compared by Welch's t test; Holm corrects
over the comparisons of the figure, and the interval beside a word belongs to the corrected p. Two
arms at the reward's ceiling are not compared by their ends: a saturated reward cannot tell. A seed
that never reached the level has no number of steps, so an arm with such a seed is not tested by
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pairuni_eval.api import MetricSpec
from pairuni_eval.toolkit.report import TASKS
from pairuni_eval.toolkit.stats import (
    ENOUGH_SEEDS,
    Array,
    Evidence,
    Interval,
    Step,
    Word,
    choose_word,
    compare_seeds,
    detectable,
    joint_interval,
    over_seeds,
    p_words,
    steps_where_known,
)
from pairuni_train.study.curve_arms import ArmCurve, Measure, Panel

REWARD = MetricSpec(name="reward", scale=1.0, decimals=3)
_STEPS = MetricSpec(name="steps", scale=1.0, decimals=0, direction="down")


class CurveVerdict(NamedTuple):
    """One arm against another in one task.

    Attributes:
        what: The number that is compared, in words, with a blank for the task.
        values: Ours and theirs, means over seeds; None where a seed has none.
        evidence: None where no test could be made.
        p: After Holm over the comparisons made together.
        measure: Which of the three numbers it is.
        joint: The interval of ours - theirs that belongs to `p`.
        reason: Why no test was made, with what would be needed.
    """

    ours: str
    theirs: str
    task: str
    what: str
    values: tuple[float | None, float | None]
    evidence: Evidence | None
    p: float | None = None
    measure: Measure = "end"
    joint: Interval | None = None
    reason: str | None = None

    @property
    def spec(self) -> MetricSpec:
        """How the numbers are printed, and which way is better."""
        return _STEPS if self.measure == "steps" else REWARD

    @property
    def word(self) -> Word:
        """What may be said."""
        if self.evidence is None:
            return Word.CANNOT_TELL
        return choose_word(self.joint, self.p, self.evidence.tie_p, self.spec.direction)

    @property
    def subject(self) -> str:
        """E.g. "understanding reward at the end"."""
        return self.what.format(TASKS[self.task])

    @property
    def sentence(self) -> str:
        """E.g. "PairUni against random pair: understanding reward at the end is better: ..."."""
        return f"{self.ours} against {self.theirs}: {self._told}."

    @property
    def _told(self) -> str:
        ours, theirs = (self._shown(value) for value in self.values)
        numbers = f"{ours} against {theirs}"
        if self.evidence is None:
            return f"{self.subject}: not compared, {self.reason}; {numbers}"
        word, low_high = self.word, ""
        tied = word is Word.TIED
        beside = self.evidence.equivalence if tied else self.joint
        if beside is not None:
            low, high = (self._shown(end, "+") for end in beside)
            low_high = f" [{low}, {high}]"
        change = self._shown((self.values[0] or 0.0) - (self.values[1] or 0.0), "+")
        found = f"{numbers}, {change}{low_high}, {p_words(self.evidence.tie_p if tied else self.p)}"
        if tied:
            margin = self._shown(self.evidence.margin)
            return f"{self.subject} is tied: {found}; they differ by less than {margin}"
        if word is Word.CANNOT_TELL:
            least = self._shown(self.evidence.detectable)
            return f"{self.subject}: cannot tell; {found}; less than {least} would not be found"
        fewer = {Word.BETTER: " (fewer)", Word.WORSE: " (more)"}[word]
        return f"{self.subject} is {word}{fewer if self.measure == 'steps' else ''}: {found}"

    def _shown(self, value: float | None, sign: str = "") -> str:
        return "none" if value is None else f"{value:{sign}.{self.spec.decimals}f}"


def compare(
    panels: Sequence[Panel], method: str, against: Sequence[str]
) -> tuple[CurveVerdict, ...]:
    """The arm in question against others: task by task, all numbers that may be compared.

    Args:
        panels: The tasks.
        method: The arm in question.
        against: The arms that it is compared with.
    """
    found = []
    for other in against:
        for panel in panels:
            arms = {one.arm: one for one in panel.arms}
            if other != method and {method, other} <= arms.keys():
                found += _of_panel(arms[method], arms[other], panel)
    steps = steps_where_known([one.evidence and one.evidence.p for one in found])
    return tuple(_corrected(one, step) for one, step in zip(found, steps, strict=True))


def _corrected(one: CurveVerdict, step: Step | None) -> CurveVerdict:
    if one.evidence is None or step is None:
        return one
    joint = joint_interval(one.evidence, step)
    found = one.evidence
    if found.detectable is not None and found.freedom is not None:
        least = detectable(found.error, found.freedom, step.times)
        found = found._replace(detectable=least)
    return one._replace(p=step.p, joint=joint, evidence=found)


def _of_panel(ours: ArmCurve, theirs: ArmCurve, panel: Panel) -> list[CurveVerdict]:
    whats: dict[Measure, str] = {"end": "{} reward at the end"}
    if not panel.comparable.fixed:
        whats = {"end": "training {} reward at the end, each arm's on its own prompts"}
    if panel.comparable.equal:
        level = "steps to a level of the {} reward"
        if panel.level is not None:
            level = f"steps to {{}} reward {panel.level:.3f}"
        area = "mean {} reward over the steps (area under the curve)"
        whats = {"area": area, **whats, "steps": level}
    return [_verdict(ours, theirs, panel, measure, what) for measure, what in whats.items()]


def _verdict(
    ours: ArmCurve, theirs: ArmCurve, panel: Panel, measure: Measure, what: str
) -> CurveVerdict:
    sides = (ours.measured_R(measure), theirs.measured_R(measure))
    reason = _reason(ours, theirs, panel, measure)
    margin = None if measure == "steps" else panel.margin
    evidence = None if reason else compare_seeds(*sides, margin)
    if reason is None and evidence is None:
        reason = "the seeds of each arm all have the same, which leaves no spread to test with"
    values = (_mean(sides[0]), _mean(sides[1]))
    return CurveVerdict(
        ours.arm, theirs.arm, panel.task, what, values, evidence, measure=measure, reason=reason
    )


def _mean(side: Array) -> float | None:
    return over_seeds(side).value if np.isfinite(side).all() else None


def _reason(ours: ArmCurve, theirs: ArmCurve, panel: Panel, measure: Measure) -> str | None:
    """Why nothing is tested."""
    if measure == "steps" and panel.level is None:
        return (
            "an arm does not end above the common start by more than counts as none, so that there "
            "is no level both reached"
        )
    if measure == "steps":
        missed = [
            f"{arm.missed} of {len(arm.reached_R)} seeds of {arm.arm} did not reach it"
            for arm in (ours, theirs)
            if arm.missed
        ]
        if missed:
            return f"{' and '.join(missed)}, and how many steps they need is not known"
    if measure == "end" and {ours.arm, theirs.arm} <= set(panel.saturated):
        return (
            f"both sit at the reward's ceiling of {panel.ceiling:g}: a saturated reward cannot tell"
        )
    fewest = min(int(np.isfinite(arm.measured_R(measure)).sum()) for arm in (ours, theirs))
    if fewest < ENOUGH_SEEDS:
        had = "no seed" if fewest == 0 else "one seed" if fewest == 1 else f"{fewest} seeds"
        return (
            f"an arm has {had}, so that this speaks of these runs alone; a word needs "
            f"{ENOUGH_SEEDS} seeds of both"
        )
    return None
