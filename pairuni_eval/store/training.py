"""Files that training leaves for reports: metrics by step, inner products of gradients.

A training folder holds `metrics.jsonl` (one JSON object a step: "step" and numbers by name) and,
where gradients were probed, `gradients.jsonl` (one `GradientRow` a line); `seconds.jsonl` (what the
phases of a step took), `fixed.jsonl` (the reward on prompts that never change, a `FixedRow` a
line), `rollouts.jsonl` (some groups as they were sampled, a `RolloutGroup` a line, with `images/`),
`evaluations.jsonl` (what checkpoints measured meanwhile, see `store.evaluations`)
and `settings.json` (what was trained how) where the trainer wrote them. An offline probe leaves
gradients, and settings of another kind. A run folder may hold a copy in `training/`, so that a
report needs nothing but the run. A torn last line is left out: training may be going on.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec

from pairuni_eval.errors import UserError, writing
from pairuni_eval.places import is_file, is_folder
from pairuni_eval.records import PictureId
from pairuni_eval.store import layout
from pairuni_eval.store.evaluations import CHECKPOINT, EVALUATED
from pairuni_eval.store.json_lines import read_lines

TRAINING = "training"
METRICS = "metrics.jsonl"
GRADIENTS = "gradients.jsonl"
HALVES = "halves.jsonl"  # of a probe of single pairs: what was measured of each half
SECONDS = "seconds.jsonl"
FIXED = "fixed.jsonl"
ROLLOUTS = "rollouts.jsonl"
SETTINGS = "settings.json"
_SPOILED = "Delete that line, or leave this training out of the report."
_KEPT = (METRICS, GRADIENTS, SECONDS, FIXED, ROLLOUTS, EVALUATED, SETTINGS)


class TrainedArm(msgspec.Struct, frozen=True):
    """An arm, of which a report says the name."""

    name: str


class TrainedRecipe(msgspec.Struct, frozen=True):
    """A recipe, how long it trained, and the preset of its pairs; None if it has none."""

    name: str
    steps: int
    pairs: str | None = None


class FixedRow(msgspec.Struct, frozen=True, kw_only=True):
    """The reward of one task on its fixed prompts after so many steps.

    Attributes:
        step: Steps done; 0 is before any update.
        set: Which prompts and how many draws of each; rows of one set can be compared.
        task: "und" or "gen".
        draws: Rollouts of each prompt.
        reward: Mean over the rollouts that were judged; None if none was.
        declined: Share of rollouts without a reward.
        values: Mean of each prompt, in the order of the set; None where none was judged.
    """

    step: int
    set: str
    task: str
    draws: int
    reward: float | None
    declined: float
    values: tuple[float | None, ...]


class RolloutGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The rollouts of one prompt in one step, as they were sampled.

    Attributes:
        step: From 0, as in the metrics.
        task: "und" or "gen".
        pair: The id of the pair that the prompt is of.
        asked: The question with its instruction, or the prompt.
        image: The picture that was asked about, by its id.
        gold: The gold answer of a question.
        answers: What each rollout said; None for a picture.
        drawn: The picture that each rollout drew, by its id; None for an answer.
        rewards: Every reward of each rollout by name, and "total"; None where it declined.
        advantages: Of each rollout, weighted by the pair; None where its reward declined.
    """

    step: int
    task: str
    pair: str
    asked: str
    image: PictureId | None
    gold: str | None
    answers: tuple[str | None, ...]
    drawn: tuple[PictureId | None, ...]
    rewards: dict[str, tuple[float | None, ...]]
    advantages: tuple[float | None, ...]

    @property
    def pictures(self) -> tuple[str, ...]:
        """The ids of all pictures."""
        return tuple(one for one in (self.image, *self.drawn) if one is not None)


class Settings(msgspec.Struct, frozen=True):
    """What a report says of a training's settings; the file holds all of them.

    Attributes:
        pairs: SHA-256 of the pair set.
    """

    arm: TrainedArm
    recipe: TrainedRecipe
    seed: int
    pairs: str = ""


def has_training(folder: Path) -> bool:
    """Whether a folder holds metrics or gradients of a training run."""
    return any(is_file(folder / name) for name in (METRICS, GRADIENTS))


def training_folder(folder: Path) -> Path:
    """The training folder that a user named: itself, or `training/` of a run folder.

    Raises:
        UserError: if it holds neither metrics nor gradients.
    """
    for found in (folder, folder / TRAINING):
        if has_training(found):
            return found
    raise UserError(
        f"{folder} is not a training folder: it has neither {METRICS} nor {GRADIENTS}.",
        hint="A training folder is what `pairuni-train run --out FOLDER` writes.",
    )


def keep_training(run: Path, checkpoint: str) -> None:
    """Copy what a training left beside a checkpoint folder into the run that measures it.

    Nothing happens where the checkpoint is not a folder, or no training run wrote it.
    """
    source = Path(checkpoint).resolve().parent
    if not is_folder(Path(checkpoint)) or not has_training(source):
        return
    target = run / TRAINING
    with writing(str(target)):
        target.mkdir(exist_ok=True)
        for name in _KEPT:
            if (source / name).is_file():
                shutil.copyfile(source / name, target / name)
        for image in {one for group in read_rollouts(source) for one in group.pictures}:
            _copy_picture(layout.image_path(source, image), layout.image_path(target, image))


def _copy_picture(source: Path, target: Path) -> None:
    """Copy a picture that is there; one that is lost is missing in the copy too."""
    if is_file(source) and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def read_settings(folder: Path) -> Settings | None:
    """What was trained, and how long; None without the file, and for a probe, which trains nothing.

    Raises:
        UserError: for a file that is not a training's settings.
    """
    path = folder / SETTINGS
    if not path.is_file() or not (folder / METRICS).is_file():
        return None
    try:
        return msgspec.convert(load_settings(path), Settings)
    except msgspec.DecodeError as failure:
        raise UserError(
            f"{path}: cannot be read: {failure}.",
            hint="Leave this training out of the report, or restore the file.",
        ) from failure


def trained_from(folder: Path) -> str:
    """The checkpoint that a training began from, as its recipe names it.

    Raises:
        UserError: if the folder is no training's, or its settings cannot be read.
    """
    return str(_recipe(folder, "checkpoint"))


def last_step(folder: Path) -> int:
    """How many steps a training takes.

    Raises:
        UserError: as `trained_from`.
    """
    return int(_recipe(folder, "steps"))


def checkpoint_steps(folder: Path) -> tuple[int, ...]:
    """The steps of which a training has a checkpoint, in their order."""
    names = (path.name.removeprefix(CHECKPOINT) for path in folder.glob(f"{CHECKPOINT}*"))
    return tuple(sorted(int(name) for name in names if name.isdigit()))


def _recipe(folder: Path, key: str) -> Any:
    path = folder / SETTINGS
    hint = "A training folder is what `pairuni-train run --out FOLDER` writes."
    if not is_file(path):
        raise UserError(f"{folder} is not a training folder: it has no {SETTINGS}.", hint=hint)
    try:
        return load_settings(path)["recipe"][key]
    except (msgspec.DecodeError, KeyError, TypeError) as failure:
        raise UserError(f"{path}: it holds no recipe of a training.", hint=hint) from failure


def load_settings(path: Path) -> Any:
    """What a settings file holds.

    In files of earlier versions `recipe` stands for `arm`, and `backbone` for `recipe`.

    Raises:
        msgspec.DecodeError: if the file is not JSON.
    """
    settings = msgspec.json.decode(path.read_bytes())
    if isinstance(settings, dict) and "backbone" in settings:
        recipe = settings.pop("backbone")
        if "recipe" in settings:
            settings["arm"] = settings.pop("recipe")
        settings["recipe"] = recipe
    return settings


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The metrics of every step; empty without the file.

    Raises:
        UserError: naming the line that is not a step of numbers.
    """
    return _read_steps(folder / METRICS)


def read_fixed(folder: Path) -> list[FixedRow]:
    """The rewards on fixed prompts, in the order of the steps; empty without the file.

    Raises:
        UserError: naming the line that is not such a row.
    """
    return read_lines(folder / FIXED, msgspec.json.Decoder(FixedRow).decode, hint=_SPOILED)


def read_rollouts(folder: Path) -> list[RolloutGroup]:
    """The groups that were kept, in the order of the steps; empty without the file.

    Raises:
        UserError: naming the line that is not such a group.
    """
    return read_lines(folder / ROLLOUTS, msgspec.json.Decoder(RolloutGroup).decode, hint=_SPOILED)


def read_seconds(folder: Path) -> list[dict[str, float]]:
    """What the phases of every step took; empty without the file.

    Raises:
        UserError: naming the line that is not a step of numbers.
    """
    return _read_steps(folder / SECONDS)


def _read_steps(path: Path) -> list[dict[str, float]]:
    return read_lines(path, _step, hint=_SPOILED)


def _step(line: bytes) -> dict[str, float]:
    row = json.loads(line)  # unlike msgspec, json reads the NaN of a failed step
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        raise ValueError('not a JSON object with "step"')
    return {key: value for key, value in row.items() if isinstance(value, int | float)}
