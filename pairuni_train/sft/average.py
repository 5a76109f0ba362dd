"""The running average of the weights that train: ema <- d ema + (1 - d) w after every step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """An average that begins with the weights themselves.

    Args:
        parameters: What trains, by name.
        decay: d; 0 makes the average the weights.
        former: The average to go on from; None begins.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        decay: float,
        former: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._parameters, self._decay = parameters, decay
        self.weights = {
            name: (parameter if former is None else former[name].to(parameter)).detach().clone()
            for name, parameter in parameters.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        for name, parameter in self._parameters.items():
            self.weights[name].lerp_(parameter, 1 - self._decay)
