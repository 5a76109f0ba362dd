"""Curves of reward and health in training, of the run's own training and the baselines'.

Goes in: training folders by the name of their arm; an arm may have several, one a seed. Comes out:
charts over steps and a table of the first and the last tenth. A line is the mean over the seeds
that have the step, the band their lowest and highest; nothing is tested here, the rewards are those
of the training prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pairuni_eval.report.charts import Array, LineChart, Series, line_chart
from pairuni_eval.report.evaluations import evaluation_charts
from pairuni_eval.stats.over_seeds import spread_of
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.training import TRAINING, has_training, read_metrics

TASKS = {"und": "understanding", "gen": "generation"}
_REWARDS = {f"reward/{task}": f"Reward, {words}" for task, words in TASKS.items()}
_SPREADS = {f"reward_std/{task}": f"Spread in a group, {words}" for task, words in TASKS.items()}
_LOSSES = {f"loss/{task}": f"Loss, {words}" for task, words in TASKS.items()}  # where no reward is
_DECLINED = {f"declined/{task}" for task in TASKS}  # where no rollout was judged
_HEALTH = {
    **{f"live_groups/{task}": f"Groups with spread, {words}" for task, words in TASKS.items()},
    **_SPREADS,
    "completions/mean_length/und": "Tokens of an answer",
    "completions/clipped_ratio/und": "Answers as long as they may be",
    **{f"entropy/{task}": f"Entropy, {words}" for task, words in TASKS.items()},
    **{f"kl/{task}": f"KL to the reference, {words}" for task, words in TASKS.items()},
    **{f"clip_ratio/high/{task}": f"Clipped high, {words}" for task, words in TASKS.items()},
    "grad_norm": "Norm of the gradient",
    "loss": "Loss",
}
_TENTH = 10


class FirstAndLast(NamedTuple):
    """A number at the start and at the end: means of the first and the last tenth of the steps."""

    first: float
    last: float


class TrainingRow(NamedTuple):
    """An arm of the training table; a number is None where no step has it.

    Attributes:
        rewards: By task, in the order of `TASKS`.
        live: Mean share of groups whose rewards had spread, by task.
        losses: By task, of an arm that is taught and has no rewards.
    """

    name: str
    seeds: int
    steps: int
    rewards: tuple[FirstAndLast | None, ...]
    live: tuple[float | None, ...]
    losses: tuple[FirstAndLast | None, ...] = ()


class Curves(NamedTuple):
    """What a report says about training.

    Attributes:
        names: The arms in the order of their colors.
        rewards: The reward curves.
        health: Everything else that tells a living run from a dead one.
        losses: The curves of both losses of arms that are taught.
        measured: What checkpoints measured while they were trained, a chart for each benchmark.
    """

    names: tuple[str, ...]
    rewards: tuple[LineChart, ...]
    health: tuple[LineChart, ...]
    rows: tuple[TrainingRow, ...]
    losses: tuple[LineChart, ...] = ()
    measured: tuple[LineChart, ...] = ()

    @property
    def rewarded(self) -> tuple[TrainingRow, ...]:
        """The arms that have rewards, or had none to be told."""
        return tuple(row for row in self.rows if not row.losses)

    @property
    def taught(self) -> tuple[TrainingRow, ...]:
        """The arms that learned from examples."""
        return tuple(row for row in self.rows if row.losses)


def training_arms(
    run: StoredRun, baselines: Mapping[str, StoredRun], given: Mapping[str, Sequence[Path]]
) -> dict[str, Sequence[Path]]:
    """The training folders of every arm, the run's own first.

    A run folder that holds its training is an arm without being named. The own arm goes by the
    run's name; without one, the first that is not a baseline is taken for it.

    Args:
        run: The reported run.
        baselines: The baselines by name.
        given: What the user named.
    """
    kept = {
        name: [folder]
        for name, one in {run.card.name: run, **baselines}.items()
        if has_training(folder := one.folder / TRAINING)
    }
    arms = {**kept, **given}
    others = [name for name in arms if name not in baselines]
    own = run.card.name if run.card.name in arms else next(iter(others), None)
    order = [name for name in (own, *baselines, *others) if name in arms]
    return {name: arms[name] for name in dict.fromkeys(order) if name is not None}


def curves(arms: Mapping[str, Sequence[Path]]) -> Curves | None:
    """Read the metrics of every arm; None if no arm has any.

    Args:
        arms: Training folders by name, the run's own first.

    Raises:
        UserError: for a line that cannot be read.
    """
    read = {name: [_columns(read_metrics(path)) for path in paths] for name, paths in arms.items()}
    names = tuple(read)
    tables = {name: [one for one in seeds if len(one["step"])] for name, seeds in read.items()}
    if not any(tables.values()):
        return None
    return Curves(
        names=names,
        rewards=_charts(tables, _REWARDS),
        health=_charts(tables, _HEALTH),
        rows=tuple(_row(name, seeds) for name, seeds in tables.items() if seeds),
        losses=_charts(
            {name: seeds if _is_taught(seeds) else [] for name, seeds in tables.items()}, _LOSSES
        ),
        measured=evaluation_charts(arms),
    )


def _is_taught(seeds: Sequence[Mapping[str, Array]]) -> bool:
    """Whether a training has losses of its tasks and no rewards."""
    return all(not one.keys() & {*_REWARDS, *_DECLINED} for one in seeds) and any(
        one.keys() & _LOSSES.keys() for one in seeds
    )


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Array]:
    """Each metric as a column over the steps; NaN where a step lacks it."""
    names = dict.fromkeys(["step", *(name for row in rows for name in row)])
    return {name: np.array([row.get(name, np.nan) for row in rows], float) for name in names}


def _charts(
    tables: Mapping[str, Sequence[Mapping[str, Array]]], wanted: Mapping[str, str]
) -> tuple[LineChart, ...]:
    made = []
    for metric, title in wanted.items():
        series = [
            one
            for arm, (name, seeds) in enumerate(tables.items())
            if (one := _over_seeds(name, arm, metric, seeds)) is not None
        ]
        chart = line_chart(title, series)
        if chart is not None:
            made.append(chart)
    return tuple(made)


def _over_seeds(
    name: str, arm: int, metric: str, seeds: Sequence[Mapping[str, Array]]
) -> Series | None:
    having = [one for one in seeds if metric in one]
    if not having:
        return None
    steps = np.unique(np.concatenate([one["step"] for one in having]))
    lines = np.full((len(having), len(steps)), np.nan)
    for line, one in zip(lines, having, strict=True):
        line[np.searchsorted(steps, one["step"])] = one[metric]
    curve = spread_of(lines)
    return Series(name, arm, steps, *(curve if len(having) > 1 else curve[:1]))


def _row(name: str, seeds: Sequence[Mapping[str, Array]]) -> TrainingRow:
    return TrainingRow(
        name=name,
        seeds=len(seeds),
        steps=max(int(one["step"].max()) + 1 for one in seeds),
        rewards=tuple(_moved(seeds, f"reward/{task}") for task in TASKS),
        live=tuple(_mean(seeds, f"live_groups/{task}") for task in TASKS),
        losses=tuple(_moved(seeds, name) for name in _LOSSES) if _is_taught(seeds) else (),
    )


def _known(seeds: Sequence[Mapping[str, Array]], metric: str) -> list[Array]:
    """The numbers of each seed that has any."""
    columns = [one[metric][np.isfinite(one[metric])] for one in seeds if metric in one]
    return [column for column in columns if len(column)]


def _moved(seeds: Sequence[Mapping[str, Array]], metric: str) -> FirstAndLast | None:
    columns = _known(seeds, metric)
    parts = [(x[: _tenth(x)].mean(), x[-_tenth(x) :].mean()) for x in columns]
    if not parts:
        return None
    first, last = np.mean(parts, axis=0)
    return FirstAndLast(float(first), float(last))


def _tenth(column: Array) -> int:
    return max(1, len(column) // _TENTH)


def _mean(seeds: Sequence[Mapping[str, Array]], metric: str) -> float | None:
    columns = _known(seeds, metric)
    return float(np.concatenate(columns).mean()) if columns else None
