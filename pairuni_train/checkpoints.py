"""What a run leaves behind, and how it goes on from there.

A checkpoint is a folder that transformers reads: weights, processor, `pairuni.json` with recipe,
step and the hash of the weights that training began from. The newest one also has what only a
resumed run needs, in `trainer/`: the state of the optimizer, and adapters where there are some. A
folder is written under another name and renamed, so a checkpoint is whole or not there. The order
of pairs and every seed are functions of the step, so nothing else has to be kept.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pairuni_eval.toolkit import UserError, as_typed
from pairuni_eval.toolkit.models import TrainedModule
from pairuni_eval.toolkit.store import (
    GRADIENTS,
    HALVES,
    METRICS,
    SETTINGS,
    atomic_path,
    clear_temporaries,
    load_settings,
    write_whole,
)

_PREFIX = "checkpoint-"
_TRAINER = "trainer"
_GROW = ("steps", "batches")  # may be raised: no step depends on how many will follow


class LastCheckpoint(NamedTuple):
    """Where a run goes on: the newest checkpoint and its step (steps done)."""

    folder: Path
    step: int


class ResumeState(NamedTuple):
    """What a resumed run needs beside the weights of the checkpoint, by parameter name.

    Attributes:
        optimizer: "NAME/KEY" for every tensor of the optimizer's state.
        adapters: Adapters, which the checkpoint's weights hold merged; empty without.
        trained: The weights that train, where the checkpoint's are not these to the bit.
        average: Their average, where it is kept and the checkpoint's weights are not it to the bit.
    """

    optimizer: Mapping[str, Tensor]
    adapters: Mapping[str, Tensor] = {}
    trained: Mapping[str, Tensor] = {}
    average: Mapping[str, Tensor] = {}


def last_checkpoint(out: Path) -> LastCheckpoint | None:
    """The newest checkpoint of a run folder."""
    return max(_checkpoints(out), key=lambda one: one.step, default=None)


def _checkpoints(out: Path) -> Iterator[LastCheckpoint]:
    for path in out.glob(f"{_PREFIX}*"):
        step = path.name.removeprefix(_PREFIX)
        if step.isdigit():
            yield LastCheckpoint(path, int(step))


def save_checkpoint(
    out: Path,
    step: int,
    *,
    policy: TrainedModule,
    weights: Mapping[str, Tensor] | None,
    state: ResumeState,
    declaration: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of a step; returns its folder.

    Args:
        out: The run folder.
        step: Steps done.
        policy: Saves itself.
        weights: The model's whole weights where the policy does not hold them as they are.
        state: What a resumed run needs beside them; older checkpoints lose theirs.
        declaration: What `pairuni.json` says.
    """
    target = out / f"{_PREFIX}{step}"
    with atomic_path(target) as unfinished:
        policy.save(unfinished, {**declaration, "step": step}, weights=weights)
        folder = unfinished / _TRAINER
        folder.mkdir()
        for name, tensors in state._asdict().items():
            if tensors:
                save_file(dict(tensors), folder / f"{name}.safetensors")
        shutil.rmtree(target, ignore_errors=True)
    for older in _checkpoints(out):
        if older.step < step:
            shutil.rmtree(older.folder / _TRAINER, ignore_errors=True)
    return target


def can_resume(folder: Path) -> bool:
    """Whether a run can go on from a checkpoint: the newest of each run keeps what that takes."""
    return (folder / _TRAINER).is_dir()


def load_resume_state(folder: Path) -> ResumeState:
    """What a checkpoint keeps for a resumed run.

    Raises:
        UserError: if the optimizer's state is missing, or a file is cut off.
    """
    further = {
        name: _load(folder, name)
        for name in ("adapters", "trained", "average")
        if (folder / _TRAINER / f"{name}.safetensors").is_file()
    }
    return ResumeState(_load(folder, "optimizer"), **further)


def _load(folder: Path, name: str) -> dict[str, Tensor]:
    path = folder / _TRAINER / f"{name}.safetensors"
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as failure:
        raise UserError(
            f"{path}: training cannot go on from here: {failure}.",
            hint="Train on from its weights in another folder: "
            + as_typed("--set", f"checkpoint={folder}"),
        ) from failure
    return tensors


def check_run_dir(out: Path, settings: Mapping[str, Any]) -> None:
    """Check that a folder holds the same run, perhaps of fewer steps, or no step of any run.

    Raises:
        UserError: naming the first setting that differs from the run that is there.
    """
    path = out / SETTINGS
    asked = _plain(settings)
    if path.is_file() and _has_steps(out):
        for key, (former, now) in _differences(load_settings(path), asked):
            if key.rpartition(".")[2] not in _GROW or now < former:
                raise UserError(
                    f"{out} holds another run: its {key} is {former!r}, now it is {now!r}.",
                    hint="Choose another folder with --out, or give the former settings.",
                )


def open_run_dir(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the run folder this run's; one without a step may have been another's.

    Raises:
        UserError: as `check_run_dir`.
    """
    check_run_dir(out, settings)
    clear_temporaries(out)
    write_whole(out / SETTINGS, json.dumps(_plain(settings), indent=2).encode() + b"\n")


def _has_steps(out: Path) -> bool:
    """Whether anything was done there that another command would write over."""
    lines = (out / name for name in (METRICS, GRADIENTS, HALVES))
    written = any(path.is_file() and path.stat().st_size > 0 for path in lines)
    return written or last_checkpoint(out) is not None


def _plain(settings: Mapping[str, Any]) -> Any:
    """Settings as JSON has them."""
    return json.loads(msgspec.json.encode(settings))


def _differences(former: Any, now: Any, key: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Dotted keys whose values differ, with both values."""
    if isinstance(former, dict) and isinstance(now, dict):
        for name in sorted(former.keys() | now.keys()):
            yield from _differences(former.get(name), now.get(name), f"{key}.{name}".lstrip("."))
    elif former != now:
        yield key, (former, now)
