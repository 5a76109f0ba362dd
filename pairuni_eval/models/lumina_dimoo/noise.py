"""Where the randomness of sampling comes from: a code for each masked place, and who stays masked.

`UniformNoise` draws from the very softmax, with numbers that a request's own seed gave before the
loop began: two for every place of every step, so no draw depends on neighbors, batch or device.
`OfficialNoise` is what the released scripts draw: Gumbel noise in bfloat16, which never exceeds 5.5
and gives ties to the lowest code. At temperature 1 that is a cooler distribution which leans to low
codes: flat logits over 8,192 codes are drawn at code 243 on average. It is named in the run card,
and training does not take it, for its log-probs are of another distribution.

Legend: B requests, P masked places, V codes, S steps, N places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

NoiseName = Literal["exact", "official-bf16"]
_TINY = 1e-20


class Noise(Protocol):
    """What a sampler draws with."""

    def codes(self, step: int, index_BP: Tensor, logits_BPV: Tensor, temperature: float) -> Tensor:
        """A code for each masked place, (B, P), from logits that are not yet tempered."""
        ...

    def ranks(self, step: int, index_BP: Tensor) -> Tensor:
        """Gumbel noise (B, P) that is added, times the temperature, to a place's confidence."""
        ...


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel noise of uniform numbers in [0, 1)."""
    inner = -(uniform + _TINY).log()
    return -(inner + _TINY).log()


class UniformNoise:
    """Exact draws by the inverse of the distribution.

    Args:
        seeds: One per request.
        steps: Steps of sampling.
        places: N.
        device: Where logits lie.
    """

    def __init__(self, seeds: Sequence[int], steps: int, places: int, device: torch.device):
        rows = [
            torch.rand(
                (steps, places, 2),
                generator=torch.Generator().manual_seed(seed),
                dtype=torch.float64,
            )
            for seed in seeds
        ]
        self._uniform_BSN2 = torch.stack(rows).to(device)

    def codes(self, step: int, index_BP: Tensor, logits_BPV: Tensor, temperature: float) -> Tensor:
        """A draw from softmax(logits / temperature)."""
        uniform_BP = self._uniform_BSN2[:, step, :, 0].gather(1, index_BP)
        mass_BPV = (logits_BPV.double() / temperature).softmax(-1).cumsum(-1)
        target_BP1 = uniform_BP[..., None] * mass_BPV[..., -1:]
        code_BP: Tensor = torch.searchsorted(mass_BPV, target_BP1, right=True)[..., 0]
        return code_BP.clamp_(max=logits_BPV.shape[-1] - 1)

    def ranks(self, step: int, index_BP: Tensor) -> Tensor:
        """Gumbel noise in float32."""
        return gumbel(self._uniform_BSN2[:, step, :, 1].gather(1, index_BP)).float()


class OfficialNoise:
    """The draws of the released scripts: Gumbel noise in bfloat16, as many as there are logits.

    Each request draws from its own generator on the CPU, where the official code takes one
    generator for everything.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device):
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._device = device

    def codes(self, step: int, index_BP: Tensor, logits_BPV: Tensor, temperature: float) -> Tensor:  # noqa: ARG002
        """The largest of logits / temperature + Gumbel noise, in bfloat16."""
        noise_BPV = self._drawn(logits_BPV.shape[1:])
        return (logits_BPV.bfloat16() / temperature + noise_BPV).argmax(-1)

    def ranks(self, step: int, index_BP: Tensor) -> Tensor:  # noqa: ARG002
        """Gumbel noise of bfloat16."""
        return self._drawn(index_BP.shape[1:]).float()

    def _drawn(self, shape: Sequence[int]) -> Tensor:
        rows = [
            torch.rand(tuple(shape), generator=one, dtype=torch.bfloat16)
            for one in self._generators
        ]
        return gumbel(torch.stack(rows)).to(self._device)
