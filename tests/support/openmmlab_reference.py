"""Mask2Former with a Swin backbone in plain torch, named and laid out as mmdet 2.x does.

Small, slow and only for comparison: it shares nothing with the code under test or transformers.
Written from the papers (arXiv 2103.14030, 2010.04159, 2112.01527) and the names in mmdet 2.x.

Shapes: B pictures, H and W rows and columns, C channels, L places, N = window * window places of a
window, Q queries.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Size(NamedTuple):
    """A small network; widths are multiples of 32 where group norm needs it."""

    width: int = 8
    depths: tuple[int, ...] = (1, 2, 1, 1)
    heads: tuple[int, ...] = (1, 2, 2, 4)
    window: int = 4
    features: int = 32
    encoder_width: int = 40
    encoder_layers: int = 2
    decoder_width: int = 48
    decoder_layers: int = 4
    decoder_heads: int = 4
    queries: int = 6
    classes: int = 5


def feed_forward(width: int, hidden: int, activation: nn.Module) -> nn.Module:
    """mmcv's FFN: `layers.0.0` and `layers.1`."""
    block = nn.Module()
    block.layers = nn.Sequential(
        nn.Sequential(nn.Linear(width, hidden), activation), nn.Linear(hidden, width)
    )
    return block


class WindowAttention(nn.Module):
    """`attn.w_msa`: attention inside windows, with a table of relative position biases."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        below = y.flatten()[:, None] - y.flatten()[None] + window - 1
        right = x.flatten()[:, None] - x.flatten()[None] + window - 1
        self.register_buffer("relative_position_index", below * (2 * window - 1) + right)

    def forward(self, x_BNC: Tensor, barred_BNN: Tensor | None) -> Tensor:
        batch, places, width = x_BNC.shape
        split = self.qkv(x_BNC).view(batch, places, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        logits = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)
        logits = logits + self.relative_position_bias_table[self.relative_position_index].permute(
            2, 0, 1
        )
        if barred_BNN is not None:
            logits = logits - 100.0 * barred_BNN[:, None]
        mixed = (logits.softmax(-1) @ value).transpose(1, 2).reshape(batch, places, width)
        return self.proj(mixed)


class Block(nn.Module):
    """`stages.I.blocks.J`; every second block shifts its windows by half."""

    def __init__(self, width: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.Module()
        self.attn.w_msa = WindowAttention(width, heads, window)
        self.ffn = feed_forward(width, 4 * width, nn.GELU())

    def forward(self, x_BHWC: Tensor) -> Tensor:
        x_BHWC = x_BHWC + self._attend(self.norm1(x_BHWC))
        return x_BHWC + self.ffn.layers(self.norm2(x_BHWC))

    def _attend(self, x_BHWC: Tensor) -> Tensor:
        _, height, width, _ = x_BHWC.shape
        w = self.window
        x_BHWC = F.pad(x_BHWC, (0, 0, 0, -width % w, 0, -height % w))
        x_BHWC = x_BHWC.roll((-self.shift, -self.shift), (1, 2))
        rows, columns = x_BHWC.shape[1:3]
        region_HW = self._regions(rows)[:, None] * 3 + self._regions(columns)[None]
        region_BN = self._windows(region_HW[None, :, :, None].expand(len(x_BHWC), -1, -1, -1))[
            ..., 0
        ]
        barred_BNN = (region_BN[:, :, None] != region_BN[:, None]).to(x_BHWC.dtype)
        windows_BNC = self.attn.w_msa(self._windows(x_BHWC), barred_BNN)
        grid = windows_BNC.view(len(x_BHWC), rows // w, columns // w, w, w, -1)
        x_BHWC = grid.transpose(2, 3).reshape(len(x_BHWC), rows, columns, -1)
        return x_BHWC.roll((self.shift, self.shift), (1, 2))[:, :height, :width]

    def _regions(self, length: int) -> Tensor:
        """What rolling put beside each other must not see each other."""
        region_L = torch.zeros(length, dtype=torch.long)
        if self.shift:
            region_L[-self.window : -self.shift] = 1
            region_L[-self.shift :] = 2
        return region_L

    def _windows(self, x_BHWC: Tensor) -> Tensor:
        batch, height, width, channels = x_BHWC.shape
        w = self.window
        grid = x_BHWC.reshape(batch, height // w, w, width // w, w, channels)
        return grid.transpose(2, 3).reshape(-1, w * w, channels)


class Merger(nn.Module):
    """`stages.I.downsample`: 2 x 2 pixels unfolded into channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        x_BCHW = x_BHWC.permute(0, 3, 1, 2)
        height, width = x_BCHW.shape[2:]
        x_BCHW = F.pad(x_BCHW, (0, width % 2, 0, height % 2))
        unfolded_BLC = F.unfold(x_BCHW, kernel_size=2, stride=2).transpose(1, 2)
        merged_BLC = self.reduction(self.norm(unfolded_BLC))
        return merged_BLC.unflatten(1, (x_BCHW.shape[2] // 2, x_BCHW.shape[3] // 2))


class Swin(nn.Module):
    """`backbone`: feature maps of four stages, finest first."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.projection = nn.Conv2d(3, size.width, 4, stride=4)
        self.patch_embed.norm = nn.LayerNorm(size.width)
        self.stages = nn.ModuleList()
        for level, (depth, heads) in enumerate(zip(size.depths, size.heads, strict=True)):
            width = size.width * 2**level
            stage = nn.Module()
            stage.blocks = nn.ModuleList(
                Block(width, heads, size.window, shifted=index % 2 == 1) for index in range(depth)
            )
            if level < len(size.depths) - 1:
                stage.downsample = Merger(width)
            self.stages.append(stage)
            self.add_module(f"norm{level}", nn.LayerNorm(width))

    def forward(self, pixels_BCHW: Tensor) -> list[Tensor]:
        x_BHWC = self.patch_embed.projection(pixels_BCHW).permute(0, 2, 3, 1)
        x_BHWC = self.patch_embed.norm(x_BHWC)
        maps = []
        for level, stage in enumerate(self.stages):
            for block in stage.blocks:
                x_BHWC = block(x_BHWC)
            maps.append(self.get_submodule(f"norm{level}")(x_BHWC).permute(0, 3, 1, 2))
            if hasattr(stage, "downsample"):
                x_BHWC = stage.downsample(x_BHWC)
        return maps


class ConvModule(nn.Module):
    """`conv` and `gn`."""

    def __init__(self, into: int, out: int, kernel: int, *, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, padding=kernel // 2, bias=bias)
        self.gn = nn.GroupNorm(32, out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.gn(self.conv(x_BCHW))


def positions(x_BCHW: Tensor) -> Tensor:
    """Sine positions (C, H, W): rows in the first half of the channels, columns in the second."""
    channels, height, width = x_BCHW.shape[1:]
    half = channels // 2
    steps = torch.arange(half // 2, dtype=x_BCHW.dtype)
    frequencies = 10000 ** (2 * steps / half)
    waves = []
    for length in (height, width):
        share_L = torch.arange(1, length + 1, dtype=x_BCHW.dtype) / (length + 1e-6) * 2 * math.pi
        angle = share_L[:, None] / frequencies
        waves.append(torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1).T)
    rows = waves[0][:, :, None].expand(-1, -1, width)
    columns = waves[1][:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns])


class DeformableAttention(nn.Module):
    """`attentions.0` of the pixel decoder: 8 heads, 3 levels, 4 points in mmdet."""

    def __init__(self, width: int, heads: int, levels: int = 3, points: int = 4) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)

    def forward(self, x_BLC: Tensor, place_BLC: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        batch, length, width = x_BLC.shape
        query = x_BLC + place_BLC
        shape = (batch, length, self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).view(*shape, 2)
        weights = self.attention_weights(query).view(batch, length, self.heads, -1).softmax(-1)
        weights = weights.view(shape)
        value = self.value_proj(x_BLC).view(batch, length, self.heads, -1)
        centers = torch.cat([_centers(size, x_BLC.dtype) for size in sizes])
        total = torch.zeros_like(value)
        start = 0
        for level, (rows, columns) in enumerate(sizes):
            grid = value[:, start : start + rows * columns].permute(0, 2, 3, 1)
            grid = grid.reshape(batch * self.heads, -1, rows, columns)
            start += rows * columns
            spot = centers[None, :, None, None] + offsets[:, :, :, level] / torch.tensor(
                [columns, rows], dtype=x_BLC.dtype
            )
            spot = spot.permute(0, 2, 1, 3, 4).flatten(0, 1) * 2 - 1
            sampled = F.grid_sample(grid, spot, align_corners=False)
            sampled = sampled.view(batch, self.heads, -1, length, self.points)
            part = torch.einsum("bhclp,blhp->blhc", sampled, weights[:, :, :, level])
            total = total + part
        return self.output_proj(total.reshape(batch, length, width))


def _centers(size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """x and y of each pixel's center as shares of the map, (rows * columns, 2)."""
    rows, columns = size
    y = (torch.arange(rows, dtype=dtype) + 0.5) / rows
    x = (torch.arange(columns, dtype=dtype) + 0.5) / columns
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=1)


class PixelDecoder(nn.Module):
    """`panoptic_head.pixel_decoder`."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        widths = [size.width * 2**level for level in range(4)]
        width = size.features
        self.input_convs = nn.ModuleList(
            ConvModule(into, width, 1, bias=True) for into in reversed(widths[1:])
        )
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList()
        for _ in range(size.encoder_layers):
            layer = nn.Module()
            layer.attentions = nn.ModuleList([DeformableAttention(width, size.decoder_heads)])
            layer.ffns = nn.ModuleList([feed_forward(width, size.encoder_width, nn.ReLU())])
            layer.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
            self.encoder.layers.append(layer)
        self.level_encoding = nn.Embedding(3, width)
        self.lateral_convs = nn.ModuleList([ConvModule(widths[0], width, 1, bias=False)])
        self.output_convs = nn.ModuleList([ConvModule(width, width, 3, bias=False)])
        self.mask_feature = nn.Conv2d(width, width, 1)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The mask features, and three maps, coarsest first."""
        coarse = [conv(x) for conv, x in zip(self.input_convs, reversed(maps[1:]), strict=True)]
        sizes = [(x.shape[2], x.shape[3]) for x in coarse]
        places = [
            positions(x) + level[:, None, None]
            for x, level in zip(coarse, self.level_encoding.weight, strict=True)
        ]
        x_BLC = torch.cat([x.flatten(2) for x in coarse], dim=2).transpose(1, 2)
        place_BLC = torch.cat([p.flatten(1) for p in places], dim=1).T[None]
        for layer in self.encoder.layers:
            x_BLC = layer.norms[0](x_BLC + layer.attentions[0](x_BLC, place_BLC, sizes))
            x_BLC = layer.norms[1](x_BLC + layer.ffns[0].layers(x_BLC))
        pieces = x_BLC.transpose(1, 2).split([h * w for h, w in sizes], dim=2)
        outs = [piece.unflatten(2, size) for piece, size in zip(pieces, sizes, strict=True)]
        up = F.interpolate(outs[-1], size=maps[0].shape[2:], mode="bilinear", align_corners=False)
        fine = self.output_convs[0](self.lateral_convs[0](maps[0]) + up).relu()
        return self.mask_feature(fine), outs


class Attention(nn.Module):
    """mmcv's wrapper: torch's attention under `attn`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)


class Head(nn.Module):
    """`panoptic_head`."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.features
        self.heads = size.decoder_heads
        self.pixel_decoder = PixelDecoder(size)
        self.transformer_decoder = nn.Module()
        self.transformer_decoder.layers = nn.ModuleList()
        for _ in range(size.decoder_layers):
            layer = nn.Module()
            layer.attentions = nn.ModuleList(Attention(width, self.heads) for _ in range(2))
            layer.ffns = nn.ModuleList([feed_forward(width, size.decoder_width, nn.ReLU())])
            layer.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
            self.transformer_decoder.layers.append(layer)
        self.transformer_decoder.post_norm = nn.LayerNorm(width)
        self.query_embed = nn.Embedding(size.queries, width)
        self.query_feat = nn.Embedding(size.queries, width)
        self.level_embed = nn.Embedding(3, width)
        self.cls_embed = nn.Linear(width, size.classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, width),
        )  # fmt: skip

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (B, Q, classes and nothing) and mask logits (B, Q, H, W)."""
        features, coarse = self.pixel_decoder(maps)
        memories = [
            x.flatten(2).transpose(1, 2) + level
            for x, level in zip(coarse, self.level_embed.weight, strict=True)
        ]
        places = [positions(x).flatten(1).T[None] for x in coarse]
        query_BQC = self.query_feat.weight[None].repeat(len(features), 1, 1)
        where_BQC = self.query_embed.weight[None]
        for index, layer in enumerate(self.transformer_decoder.layers):
            level = index % 3
            masks = self._predict(query_BQC, features)[1]
            barred = self._barred(masks, coarse[level].shape[2:])
            cross, own = (attention.attn for attention in layer.attentions)
            query_BQC = layer.norms[0](
                query_BQC
                + cross(
                    query_BQC + where_BQC,
                    memories[level] + places[level],
                    memories[level],
                    attn_mask=barred,
                )[0]
            )
            placed = query_BQC + where_BQC
            query_BQC = layer.norms[1](query_BQC + own(placed, placed, query_BQC)[0])
            query_BQC = layer.norms[2](query_BQC + layer.ffns[0].layers(query_BQC))
        return self._predict(query_BQC, features)

    def _predict(self, query_BQC: Tensor, features_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        query_BQC = self.transformer_decoder.post_norm(query_BQC)
        masks = torch.einsum("bqc,bchw->bqhw", self.mask_embed(query_BQC), features_BCHW)
        return self.cls_embed(query_BQC), masks

    def _barred(self, masks_BQHW: Tensor, size: torch.Size) -> Tensor:
        """Where a query must not look: outside its mask, unless that leaves nothing."""
        small = F.interpolate(masks_BQHW, size=size, mode="bilinear", align_corners=False)
        barred_BQL = (small < 0).flatten(2)
        barred_BQL = barred_BQL & ~barred_BQL.all(dim=2, keepdim=True)
        return barred_BQL.repeat_interleave(self.heads, dim=0)


class Detector(nn.Module):
    """The whole network; its state dict has the names of an mmdet 2.x checkpoint."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.backbone = Swin(size)
        self.panoptic_head = Head(size)

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        return self.panoptic_head(self.backbone(pixels_BCHW))


def build(size: Size, seed: int) -> Detector:
    """A random network; no parameter keeps a value that hides a mistake (0 or 1)."""
    torch.manual_seed(seed)
    network = Detector(size).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3)
    return network
