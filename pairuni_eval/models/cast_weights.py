"""Weights in the precision of an autocast, cast once for many calls.

Autocast casts a float32 weight whenever a layer is called. Its cache helps neither in inference
mode, where it is off, nor weights that do not train: a sampler that calls each layer once for every
token would cast the whole model for every token. The numbers are the same either way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# What autocast casts the weights of: products, and none of the norms.
CAST_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def autocast_precision(device: torch.device) -> torch.dtype | None:
    """The precision of the autocast around the call; None without one."""
    if not torch.is_autocast_enabled(device.type):
        return None
    found: torch.dtype = torch.get_autocast_dtype(device.type)
    return found


@contextmanager
def cast_once(*parts: nn.Module) -> Iterator[None]:
    """Let the layers of some modules hold cast weights, where there is an autocast around.

    Afterwards they hold those that they had. In between nothing trains, and each copy takes the
    memory of its weight in the smaller precision.

    Args:
        parts: Their layers that multiply get cast weights, those of the modules inside too.
    """
    layers = {id(one): one for part in parts for one in part.modules()}
    former: list[tuple[nn.Module, str, nn.Parameter]] = []
    try:
        for layer in layers.values():
            if isinstance(layer, CAST_LAYERS):
                for name, weight in list(layer.named_parameters(recurse=False)):
                    if (cast := _cast(weight)) is not None:
                        former.append((layer, name, weight))
                        setattr(layer, name, nn.Parameter(cast, requires_grad=False))
        yield
    finally:
        for layer, name, weight in former:
            setattr(layer, name, weight)


def _cast(weight: nn.Parameter) -> Tensor | None:
    """A copy in the autocast's precision; None where it would be left alone."""
    precision = autocast_precision(weight.device)
    if precision is None or weight.dtype != torch.float32:
        return None
    return weight.detach().to(precision)
