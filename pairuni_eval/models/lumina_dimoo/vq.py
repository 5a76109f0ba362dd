"""The VQ model of Lumina-DiMOO: pictures to codes and back.

A convolutional encoder halves a picture a few times, the nearest row of a codebook takes the place
of each vector, and a decoder doubles it again: the architecture and key names of diffusers'
`VQModel` without attention, as aMUSEd set them (Patil et al. 2024). Pixels are in [0, 1], with no
scaling to [-1, 1]; `scaling_factor` of the file is not used.

Legend: B pictures, C channels, H x W pixels, h x w codes, N = h w codes, L latent channels, K codes
of the codebook.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.models.lumina_dimoo.config import VqConfig

_EPS = 1e-6


class _Resnet(nn.Module):
    """Two normalized convolutions, added to what came in; 1x1 where the channels differ."""

    def __init__(self, before: int, after: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, before, eps=_EPS)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, after, eps=_EPS)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(before, after, 1) if before != after else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The next features."""
        h_BCHW = self.conv1(F.silu(self.norm1(x_BCHW)))
        h_BCHW = self.conv2(F.silu(self.norm2(h_BCHW)))
        if self.conv_shortcut is not None:
            x_BCHW = self.conv_shortcut(x_BCHW)
        out: Tensor = x_BCHW + h_BCHW
        return out


class _Halve(nn.Module):
    """Half the size: a convolution with stride 2, padded below and on the right alone."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The smaller features."""
        out: Tensor = self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))
        return out


class _Double(nn.Module):
    """Twice the size: every value four times, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The larger features."""
        out: Tensor = self.conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))
        return out


class _Level(nn.Module):
    """Blocks of one size, then a change of size, except at the end."""

    def __init__(self, blocks: list[_Resnet], *, halve: int = 0, double: int = 0):
        super().__init__()
        self.resnets = nn.ModuleList(blocks)
        if halve:
            self.downsamplers = nn.ModuleList([_Halve(halve)])
        if double:
            self.upsamplers = nn.ModuleList([_Double(double)])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The features after this level."""
        for part in self.children():
            for module in part.children():
                x_BCHW = module(x_BCHW)
        return x_BCHW


def _blocks(before: int, after: int, count: int, groups: int) -> list[_Resnet]:
    return [_Resnet(before if i == 0 else after, after, groups) for i in range(count)]


class _Encoder(nn.Module):
    def __init__(self, config: VqConfig):
        super().__init__()
        channels, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            _Level(
                _blocks(channels[max(0, i - 1)], width, config.layers_per_block, groups),
                halve=width if i + 1 < len(channels) else 0,
            )
            for i, width in enumerate(channels)
        )
        self.mid_block = _Level(_blocks(channels[-1], channels[-1], 2, groups))
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=_EPS)
        self.conv_out = nn.Conv2d(channels[-1], config.latent_channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.conv_in(x_BCHW)
        for level in (*self.down_blocks, self.mid_block):
            x_BCHW = level(x_BCHW)
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(x_BCHW)))
        return out


class _Decoder(nn.Module):
    def __init__(self, config: VqConfig):
        super().__init__()
        channels, groups = config.block_out_channels[::-1], config.norm_num_groups
        self.conv_in = nn.Conv2d(config.latent_channels, channels[0], 3, padding=1)
        self.mid_block = _Level(_blocks(channels[0], channels[0], 2, groups))
        self.up_blocks = nn.ModuleList(
            _Level(
                _blocks(channels[max(0, i - 1)], width, config.layers_per_block + 1, groups),
                double=width if i + 1 < len(channels) else 0,
            )
            for i, width in enumerate(channels)
        )
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=_EPS)
        self.conv_out = nn.Conv2d(channels[-1], 3, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.conv_in(x_BCHW)
        for level in (self.mid_block, *self.up_blocks):
            x_BCHW = level(x_BCHW)
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(x_BCHW)))
        return out


class _Codebook(nn.Module):
    """What diffusers calls `quantize`."""

    def __init__(self, codes: int, channels: int):
        super().__init__()
        self.embedding = nn.Embedding(codes, channels)


class Vq(nn.Module):
    """Encoder, codebook and decoder; kept in float32 whatever the network is in."""

    def __init__(self, config: VqConfig):
        super().__init__()
        self.factor = config.factor
        width = config.latent_channels
        self.encoder, self.decoder = _Encoder(config), _Decoder(config)
        self.quant_conv, self.post_quant_conv = (
            nn.Conv2d(width, width, 1),
            nn.Conv2d(width, width, 1),
        )
        self.quantize = _Codebook(config.num_vq_embeddings, width)

    def latents(self, pixels_BCHW: Tensor) -> Tensor:
        """What is quantized, (B, L, h, w), of pixels in [0, 1]."""
        out: Tensor = self.quant_conv(self.encoder(pixels_BCHW))
        return out

    @torch.no_grad()
    def encode(self, pixels_BCHW: Tensor) -> Tensor:
        """The codes of pictures, (B, h, w): the nearest row of the codebook for each vector."""
        vectors_BLhw = self.latents(pixels_BCHW)
        flat_BNL = vectors_BLhw.flatten(2).mT.contiguous()
        book_KL = self.quantize.embedding.weight
        nearest_BN = torch.cdist(flat_BNL, book_KL.expand(len(flat_BNL), -1, -1)).argmin(-1)
        return nearest_BN.view(len(flat_BNL), *vectors_BLhw.shape[2:])

    @torch.no_grad()
    def decode(self, codes_Bhw: Tensor) -> Tensor:
        """Pictures of codes, (B, 3, H, W); not clipped to [0, 1]."""
        return self.drawn(codes_Bhw)

    def drawn(self, codes_Bhw: Tensor) -> Tensor:
        """The same with gradients, for training."""
        vectors_BLhw = self.quantize.embedding(codes_Bhw).permute(0, 3, 1, 2)
        out: Tensor = self.decoder(self.post_quant_conv(vectors_BLhw))
        return out


def to_bytes(pixels_BCHW: Tensor) -> Tensor:
    """Decoded pixels as (B, H, W, 3) in uint8: clipped to [0, 1], times 255, rounded."""
    scaled_BCHW = (pixels_BCHW.float().clamp(0, 1) * 255).round()
    return scaled_BCHW.byte().permute(0, 2, 3, 1)
