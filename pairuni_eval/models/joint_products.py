"""Which networks a sampler reads through copies, in which products of one input are joined.

Below a size a step is bound by the number of calls and by passes over memory, and a second copy of
the weights costs next to nothing; above it the copy would cost gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

JOINED_BELOW = 50_000_000  # numbers of the layers


def worth_copying(weights: Iterable[Tensor]) -> bool:
    """Whether layers of these weights are small enough."""
    return sum(weight.numel() for weight in weights) < JOINED_BELOW


def plain_linears(modules: Iterable[nn.Module]) -> bool:
    """Whether modules are nothing but products (wrapped ones, as those of LoRA, are more)."""
    return all(type(module) is nn.Linear for module in modules)
