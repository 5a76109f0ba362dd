"""What the optimizers of a pretraining remember, in a folder beside the weights of a checkpoint.

A folder of its own, so that the checkpoint can be measured: what loads one reads every weight file
that lies in it.

With it a run that was stopped goes on to the bit, for the rows of a step depend on its number
alone. One tensor for each thing that an optimizer keeps of a parameter, called NAME/KEY.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pairuni_train.tiny_pretraining.optimizers import Optimizers

_FILE = Path("optimizers") / "state.safetensors"


def save_state(optimizers: Optimizers, model: nn.Module, folder: Path) -> None:
    """Write the state of every parameter that has one."""
    kept: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                kept[f"{name}/{key}"] = torch.as_tensor(value).detach().clone().contiguous()
    (folder / _FILE).parent.mkdir(exist_ok=True)
    save_file(kept, folder / _FILE)


def load_state(optimizers: Optimizers, model: nn.Module, folder: Path) -> bool:
    """Read the state back; False if the folder has none, and then nothing is changed."""
    path = folder / _FILE
    if not path.is_file():
        return False
    kept = load_file(path)
    for name, parameter in model.named_parameters():
        state = {
            key.rpartition("/")[2]: value
            for key, value in kept.items()
            if key.rpartition("/")[0] == name
        }
        owner = next((one for one in optimizers if _has(one, parameter)), None)
        if state and owner is not None:
            owner.state[parameter] = state
    return True


def _has(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> bool:
    return any(parameter is one for group in optimizer.param_groups for one in group["params"])
