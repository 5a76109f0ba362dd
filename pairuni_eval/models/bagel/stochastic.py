"""A step of flow matching with noise of its own, so that what was drawn has a probability.

From time t to n, with d = n - t < 0 and noise level a:

    s = a sqrt(t / (1 - t')),   t' = t, but the second point in time where t is 1,
    mean = x (1 + s^2 d / 2t) + v (1 + s^2 (1 - t) / 2t) d
    next = mean + s sqrt(-d) e
    log p = mean over all numbers of -(next - mean)^2 / (2 s^2 (-d))

as flow-GRPO has it for BAGEL: the log-probability leaves the constants out and is a mean, not a
sum, over the numbers of a picture.

Times are numbers, or one for each picture (N,).

Legend: N pictures, T tokens, C numbers of one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Time = float | Tensor


class StochasticStep(NamedTuple):
    """A step.

    Attributes:
        next_NTC: Latents after it.
        mean_NTC: Their mean.
        spread: s, which the noise is scaled by beside sqrt(-d).
        logp_N: Log-probability of each picture's step.
    """

    next_NTC: Tensor
    mean_NTC: Tensor
    spread: Tensor
    logp_N: Tensor


class ScoredStep(NamedTuple):
    """A step that was taken, under some velocity.

    Attributes:
        logp_N: Its log-probability.
        mean_NTC: Where it would have led without noise.
        width: What noise is multiplied by.
    """

    logp_N: Tensor
    mean_NTC: Tensor
    width: Tensor


def stochastic_step(
    x_NTC: Tensor,
    velocity_NTC: Tensor,
    noise_NTC: Tensor,
    *,
    times: tuple[Time, Time],
    cap: float,
    level: float,
) -> StochasticStep:
    """Take a step in float32.

    Args:
        x_NTC: Latents at the first time.
        velocity_NTC: Of the network there.
        noise_NTC: Standard normal.
        times: From, to.
        cap: The second point in time.
        level: How much noise there is, a > 0.
    """
    mean_NTC, spread, width = _mean(x_NTC, velocity_NTC, times=times, cap=cap, level=level)
    next_NTC = mean_NTC + width * noise_NTC.float()
    return StochasticStep(next_NTC, mean_NTC, spread, _logp(next_NTC, mean_NTC, width))


def score_step(
    x_NTC: Tensor,
    velocity_NTC: Tensor,
    next_NTC: Tensor,
    *,
    times: tuple[Time, Time],
    cap: float,
    level: float,
) -> ScoredStep:
    """A step that was taken, under another velocity; differentiable."""
    mean_NTC, _, width = _mean(x_NTC, velocity_NTC, times=times, cap=cap, level=level)
    return ScoredStep(_logp(next_NTC.float(), mean_NTC, width), mean_NTC, width)


def _mean(
    x_NTC: Tensor, velocity_NTC: Tensor, *, times: tuple[Time, Time], cap: float, level: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The mean, the spread s, and what the noise is multiplied by; in float32."""
    time, after = (_per_picture(one, x_NTC.device) for one in times)
    step = after - time
    spread = level * (time / (1 - torch.where(time == 1.0, cap, time))).sqrt()
    drift = spread**2 / (2 * time) * step
    pulled = (1 + spread**2 * (1 - time) / (2 * time)) * step
    width = spread * (-step).sqrt()
    mean_NTC = x_NTC.float() * (1 + drift).float() + velocity_NTC.float() * pulled.float()
    return mean_NTC, spread.float(), width.float()


def _per_picture(time: Time, device: torch.device) -> Tensor:
    """In float64, as it meets (N, T, C)."""
    found = torch.as_tensor(time, dtype=torch.float64, device=device)
    return found.view(-1, 1, 1) if found.dim() else found


def _logp(next_NTC: Tensor, mean_NTC: Tensor, width: Tensor) -> Tensor:
    return -((next_NTC - mean_NTC).square() / (2 * width**2)).mean((1, 2))
