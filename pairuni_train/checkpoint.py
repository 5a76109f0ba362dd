"""What a run leaves behind, and how it goes on from there.

A checkpoint is a folder that transformers reads: weights, processor, `pairuni.json` with recipe,
step and the hash of the weights that training began from. Beside it, in `trainer/`, is what only a
resumed run needs: the state of the optimizer. The folder is written under another name and renamed,
so a checkpoint is whole or not there. The order of pairs and every seed are functions of the step,
so nothing else has to be kept.

Metrics are JSON lines; a resumed run cuts them back to its checkpoint, so that it ends in the state
of a run that was never stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pairuni_eval.errors import UserError

_PREFIX = "checkpoint-"
SETTINGS = "settings.json"
METRICS = "metrics.jsonl"
_OPTIMIZER = Path("trainer") / "optimizer.safetensors"


class Resumed(NamedTuple):
    """Where a run goes on: the last whole checkpoint and its step (steps done)."""

    folder: Path
    step: int


def last_checkpoint(out: Path) -> Resumed | None:
    """The newest whole checkpoint of a run folder."""
    found = [
        Resumed(path, int(path.name.removeprefix(_PREFIX)))
        for path in out.glob(f"{_PREFIX}*")
        if path.name.removeprefix(_PREFIX).isdigit()
    ]
    return max(found, key=lambda one: one.step, default=None)


def save_checkpoint(
    out: Path,
    step: int,
    *,
    policy: Any,
    optimizer: torch.optim.Optimizer,
    declaration: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of a step; returns its folder."""
    target = out / f"{_PREFIX}{step}"
    unfinished = out / f".unfinished-{step}"
    shutil.rmtree(unfinished, ignore_errors=True)
    policy.save(unfinished, {**declaration, "step": step})
    (unfinished / "trainer").mkdir()
    save_file(_flat(optimizer), unfinished / _OPTIMIZER)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    return target


def load_optimizer(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Restore the optimizer's state of a checkpoint.

    Raises:
        UserError: if it is missing, cut off, or of other parameters.
    """
    path = folder / _OPTIMIZER
    try:
        saved = load_file(path)
    except (OSError, SafetensorError) as failure:
        raise UserError(
            f"{path}: training cannot go on from here: {failure}.",
            hint="Delete this checkpoint to go on from the one before it.",
        ) from failure
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if any(
        index >= len(parameters) or one["exp_avg"].shape != parameters[index].shape
        for index, one in state.items()
    ):
        raise UserError(f"{path}: the state of an optimizer of other parameters.")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors by "parameter number.name"."""
    return {
        f"{index}.{key}": value.detach().cpu().contiguous()
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the run folder, or check that it holds the same run.

    Raises:
        UserError: naming the first setting that differs from the run that is there.
    """
    path = out / SETTINGS
    asked = json.loads(msgspec.json.encode(settings))
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        for key in sorted(asked.keys() | there.keys()):
            if asked.get(key) != there.get(key):
                raise UserError(
                    f"{out} holds another run: its {key} is {there.get(key)!r}, now it is "
                    f"{asked.get(key)!r}.",
                    hint="Choose another folder with --out, or give the former settings.",
                )
        return
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")


def cut_back(path: Path, steps: int) -> None:
    """Drop the lines of a JSON-lines file that belong to a step >= `steps`, and a torn last one."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        if json.loads(line)["step"] < steps:
            kept.append(line)
    path.write_bytes(b"".join(kept))
