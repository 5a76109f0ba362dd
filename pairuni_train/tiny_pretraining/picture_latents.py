"""The auto-encoder of the tiny BAGEL, taught that a cell of the world is a code of its own.

A cell is one latent token of 16 numbers. Its code says twice whether something is there, then which
shape and which color, and has four zeros to spare: what flow matching has to draw is a point for
each state, far from all others. The encoder learns to hit the codes, with next to no spread, and
the decoder to draw them, also where they are missed by a little. Nothing trains it afterwards.

Shapes: B pictures, N = 16 cells, C = 16 numbers of a token, Z latents of a place.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.api.tiny import COLORS, SHAPES, world
from pairuni_eval.toolkit.networks import Autoencoder, unpatched
from pairuni_train.tiny_pretraining.batches import pixels_of
from pairuni_train.tiny_pretraining.config import PretrainConfig
from pairuni_train.tiny_pretraining.picture_codes import (
    drawing_error,
    kernel_optimizers,
    random_states,
)

LATENT_PATCH = 2  # latent places of a side that one token takes
_THERE, _SPARE = 2, 4  # numbers that say whether something is there, and that say nothing
_HEIGHT = 2.0  # of the one that says which shape, and which color
_MISSED = 0.15  # standard deviation of what codes are missed by when the decoder learns
_LOG_VARIANCE = -6.0
_LOG_VARIANCE_SHARE = 0.01


def state_codes() -> Tensor:
    """The code of every cell state (25, 16)."""
    shapes, colors = len(SHAPES), len(COLORS)
    codes = torch.zeros(world.STATES, _THERE + shapes + colors + _SPARE)
    codes[:, :_THERE] = -1.0
    codes[1:, :_THERE] = 1.0
    state = torch.arange(world.STATES - 1)
    first = _THERE
    for count, which in ((shapes, state // colors), (colors, state % colors)):
        one_hot = _HEIGHT * F.one_hot(which, count).float()
        codes[1:, first : first + count] = one_hot - one_hot.mean(1, keepdim=True)
        first += count
    return codes


def train_autoencoder(autoencoder: Autoencoder, cfg: PretrainConfig) -> Iterator[tuple[int, float]]:
    """Train in place; after each step yield its number, from 1, and its loss."""
    rng = np.random.default_rng(cfg.seed)
    missed = torch.Generator().manual_seed(cfg.seed)
    codes = state_codes()
    autoencoder.requires_grad_(True).train()
    optimizers = kernel_optimizers(autoencoder, cfg.vq_matrix_lr, cfg.vq_lr)
    for step in range(cfg.vq_steps):
        left = 1 - step / cfg.vq_steps
        optimizers.set_rate(cfg.vq_matrix_lr, cfg.vq_lr, min(1.0, (step + 1) / 15, 1.5 * left))
        states_BN = random_states(rng, cfg.vq_batch)
        latents = unpatched(codes[torch.from_numpy(states_BN)], (world.GRID,) * 2, LATENT_PATCH)
        pixels, noise = pixels_of(states_BN), torch.randn(latents.shape, generator=missed)
        mean, spread = autoencoder.moments(pixels).chunk(2, dim=1)
        found = autoencoder.drawn(torch.cat((mean, spread), dim=1), torch.zeros_like(mean))
        loss = (
            F.mse_loss(found, latents)
            + _LOG_VARIANCE_SHARE * F.mse_loss(spread, torch.full_like(spread, _LOG_VARIANCE))
            + drawing_error(autoencoder.decode(latents + _MISSED * noise), pixels)
        )
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        optimizers.step()
        yield step + 1, float(loss.detach())
    autoencoder.requires_grad_(False).eval()
