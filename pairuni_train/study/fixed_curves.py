"""The reward on fixed prompts: what each arm earned on the same ones, before any update and after.

Shapes: R seeds of an arm, T measured steps, P prompts.

Goes in: the rows that trainings left (`pairuni_train.grpo.fixed_reward`). Comes out, for each arm:
the reward at the steps that all trainings measured, its level at the end, the area under the curve
(its mean over the steps, by trapezoids), and the steps to a level. And what may be compared at all:

- measured on the same prompts, with equal rewards before any update: everything
- measured on the same prompts, with others before any update: the level at the end alone
- not measured so: the training reward at the end alone, each arm's on its own prompts

Nothing is said of a rise from unequal starts: who has risen already has less to rise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pairuni_eval.toolkit.stats import Array
from pairuni_eval.toolkit.store import FixedRow, read_fixed

_EQUAL = 1e-9  # apart by rounding alone


class FixedRewards(NamedTuple):
    """What an arm earned on the fixed prompts.

    Attributes:
        seeds: R training seeds.
        steps_T: Steps done, increasing; measured in every training of the figure.
        reward_RT: Mean reward of each seed; NaN where nothing was judged.
        first_RP: The reward of each prompt at the first of these steps.
        prompts: How many there are.
        draws: Rollouts of each.
    """

    seeds: tuple[int, ...]
    steps_T: Array
    reward_RT: Array
    first_RP: Array
    prompts: int
    draws: int

    @property
    def area_R(self) -> Array:
        """The mean reward of each seed over the steps: the area under its curve by its length."""
        widths = np.diff(self.steps_T)
        middles = (self.reward_RT[:, 1:] + self.reward_RT[:, :-1]) / 2
        found: Array = (middles * widths).sum(axis=1) / widths.sum()
        return found


class Comparability(NamedTuple):
    """What the arms of a task may be compared by.

    Attributes:
        fixed: Whether all of them were measured on the same prompts.
        start: The reward before any update, where it is the same in all of them.
        sentence: What may be compared, and why not more.
        hint: What to do to compare more.
    """

    fixed: bool
    start: float | None
    sentence: str
    hint: str | None = None

    @property
    def equal(self) -> bool:
        """Whether all arms began at the same reward."""
        return self.start is not None


def fixed_runs(
    folders: Mapping[str, Mapping[int, Path]], task: str
) -> tuple[dict[str, FixedRewards], Comparability]:
    """What every arm earned on the fixed prompts of a task, and what that allows to compare.

    Args:
        folders: Training folders by arm and seed.
        task: "und" or "gen".

    Returns:
        nothing and why, unless every training was measured on the same prompts.
    """
    rows = {
        (arm, seed): [row for row in read_fixed(folder) if row.task == task]
        for arm, seeds in folders.items()
        for seed, folder in seeds.items()
    }
    why = _lacking(rows)
    if why is not None:
        return {}, _own(why)
    shared = sorted(set.intersection(*({row.step for row in one} for one in rows.values())))
    if len(shared) < 2 or shared[0] != 0:
        return {}, _own("the trainings were not measured at the same steps")
    runs = {
        arm: _run({seed: rows[arm, seed] for seed in seeds}, shared)
        for arm, seeds in folders.items()
    }
    return runs, _comparability(runs)


def _lacking(rows: Mapping[tuple[str, int], Sequence[FixedRow]]) -> str | None:
    without = sum(not one for one in rows.values())
    if without == len(rows):
        return "no training was measured on prompts that are the same for all"
    if without:
        return f"{without} of {len(rows)} trainings were not measured on the fixed prompts"
    if len({row.set for one in rows.values() for row in one}) > 1:
        return "the trainings were measured on different fixed prompts"
    return None


def _own(why: str) -> Comparability:
    return Comparability(
        fixed=False,
        start=None,
        sentence=(
            f"Only the end of training can be compared, and each arm on its own prompts: {why}. "
            "Nothing is said of starts and rises."
        ),
        hint="The same command measures what is still there: the weights training began from and "
        "the checkpoints that were kept.",
    )


def _run(rows: Mapping[int, Sequence[FixedRow]], steps: Sequence[int]) -> FixedRewards:
    at = {seed: {row.step: row for row in one} for seed, one in rows.items()}
    some = next(iter(at.values()))[steps[0]]
    reward_RT = [[one[step].reward for step in steps] for one in at.values()]
    return FixedRewards(
        seeds=tuple(rows),
        steps_T=np.array(steps, dtype=np.float64),
        reward_RT=np.array(reward_RT, dtype=np.float64),  # None becomes NaN
        first_RP=np.array([one[steps[0]].values for one in at.values()], dtype=np.float64),
        prompts=len(some.values),
        draws=some.draws,
    )


def _comparability(runs: Mapping[str, FixedRewards]) -> Comparability:
    some = next(iter(runs.values()))
    on = f"{some.prompts} prompts that all arms train on, {some.draws} rollouts each"
    first = np.concatenate([one.first_RP for one in runs.values()])
    start = np.concatenate([one.reward_RT[:, 0] for one in runs.values()])
    same = np.allclose(first, first[0], rtol=0, atol=_EQUAL, equal_nan=True)
    if same and np.isfinite(start).all() and np.ptp(start) <= _EQUAL:
        return Comparability(
            fixed=True,
            start=float(start[0]),
            sentence=(
                f"Before any update all arms earn {start[0]:.3f} on the fixed prompts ({on}), "
                "prompt by prompt the same: the area under the curve, the end and the steps to a "
                "level can be compared."
            ),
        )
    reach = f"{np.nanmin(start):.3f} to {np.nanmax(start):.3f}" if np.isfinite(start).any() else "-"
    return Comparability(
        fixed=True,
        start=None,
        sentence=(
            f"Before any update the trainings do not earn the same on the fixed prompts ({on}): "
            f"{reach}. Only the end can be compared; nothing is said of rises, areas and steps."
        ),
        hint="Arms of one figure begin at the same weights, on the same kind of machine.",
    )


def level_of(
    runs: Mapping[str, FixedRewards], comparable: Comparability, least: float
) -> float | None:
    """Halfway from the common start to the lowest end of an arm: a level that all arms reach.

    Args:
        runs: What every arm earned.
        comparable: Holds the common start.
        least: A rise that counts as none.

    Returns:
        None without a common start, or where an arm does not end above it.
    """
    if comparable.start is None:
        return None
    lowest = min(float(np.mean(one.reward_RT[:, -1])) for one in runs.values())
    rise = lowest - comparable.start
    return comparable.start + rise / 2 if rise > least else None


def steps_to(level: float, run: FixedRewards) -> Array:
    """(R,): steps until each seed earns the level, by straight lines between measurements.

    NaN for a seed that never did: it was not seen to need any number of steps.
    """
    return np.array([_first(level, run.steps_T, reward_T) for reward_T in run.reward_RT])


def _first(level: float, steps_T: Array, reward_T: Array) -> float:
    reached = np.flatnonzero(reward_T >= level)
    if not len(reached):
        return float("nan")
    place = int(reached[0])
    before = reward_T[place - 1] if place else np.nan
    if not np.isfinite(before):
        return float(steps_T[place])
    share = (level - before) / (reward_T[place] - before)
    return float(steps_T[place - 1] + share * (steps_T[place] - steps_T[place - 1]))
