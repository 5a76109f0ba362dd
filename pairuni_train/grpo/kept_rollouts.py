"""One group of every task, kept as it was sampled: what earned which reward, for people to look at.

A rising reward does not say what is rewarded. Every `rollouts_every` steps the first rank keeps one
of its groups of each task, whichever an address of the seed says: what was asked, every answer or
picture, every reward by its name, and the advantages. Nothing of the training depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pairuni_eval.api import Picture
from pairuni_eval.toolkit import seed_for
from pairuni_eval.toolkit.models import Task
from pairuni_eval.toolkit.store import RolloutGroup
from pairuni_train.grpo.rollouts import TaskRollouts
from pairuni_train.pair_data.read_half import question_of
from pairuni_train.pair_data.record import Generation


class KeptGroup(NamedTuple):
    """A row of `rollouts.jsonl` and the pictures that it names."""

    row: RolloutGroup
    pictures: tuple[Picture, ...]


def keep_groups(
    rollouts: Mapping[Task, TaskRollouts], step: int, seed: int
) -> tuple[KeptGroup, ...]:
    """One group of every task that has any, chosen by the seed and the step."""
    found = []
    for task, one in rollouts.items():
        if one.prompts:
            place = seed_for(seed, task, step, "kept group") % len(one.prompts)
            found.append(_kept(one.of_prompt(place), step))
    return tuple(found)


def _kept(group: TaskRollouts, step: int) -> KeptGroup:
    """A group of one prompt."""
    (prompted,) = group.prompts
    drawn = [None if one.image is None else Picture.from_image(one.image) for one in group.replies]
    if isinstance(prompted.half, Generation):
        asked, shown, gold = prompted.half.prompt, None, None
    else:
        asked = question_of(prompted.half, group.spec.instruction)
        shown, gold = Picture.from_bytes(prompted.half.image), prompted.half.answer
    row = RolloutGroup(
        step=step,
        task=group.task,
        pair=prompted.pair,
        asked=asked,
        image=None if shown is None else shown.id,
        gold=gold,
        answers=tuple(one.text for one in group.replies),
        drawn=tuple(None if one is None else one.id for one in drawn),
        rewards={name: _numbers(values_N.tolist()) for name, values_N in group.rewards.items()},
        advantages=_numbers(group.advantage_N.tolist()),
    )
    return KeptGroup(row, tuple(one for one in (shown, *drawn) if one is not None))


def _numbers(values: Sequence[float]) -> tuple[float | None, ...]:
    """None where a reward declined."""
    return tuple(None if math.isnan(value) else value for value in values)
