"""The VQ of a tiny model: one unit codebook row per cell state.

The encoder learns to name states, the decoder to draw them. Rows of the codebook are spread evenly
over the sphere and stay where they are.

Shapes: B rows, N = 16 cells, K codebook rows, D code width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.janus.modeling_janus import JanusVQVAE

from pairuni_eval.api.tiny import IntArray, world
from pairuni_eval.toolkit.networks import Vq
from pairuni_train.tiny_pretraining.batches import pixels_of
from pairuni_train.tiny_pretraining.config import PretrainConfig
from pairuni_train.tiny_pretraining.optimizers import Muon, Optimizers


class PictureVq(Protocol):
    """A VQ as it is trained here: pixels in [-1, 1] to vectors of its cells, and states to pixels.

    `module` holds the parameters; its codebook is `quantize.embedding`.
    """

    @property
    def module(self) -> nn.Module:
        """The VQ itself."""
        ...

    def latents(self, pixels_BCHW: Tensor) -> Tensor:
        """What is quantized, (B, D, 4, 4)."""
        ...

    def drawn(self, states_BN: Tensor) -> Tensor:
        """Pixels of states, in [-1, 1]."""
        ...


class JanusPictures(NamedTuple):
    """The VQ of Janus."""

    vq: JanusVQVAE

    @property
    def module(self) -> nn.Module:
        """See `PictureVq`."""
        module: nn.Module = self.vq
        return module

    def latents(self, pixels_BCHW: Tensor) -> Tensor:
        """See `PictureVq`."""
        out: Tensor = self.vq.quant_conv(self.vq.encoder(pixels_BCHW))
        return out

    def drawn(self, states_BN: Tensor) -> Tensor:
        """See `PictureVq`."""
        out: Tensor = self.vq.decode(states_BN)
        return out


class DimooPictures(NamedTuple):
    """The VQ of Lumina-DiMOO, whose pixels are in [0, 1]."""

    vq: Vq

    @property
    def module(self) -> nn.Module:
        """See `PictureVq`."""
        return self.vq

    def latents(self, pixels_BCHW: Tensor) -> Tensor:
        """See `PictureVq`."""
        return self.vq.latents((pixels_BCHW + 1) / 2)

    def drawn(self, states_BN: Tensor) -> Tensor:
        """See `PictureVq`."""
        return 2 * self.vq.drawn(states_BN.view(-1, world.GRID, world.GRID)) - 1


def train_vq(pictures: PictureVq, cfg: PretrainConfig) -> Iterator[tuple[int, float]]:
    """Train the VQ in place; after each step yield its number, from 1, and its loss.

    A cell has 25 states, so the code of a cell shall be its state: the codebook rows are fixed,
    unit vectors far from each other, the encoder learns to hit the row of each cell's state and
    the decoder to draw it. Rows beyond the 25th stay unused. All rows have length one, since
    transformers' `encode` measures them as they are and `decode` normalizes them.
    """
    rng, vq = np.random.default_rng(cfg.seed), pictures.module
    codebook = vq.get_parameter("quantize.embedding.weight")
    codes, width = codebook.shape
    rows_KD = spread_rows(codes, width, seed=cfg.seed)
    vq.requires_grad_(True)
    codebook.requires_grad_(False).copy_(rows_KD)
    optimizers = kernel_optimizers(vq, cfg.vq_matrix_lr, cfg.vq_lr)
    for step in range(cfg.vq_steps):
        left = 1 - step / cfg.vq_steps
        optimizers.set_rate(cfg.vq_matrix_lr, cfg.vq_lr, min(1.0, (step + 1) / 15, 1.5 * left))
        loss = _vq_loss(pictures, random_states(rng, cfg.vq_batch), rows_KD)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(vq.parameters(), 1.0)
        optimizers.step()
        yield step + 1, float(loss.detach())
    vq.requires_grad_(False)


def kernel_optimizers(network: nn.Module, matrix_lr: float, other_lr: float) -> Optimizers:
    """Muon for kernels and matrices of what is trained, AdamW for the rest."""
    trained = [p for p in network.parameters() if p.requires_grad]
    kernels = [p for p in trained if p.ndim > 1]
    others = [p for p in trained if p.ndim <= 1]
    return Optimizers(
        Muon(kernels, lr=matrix_lr, weight_decay=0.0, momentum=0.9),
        torch.optim.AdamW(others, lr=other_lr, betas=(0.9, 0.95), weight_decay=0.0),
    )


def _vq_loss(pictures: PictureVq, states_BN: IntArray, rows_KD: Tensor) -> Tensor:
    wanted_BN, pixels = torch.from_numpy(states_BN), pixels_of(states_BN)
    latent_BND = pictures.latents(pixels).permute(0, 2, 3, 1).flatten(1, 2)
    logits_BNK = 10 * F.normalize(latent_BND, dim=-1) @ rows_KD.T
    naming = F.cross_entropy(logits_BNK.flatten(0, 1), wanted_BN.flatten())
    return 0.3 * naming + drawing_error(pictures.drawn(wanted_BN), pixels)


def drawing_error(drawn_BCHW: Tensor, pixels_BCHW: Tensor) -> Tensor:
    """Squared error of pixels in [-1, 1], those of shapes five times.

    Most of a picture is ground. Squared and weighted, the error of the shapes is not drowned; an
    absolute error would be content with an empty picture for hundreds of steps.
    """
    ground = pixels_of(np.zeros((1, world.CELLS), dtype=np.int64))
    weight = 1 + 4 * ((pixels_BCHW - ground).abs().amax(dim=1, keepdim=True) > 0.02)
    return (weight * (drawn_BCHW - pixels_BCHW) ** 2).mean()


def spread_rows(rows: int, width: int, *, seed: int) -> Tensor:
    """Unit vectors (rows, width) pushed apart from each other."""
    generator = torch.Generator().manual_seed(seed)
    rows_KD = F.normalize(torch.randn(rows, width, generator=generator), dim=-1)
    for _ in range(300):
        push_KK = torch.softmax(20 * rows_KD @ rows_KD.T - 1e9 * torch.eye(rows), dim=-1)
        rows_KD = F.normalize(rows_KD - 0.05 * push_KK @ rows_KD, dim=-1)
    return rows_KD


def random_states(rng: np.random.Generator, count: int) -> IntArray:
    """Cell states (count, 16) of pictures of zero to eight things."""
    states_BN = rng.integers(1, world.STATES, size=(count, world.CELLS))
    rank_BN = rng.random(states_BN.shape).argsort(axis=1)
    return np.where(rank_BN < rng.integers(0, 9, size=(count, 1)), states_BN, 0)
