"""Memory that stays: what compiled code and graphs read lies where it lay in the batch before."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class KeptMemory:
    """Tensors by name, at addresses that stay; of one name the largest takes the place of all.

    Attributes:
        moved: How often memory had to be taken anew.
    """

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}
        self.moved = 0

    def room(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialized tensor of the precision and device of another.

        What was there under its name is overwritten.
        """
        count = math.prod(shape)
        held = self._held.get(name)
        if (
            held is None
            or len(held) < count
            or (held.dtype, held.device)
            != (
                like.dtype,
                like.device,
            )
        ):
            held = None
            self._held.pop(name, None)  # before as much again is asked for
            held = torch.empty(count, dtype=like.dtype, device=like.device)
            self._held[name] = held
            self.moved += 1
        return held[:count].view(shape)

    def keep(self, name: str, tensor: Tensor) -> Tensor:
        """The same numbers in memory that stays."""
        return self.room(name, tuple(tensor.shape), tensor).copy_(tensor)
