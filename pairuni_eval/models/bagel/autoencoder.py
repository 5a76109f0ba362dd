"""The auto-encoder of FLUX.1, which turns pictures into latents and back.

Pixels are in -1..1. A picture's latents are drawn: mean + exp(log-variance / 2) * noise, then moved
and scaled. It is never trained here.

Legend: C pictures, H, W pixels, h, w latent places, Z numbers of one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.models.bagel.config import AutoencoderConfig

SCALE, SHIFT = 0.3611, 0.1159
_GROUPS, _EPS = 32, 1e-6


class Autoencoder(nn.Module):
    """Encoder and decoder, under FLUX's names."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PixelsToLatents(config)
        self.decoder = LatentsToPixels(config)

    def encode(self, pixels_C3HW: Tensor, noise_CZhw: Tensor) -> Tensor:
        """Latents (C, Z, h, w) of pictures of one size.

        Args:
            pixels_C3HW: In -1..1.
            noise_CZhw: Standard normal; zeros give the mean.
        """
        return self.drawn(self.moments(pixels_C3HW), noise_CZhw)

    def drawn(self, moments: Tensor, noise_CZhw: Tensor) -> Tensor:
        """Latents from mean and log-variance."""
        mean, spread = moments.chunk(2, dim=1)
        return SCALE * (mean + torch.exp(0.5 * spread) * noise_CZhw - SHIFT)

    def moments(self, pixels_C3HW: Tensor) -> Tensor:
        """Mean and log-variance (C, 2Z, h, w)."""
        out: Tensor = self.encoder(pixels_C3HW)
        return out

    def decode(self, latents_CZhw: Tensor) -> Tensor:
        """Pixels (C, 3, H, W), about -1..1."""
        out: Tensor = self.decoder(latents_CZhw / SCALE + SHIFT)
        return out


class Residual(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(channels), _conv(channels, out)
        self.norm2, self.conv2 = _norm(out), _conv(out, out)
        if channels != out:
            self.nin_shortcut = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        out: Tensor = (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + hidden
        return out


class SelfAttention(nn.Module):
    """One head over all places of a picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The input and what attention adds."""
        normed = self.norm(x)
        query, key, value = (
            part(normed).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)[:, 0]
        out: Tensor = x + self.proj_out(mixed.transpose(1, 2).reshape(x.shape))
        return out


class ResolutionLevel(nn.Module):
    """Blocks of one resolution; a change of it may follow."""

    def __init__(self, channels: int, out: int, blocks: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            Residual(channels if number == 0 else out, out) for number in range(blocks)
        )
        self.downsample: nn.Module = nn.Identity()
        self.upsample: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """All blocks, and the change."""
        for block in self.block:
            x = block(x)
        out: Tensor = self.upsample(self.downsample(x))
        return out


class Downsample(nn.Module):
    """Half the resolution; what is padded stands right and below alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """To half of both sides."""
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Twice the resolution, by the nearest neighbor."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """To twice both sides."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Middle(nn.Module):
    """What stands at the lowest resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = Residual(channels, channels)
        self.attn_1 = SelfAttention(channels)
        self.block_2 = Residual(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Block, attention, block."""
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class PixelsToLatents(nn.Module):
    """From pixels to mean and log-variance."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels = config.channels
        self.conv_in = _conv(3, channels[0])
        self.down = nn.ModuleList()
        before = channels[0]
        for number, size in enumerate(channels):
            level = ResolutionLevel(before, size, config.blocks)
            if number < len(channels) - 1:
                level.downsample = Downsample(size)
            self.down.append(level)
            before = size
        self.mid = Middle(before)
        self.norm_out = _norm(before)
        self.conv_out = _conv(before, 2 * config.latents)

    def forward(self, x: Tensor) -> Tensor:
        """See `Autoencoder.moments`."""
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(x))))
        return out


class LatentsToPixels(nn.Module):
    """From latents to pixels; levels have the numbers of the encoder's, and run backwards."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels = config.channels
        self.conv_in = _conv(config.latents, channels[-1])
        self.mid = Middle(channels[-1])
        levels = []
        before = channels[-1]
        for number in reversed(range(len(channels))):
            level = ResolutionLevel(before, channels[number], config.blocks + 1)
            if number > 0:
                level.upsample = Upsample(channels[number])
            levels.append(level)
            before = channels[number]
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = _norm(before)
        self.conv_out = _conv(before, 3)

    def forward(self, x: Tensor) -> Tensor:
        """See `Autoencoder.decode`."""
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=_EPS)


def _conv(channels: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1)
