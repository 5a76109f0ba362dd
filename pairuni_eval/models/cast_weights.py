"""Weights in the precision of an autocast, cast once for many calls.

Autocast casts a float32 weight whenever a layer is called. Its cache helps neither in inference
mode, where it is off, nor weights that do not train: a sampler that calls each layer once for every
token would cast the whole model for every token. The numbers are the same either way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

# What autocast casts the weights of: products, and none of the norms.
CAST_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def autocast_precision(device: torch.device) -> torch.dtype | None:
    """The precision of the autocast around the call; None without one."""
    if not torch.is_autocast_enabled(device.type):
        return None
    found: torch.dtype = torch.get_autocast_dtype(device.type)
    return found


class KeptCasts:
    """Cast weights that lie where they lay the time before, read anew each time."""

    def __init__(self) -> None:
        self._casts: dict[tuple[nn.Module, str], nn.Parameter] = {}

    @contextmanager
    def held(self, *parts: nn.Module) -> Iterator[None]:
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
                        if (cast := self._cast(layer, name, weight)) is not None:
                            former.append((layer, name, weight))
                            setattr(layer, name, cast)
            yield
        finally:
            for layer, name, weight in former:
                setattr(layer, name, weight)

    def _cast(self, layer: nn.Module, name: str, weight: nn.Parameter) -> nn.Parameter | None:
        """A copy in the autocast's precision; None where it would be left alone."""
        precision = autocast_precision(weight.device)
        if precision is None or weight.dtype != torch.float32:
            return None
        kept = self._casts.get((layer, name))
        if kept is None or (kept.dtype, kept.device, kept.shape) != (
            precision,
            weight.device,
            weight.shape,
        ):
            kept = nn.Parameter(weight.detach().to(precision), requires_grad=False)
            self._casts[layer, name] = kept
        else:
            kept.copy_(weight.detach())
        return kept


def cast_once(*parts: nn.Module) -> AbstractContextManager[None]:
    """Let the layers of some modules hold cast weights for one time; see `KeptCasts.held`."""
    return KeptCasts().held(*parts)
