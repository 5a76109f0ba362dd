"""Device names against what torch finds on this machine; for commands and models that grade."""

from __future__ import annotations

import torch

from pairuni_eval.errors import UserError

AUTO = "auto"


def pick_device(name: str, *, setting: str = "--device") -> torch.device:
    """The torch device of that name; "auto" is CUDA where there is one, else the CPU.

    Args:
        name: As torch has it: cpu, cuda, cuda:1, mps, xpu, ...
        setting: Where the name was given, for the message.

    Raises:
        UserError: for a name that torch does not know, or a device that is not here.
    """
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    found = found_devices()
    hint = f"Set {setting} to one of: {', '.join((AUTO, *found))}."
    try:
        device = torch.device(name)
    except RuntimeError as failure:
        raise UserError(f"Unknown device '{name}'.", hint=hint) from failure
    alike = sum(one.partition(":")[0] == device.type for one in found)
    if (device.index or 0) >= alike:
        raise UserError(
            f"There is no device '{name}' here: torch finds {', '.join(found)}.", hint=hint
        )
    return device


def found_devices() -> tuple[str, ...]:
    """The names of the devices that torch can use here, the CPU first."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ("cpu",)
    count = torch.accelerator.device_count()
    return ("cpu", *(f"{accelerator.type}:{index}" for index in range(count)))


def room_on(kind: str) -> int | None:
    """Bytes of the largest device of a kind here; None for the CPU, whose weights are mapped."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None or accelerator.type != kind or kind != "cuda":
        return None
    count = torch.cuda.device_count()
    return max(torch.cuda.get_device_properties(index).total_memory for index in range(count))
