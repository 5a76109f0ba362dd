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
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pairuni_eval.toolkit import UserError, as_typed
from pairuni_eval.toolkit.models import TrainedModule
from pairuni_eval.toolkit.store import (
    EVALUATIONS,
    GRADIENTS,
    HALVES,
    METRICS,
    SETTINGS,
    atomic_path,
    clear_temporaries,
    load_settings,
    write_whole,
)
from pairuni_train.distributed.engine import Engine
from pairuni_train.distributed.sharded_files import (
    read_parts,
    read_whole,
    write_parts,
    write_weights,
)
from pairuni_train.grpo.optimizer import fresh_state

_PREFIX = "checkpoint-"
_TRAINER = "trainer"
_INDEXED = "model.safetensors"  # of this name everybody reads several files by an index as well
_OPTIMIZER, _TRAINED = "optimizer", "trained"  # there, of sharded weights
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


def agreed_checkpoint(accelerator: Any, out: Path) -> LastCheckpoint | None:
    """The newest checkpoint that the first rank finds, on every rank.

    A folder that several machines share need not look the same to all of them at once.
    """
    found = last_checkpoint(out) if accelerator.is_main_process else None
    if accelerator.num_processes == 1:
        return found
    step = torch.tensor([found.step if found else -1], device=accelerator.device)
    torch.distributed.broadcast(step, 0)
    number = int(step)
    return None if number < 0 else LastCheckpoint(out / f"{_PREFIX}{number}", number)


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
    keep_last: int = 0,
    spared: Collection[int] = (),
) -> Path:
    """Write the checkpoint of a step; returns its folder.

    Args:
        out: The run folder.
        step: Steps done.
        policy: Saves itself.
        weights: The model's whole weights where the policy does not hold them as they are.
        state: What a resumed run needs beside them; older checkpoints lose theirs.
        declaration: What `pairuni.json` says.
        keep_last: How many checkpoints stay; 0 keeps all.
        spared: Steps whose checkpoints stay as well.
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
    thin_out(out, step, keep_last, spared)
    return target


def save_sharded_checkpoint(
    engine: Engine,
    out: Path,
    step: int,
    *,
    policy: TrainedModule,
    optimizer: Mapping[str, Tensor],
    declaration: Mapping[str, Any],
    saved_as: str,
    keep_last: int = 0,
    spared: Collection[int] = (),
) -> Path:
    """Write the checkpoint of sharded weights; no rank holds them whole. All ranks take part.

    Args:
        engine: Knows the ranks.
        out: The run folder.
        step: Steps done.
        policy: Says what lies in which file.
        optimizer: The optimizer's state by "NAME/KEY", sharded.
        declaration: What `pairuni.json` says.
        saved_as: Precision of the weights in the checkpoint.
        keep_last: How many checkpoints stay; 0 keeps all.
        spared: Steps whose checkpoints stay as well.
    """
    target, parts = out / f"{_PREFIX}{step}", out / f".{_PREFIX}{step}.parts.tmp"
    with engine.together():
        if engine.rank == 0:
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir(parents=True)
    state = policy.state_dict()
    files = policy.weight_files()
    for number, (file, names) in enumerate(files.items()):
        weights = {there: _as(state[name], saved_as) for name, there in names.items()}
        write_weights(weights, parts / f"weights-{number}", several=file == _INDEXED)
    write_parts(optimizer, parts / _OPTIMIZER)
    if saved_as != "float32":
        trained = {n: one for n, one in policy.named_parameters() if one.requires_grad}
        write_parts(trained, parts / _TRAINED)
    with engine.together():
        if engine.rank == 0:
            with atomic_path(target) as unfinished:
                policy.save(unfinished, {**declaration, "step": step}, weights={})
                for number, file in enumerate(files):
                    _place_weights(parts / f"weights-{number}", unfinished / file)
                folder = unfinished / _TRAINER
                folder.mkdir()
                for name in (_OPTIMIZER, _TRAINED):
                    if (parts / name).is_dir():
                        (parts / name).replace(folder / name)
                shutil.rmtree(target, ignore_errors=True)
            shutil.rmtree(parts)
            thin_out(out, step, keep_last, spared)
    return target


def _as(tensor: Tensor, precision: str) -> Tensor:
    kept: Tensor = tensor.detach()
    return kept.to(getattr(torch, precision)) if kept.is_floating_point() else kept


def _place_weights(written: Path, file: Path) -> None:
    """Put whole files of weights where a checkpoint has them: one under its name, or several."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    whole = sorted(written.glob("*.safetensors"))
    if len(whole) == 1:
        whole[0].replace(file)
        return
    for one in (*whole, written / f"{file.name}.index.json"):
        one.replace(file.parent / one.name)


def thin_out(out: Path, step: int, keep_last: int, spared: Collection[int] = ()) -> None:
    """Take from older checkpoints what a resumed run needs, and those away that are not kept.

    Args:
        out: The run folder.
        step: Of the newest checkpoint.
        keep_last: How many of the newest stay; 0 keeps all.
        spared: Steps whose checkpoints stay as well.
    """
    older = sorted((one for one in _checkpoints(out) if one.step < step), key=lambda one: one.step)
    beyond = older[: max(0, len(older) + 1 - keep_last)] if keep_last else []
    gone = [one for one in beyond if one.step not in spared]
    for one in older:
        shutil.rmtree(one.folder if one in gone else one.folder / _TRAINER, ignore_errors=True)


def restore_sharded(folder: Path, policy: TrainedModule, optimizer: torch.optim.Optimizer) -> bool:
    """Give each rank its part of what `save_sharded_checkpoint` kept; False if that kept nothing.

    Raises:
        UserError: if it is the state of other parameters.
    """
    kept = folder / _TRAINER
    if not (kept / _OPTIMIZER).is_dir():
        return False
    parameters = {n: one for n, one in policy.named_parameters() if one.requires_grad}
    state = {name: fresh_state(one) for name, one in parameters.items()}
    read_parts(
        {f"{n}/{key}": one for n, found in state.items() for key, one in found.items()},
        kept / _OPTIMIZER,
    )
    for name, parameter in parameters.items():
        optimizer.state[parameter] = state[name]
    if (kept / _TRAINED).is_dir():
        read_parts(parameters, kept / _TRAINED)
    return True


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
        or (folder / _TRAINER / name).is_dir()
    }
    return ResumeState(_load(folder, "optimizer"), **further)


def _load(folder: Path, name: str) -> dict[str, Tensor]:
    if (parts := folder / _TRAINER / name).is_dir():
        return {one: _number_or(one, tensor) for one, tensor in read_whole(parts).items()}
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


def _number_or(name: str, tensor: Tensor) -> Tensor:
    return tensor[0] if name.endswith("/step") else tensor


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
    clear_temporaries(out, besides=out / EVALUATIONS)
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
