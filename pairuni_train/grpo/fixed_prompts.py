"""Prompts that never change: what arms of an experiment are measured on while they train.

The reward of a training step is that of the step's own prompts, which differ between arms. So the
same prompts are answered before any update, every few steps and at the end, by rollouts whose seeds
depend on the prompt and the draw alone: arms that begin at the same weights begin at the very same
reward. Neither a training's draws nor its weights depend on it.

An experiment draws them from the halves that every one of its arms trains on, so that none has seen
more of them than another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import msgspec

from pairuni_eval.toolkit import seed_for, stable_hash
from pairuni_eval.toolkit.models import Task
from pairuni_train.pair_data.dataset import iterate_pairs, read_columns, write_pairs
from pairuni_train.pair_data.record import Generation, Kind, Pair, Understanding

TASKS: tuple[Task, ...] = get_args(Task)
_SIDE: dict[Task, str] = {"und": "understanding", "gen": "generation"}


class FixedPrompts(NamedTuple):
    """What is measured.

    Attributes:
        file: A pair set; its halves are the prompts.
        every: Steps between two measurements; the first and the last step are always measured.
        draws: Rollouts of each prompt.
    """

    file: Path
    every: int
    draws: int

    def due(self, step: int, steps: int) -> bool:
        """Whether there is a measurement after so many steps of all."""
        return step % self.every == 0 or step == steps


def half_of(pair: Pair, task: Task) -> Understanding | Generation | None:
    """The half of a pair that a task answers."""
    return pair.understanding if task == "und" else pair.generation


def fixed_rows(pairs: Iterable[Pair], task: Task) -> list[Pair]:
    """The prompts of a task, each once, under the address of its seeds."""
    found: dict[str, Pair] = {}
    for pair in pairs:
        half = half_of(pair, task)
        if half is not None:
            address = f"fixed/{half.source}/{half.id}"
            found.setdefault(address, msgspec.structs.replace(pair, id=address))
    return list(found.values())


def set_name(pairs: Sequence[Pair], draws: int) -> str:
    """What rows of the same prompts and draws have in common, and no others."""
    prompts = {task: [pair.id for pair in fixed_rows(pairs, task)] for task in TASKS}
    return stable_hash("fixed/1", prompts, draws)[:12]


def choose_prompts(files: Sequence[Path], count: int, *, seed: int) -> dict[Task, list[str]]:
    """Up to `count` halves of each task that all pair sets hold, by source and id.

    Args:
        files: The pair set of every arm.
        count: Prompts of a task.
        seed: Which of the common ones are drawn; neither files nor their order matter.
    """
    chosen: dict[Task, list[str]] = {}
    for task in TASKS:
        common = set.intersection(*(_addresses(file, task) for file in files))
        drawn = sorted(common, key=lambda one: (seed_for(seed, one, 0, "fixed prompts"), one))
        chosen[task] = drawn[:count]
    return chosen


def _addresses(file: Path, task: Task) -> set[str]:
    names = [f"{_SIDE[task]}_{column}" for column in ("source", "id")]
    columns = read_columns(file, names)
    rows = zip(*(columns[name] for name in names), strict=True)
    return {f"{source}/{half}" for source, half in rows if half is not None}


def write_prompts(folder: Path, chosen: dict[Task, list[str]], source: Path) -> Path:
    """The pair set of chosen halves, named by what it holds; one that is there is left alone.

    Args:
        folder: Where such sets lie.
        chosen: By task, source and id of every half.
        source: A pair set that holds them all.
    """
    target = folder / f"{stable_hash('fixed prompts/1', chosen)[:12]}.parquet"
    if target.is_file():
        return target
    wanted = {task: {one: place for place, one in enumerate(chosen[task])} for task in TASKS}
    found: dict[Task, dict[int, Pair]] = {task: {} for task in TASKS}
    for pair in iterate_pairs(source):
        for task in TASKS:
            half = half_of(pair, task)
            place = None if half is None else wanted[task].get(f"{half.source}/{half.id}")
            if place is not None:
                found[task][place] = _alone(pair, task)
    rows = [found[task][place] for task in TASKS for place in sorted(found[task])]
    write_pairs(target, rows, {"arm": "fixed prompts"})
    return target


def _alone(pair: Pair, task: Task) -> Pair:
    """The half of a task as a row of its own."""
    half = half_of(pair, task)
    assert half is not None
    if isinstance(half, Generation):
        half = msgspec.structs.replace(half, image=None)  # training never looks at it
        return Pair(id=f"gen/{half.source}/{half.id}", kind=Kind.UNPAIRED, generation=half)
    return Pair(id=f"und/{half.source}/{half.id}", kind=Kind.UNPAIRED, understanding=half)
