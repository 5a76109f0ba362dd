"""Where a model runs and in which precision, and what its hardware is called: for every adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from pairuni_eval.devices import pick_device
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import AUTO, LoadOptions, Memory
from pairuni_eval.models.weights import numbers_in, own_precision

_SMALL = 50_000_000  # parameters


class Placement(NamedTuple):
    """A device and a precision."""

    device: torch.device
    dtype: torch.dtype

    @property
    def precision(self) -> str:
        """The precision's name, e.g. "bfloat16"."""
        return str(self.dtype).removeprefix("torch.")

    def settle(self, parameters: int) -> None:
        """Let a small model have one thread of the CPU.

        It is bound by the number of calls: a second thread only waits for the first, badly so on a
        busy machine, and the rounding would follow the core count.
        """
        if self.device.type == "cpu" and parameters < _SMALL:
            torch.set_num_threads(1)

    def hardware(self, *, compiled: bool = False) -> str:
        """What the model runs on, for the run card."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            name = f"{self.device.type}, {torch.get_num_threads()} threads"
        return f"{name}, compiled" if compiled else name


def memory_of(places: Sequence[Path], options: LoadOptions) -> Memory:
    """What the weights in some folders or files will take; reads no number of them.

    Args:
        places: Where they lie; the first says which precision is their own.
        options: Device and precision.

    Raises:
        UserError: for weights that are missing or damaged, and as `place`.
    """
    found = [numbers_in(one) for one in places]
    placed = place(options, own=own_precision(found[0]))
    numbers = max(sum(one.values()) for one in found)
    return Memory(numbers * placed.dtype.itemsize, placed.precision, placed.device.type)


def place(options: LoadOptions, *, own: str) -> Placement:
    """The device and precision that the options name.

    Args:
        options: "auto" is CUDA where there is one, and the checkpoint's own precision.
        own: The precision of the checkpoint's weights, as torch names it.

    Raises:
        UserError: for a device that is not here, and for what is no precision of a model.
    """
    device = pick_device(options.device)
    name = own if options.dtype == AUTO else options.dtype
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise UserError(
            f"Unknown precision '{name}'.", hint="Use --dtype float32, bfloat16 or float16."
        )
    return Placement(device, dtype)
