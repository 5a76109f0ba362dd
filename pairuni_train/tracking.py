"""What a run tells a tracker: the lines that it leaves in its folder, as they come.

Goes in: the results of steps and evaluations. Comes out, through accelerate's trackers: every
metric under its own name, every evaluation as `evaluation/SUITE/BENCHMARK`, and the groups that are
kept as they were sampled: pictures as pictures, answers with their rewards as text. The folder
stays the record; a tracker is a window, and one that misses something costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pairuni_eval.toolkit import UserError, unknown_name
from pairuni_eval.toolkit.following import EvaluationRow
from pairuni_eval.toolkit.report import fenced
from pairuni_eval.toolkit.store import RolloutGroup
from pairuni_train.distributed.engine import start_process
from pairuni_train.grpo.kept_rollouts import KeptGroup
from pairuni_train.grpo.trainer import StepResult
from pairuni_train.pair_data.embed import decode

PROJECT = "pairuni"
_TENSORBOARD = "tensorboard"
_PICTURE_LISTS = frozenset({"wandb", "swanlab"})  # which take a list of pictures under a name
_WORDS = frozenset({_TENSORBOARD, "wandb"})  # which take text


def start_tracked(name: str | None, out: Path) -> Any:
    """The process, with a tracker if one is named: files of a local one lie in `out`/pairuni.

    Raises:
        UserError: for a tracker that accelerate does not know, or that is not installed.
    """
    if name is None:
        return start_process()
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = sorted(str(one) for one in LOGGER_TYPE_TO_CLASS)
    if name not in known:
        raise unknown_name("tracker", name, known, list_command="pairuni-train run --help")
    if name not in {str(one) for one in get_available_trackers()}:
        raise UserError(
            f"The tracker '{name}' is not installed.",
            hint=f"pip install {name}; without --tracker, metrics.jsonl has it all.",
        )
    return start_process(log_with=name, project_dir=str(out))


class Tracking:
    """Tells a tracker about one run; without one it tells nobody.

    Args:
        name: The tracker; None for none.
        accelerator: From `start_tracked`.
        settings: What the run was asked for.
        first: Steps that are done: what was told of later ones is told anew.
    """

    def __init__(
        self, name: str | None, accelerator: Any, settings: Mapping[str, Any], first: int
    ) -> None:
        self._name, self._accelerator = name, accelerator
        if name is not None:
            options = {_TENSORBOARD: {"purge_step": first}} if name == _TENSORBOARD else {}
            accelerator.init_trackers(PROJECT, config=dotted(settings), init_kwargs=options)

    def step(self, result: StepResult) -> None:
        """Tell the metrics of a step and the groups that were kept."""
        if self._name is None:
            return
        self._accelerator.log(result.metrics, step=result.step)
        for group in result.kept:
            self._sample(group)

    def evaluation(self, row: EvaluationRow) -> None:
        """Tell the headlines of an evaluation, as pages print them, with their intervals."""
        if self._name is None:
            return
        numbers = {
            f"evaluation/{row.suite}/{one.benchmark}{ending}": value * one.scale
            for one in row.headlines
            for ending, value in (("", one.value), ("/low", one.low), ("/high", one.high))
            if value is not None
        }
        self._accelerator.log(numbers, step=row.step)

    def end(self) -> None:
        """Close the tracker."""
        if self._name is not None:
            self._accelerator.end_training()

    def _sample(self, group: KeptGroup) -> None:
        row = group.row
        tag = f"rollouts/{row.task}"
        if self._name in _WORDS:
            self._accelerator.log({tag: in_words(row)}, step=row.step)
        pictures = {one.id: decode(one.data) for one in group.pictures}
        drawn = [pictures[one] for one in row.drawn if one is not None]
        shown = {f"{tag}/drawn": drawn, f"{tag}/asked": [pictures[row.image]] if row.image else []}
        tracker = self._accelerator.get_tracker(self._name)
        for name, images in shown.items():
            if images and self._name == _TENSORBOARD:
                stacked = np.stack([np.asarray(one) for one in images])
                tracker.log_images({name: stacked}, step=row.step, dataformats="NHWC")
            elif images and self._name in _PICTURE_LISTS:
                tracker.log_images({name: images}, step=row.step)


def in_words(row: RolloutGroup) -> str:
    """A group as Markdown; what a model or a dataset said stands in a block that nothing leaves."""
    lines = [row.asked, *([f"gold: {row.gold}"] if row.gold is not None else []), ""]
    for place, answer in enumerate(row.answers):
        rewards = ", ".join(
            f"{name} {_number(values[place])}" for name, values in row.rewards.items()
        )
        said = "(a picture)" if answer is None else answer
        lines.append(f"{rewards}, advantage {_number(row.advantages[place])}: {said}")
    return str(fenced("\n".join(lines)))


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def dotted(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key, in values that every tracker takes."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= dotted(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value if isinstance(value, int | float | str) else str(value)
    return found
