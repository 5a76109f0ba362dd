"""Some groups of a training as they were sampled: what earned which reward.

Goes in: the training folders of the arms. Comes out: for the run's own training, or the first that
kept any, its groups over the steps with their pictures, spread evenly where there are many. Nothing
is counted or tested: this is for people to see what the numbers are about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.report.copied_images import CopiedImage, ImageCopier
from pairuni_eval.report.curves import TASKS
from pairuni_eval.report.text import shorten
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.training import RolloutGroup, read_rollouts

SHOWN = 8  # groups of each task
_LONGEST = 700  # characters of a question or an answer


class ShownRollout(NamedTuple):
    """One rollout of a group.

    Attributes:
        answer: What it said; None where it drew.
        picture: What it drew.
        reward: Its total; None where it was declined.
        parts: Every reward by name, where there are several.
        advantage: None where the reward was declined.
    """

    answer: str | None
    picture: CopiedImage | None
    reward: float | None
    parts: tuple[tuple[str, float | None], ...]
    advantage: float | None


class ShownGroup(NamedTuple):
    """The rollouts of one prompt in one step.

    Attributes:
        before: The picture that was asked about.
        gold: The right answer of a question.
    """

    step: int
    task: str
    asked: str
    before: CopiedImage | None
    gold: str | None
    rollouts: tuple[ShownRollout, ...]


class ShownTraining(NamedTuple):
    """The groups of one training.

    Attributes:
        arm: Whose training it is.
        kept: How many groups were kept in all.
    """

    arm: str
    kept: int
    groups: tuple[ShownGroup, ...]


class _TrainingPictures(NamedTuple):
    """The pictures of a training folder, as the copier asks for them."""

    folder: Path
    pictures: Pictures


def rollouts(arms: Mapping[str, Sequence[Path]], copier: ImageCopier) -> ShownTraining | None:
    """The groups of the first arm and seed that kept any; None if none did.

    Args:
        arms: Training folders by name, the run's own first.
        copier: Takes the pictures.

    Raises:
        UserError: for a line that cannot be read.
    """
    for name, folders in arms.items():
        for folder in folders:
            if kept := read_rollouts(folder):
                source = _TrainingPictures(folder, Pictures(folder))
                shown = [_group(one, source, copier) for one in _spread_out(kept)]
                return ShownTraining(name, len(kept), tuple(shown))
    return None


def _spread_out(kept: Sequence[RolloutGroup]) -> list[RolloutGroup]:
    """At most `SHOWN` groups of each task, the first and the last among them, step by step."""
    chosen: list[RolloutGroup] = []
    for task in TASKS:
        mine = [one for one in kept if one.task == task]
        last = min(SHOWN, len(mine)) - 1
        places = {round(n * (len(mine) - 1) / max(1, last)) for n in range(last + 1)}
        chosen += [mine[place] for place in sorted(places)]
    return sorted(chosen, key=lambda one: one.step)


def _group(one: RolloutGroup, source: _TrainingPictures, copier: ImageCopier) -> ShownGroup:
    asked = shorten(one.asked, _LONGEST)

    def show(image: str | None, alt: str) -> CopiedImage | None:
        return None if image is None else copier.show(source, image, alt)

    names = [name for name in one.rewards if name != "total"]
    drawn = [show(image, f"Drawn for: {asked}") for image in one.drawn]
    return ShownGroup(
        step=one.step,
        task=TASKS.get(one.task, one.task),
        asked=asked,
        before=show(one.image, f"Image of: {asked}"),
        gold=None if one.gold is None else shorten(one.gold, _LONGEST),
        rollouts=tuple(
            ShownRollout(
                answer=None if answer is None else shorten(answer, _LONGEST),
                picture=drawn[n],
                reward=one.rewards["total"][n],
                parts=tuple((name, one.rewards[name][n]) for name in names if len(names) > 1),
                advantage=one.advantages[n],
            )
            for n, answer in enumerate(one.answers)
        ),
    )
