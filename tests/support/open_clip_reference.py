"""A CLIP as OpenCLIP lays it out, in plain torch for comparison, and small files of it.

Names and shapes of the parameters are those of OpenCLIP's checkpoints; nothing is shared with the
code under test.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# Short enough to read, long enough that words fall into several tokens.
_MERGES = (
    "t h|th e</w>|i n|a n|an d</w>|e r|a t</w>|c at</w>|r o|o n</w>|r e|s t|a r|c o|f f|o u|"
    "ff e|e e</w>|i g|ig h|p h|ph o|t o</w>|pho to</w>|d o|do g</w>|' s</w>|in g</w>|"
    "l a|. .|.. .</w>"
)
MERGES = _MERGES.split("|")


class Size(NamedTuple):
    """A small CLIP; the vocabulary follows from the merges."""

    image: int = 32
    patch: int = 8
    width: int = 48
    head_width: int = 12
    layers: int = 2
    text_width: int = 32
    text_heads: int = 2
    text_layers: int = 3
    out: int = 24
    context: int = 77
    quick_gelu: bool = False

    @property
    def vocabulary(self) -> int:
        return 514 + len(MERGES)

    def config(self) -> dict[str, Any]:
        """The model configuration in OpenCLIP's words."""
        config: dict[str, Any] = {
            "embed_dim": self.out,
            "vision_cfg": {
                "image_size": self.image,
                "layers": self.layers,
                "width": self.width,
                "head_width": self.head_width,
                "patch_size": self.patch,
            },
            "text_cfg": {
                "context_length": self.context,
                "vocab_size": self.vocabulary,
                "width": self.text_width,
                "heads": self.text_heads,
                "layers": self.text_layers,
            },
        }
        return {**config, "quick_gelu": True} if self.quick_gelu else config


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, activation: nn.Module) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, 4 * width),
                gelu=activation,
                c_proj=nn.Linear(4 * width, width),
            )
        )

    def forward(self, x_BTD: Tensor, mask_TT: Tensor | None) -> Tensor:
        inner_BTD = self.ln_1(x_BTD)
        x_BTD = (
            x_BTD
            + self.attn(inner_BTD, inner_BTD, inner_BTD, attn_mask=mask_TT, need_weights=False)[0]
        )
        return x_BTD + self.mlp(self.ln_2(x_BTD))


class Blocks(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, activation: nn.Module) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, activation) for _ in range(layers))

    def forward(self, x_BTD: Tensor, mask_TT: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x_BTD = block(x_BTD, mask_TT)
        return x_BTD


class Visual(nn.Module):
    def __init__(self, size: Size, activation: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, size.width, size.patch, size.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(size.width))
        positions = (size.image // size.patch) ** 2 + 1
        self.positional_embedding = nn.Parameter(torch.empty(positions, size.width))
        self.ln_pre = nn.LayerNorm(size.width)
        heads = size.width // size.head_width
        self.transformer = Blocks(size.width, size.layers, heads, activation)
        self.ln_post = nn.LayerNorm(size.width)
        self.proj = nn.Parameter(torch.empty(size.width, size.out))

    def forward(self, pixels_BCSS: Tensor) -> Tensor:
        patches_BTD = self.conv1(pixels_BCSS).flatten(2).transpose(1, 2)
        class_B1D = self.class_embedding.expand(len(patches_BTD), 1, -1)
        x_BTD = torch.cat([class_B1D, patches_BTD], dim=1) + self.positional_embedding
        x_BTD = self.transformer(self.ln_pre(x_BTD))
        return self.ln_post(x_BTD[:, 0]) @ self.proj


class OpenClip(nn.Module):
    """Both towers; features are not normalized."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        activation = QuickGelu() if size.quick_gelu else nn.GELU()
        self.visual = Visual(size, activation)
        self.token_embedding = nn.Embedding(size.vocabulary, size.text_width)
        self.positional_embedding = nn.Parameter(torch.empty(size.context, size.text_width))
        self.transformer = Blocks(size.text_width, size.text_layers, size.text_heads, activation)
        self.ln_final = nn.LayerNorm(size.text_width)
        self.text_projection = nn.Parameter(torch.empty(size.text_width, size.out))
        self.logit_scale = nn.Parameter(torch.empty(()))

    def images(self, pixels_BCSS: Tensor) -> Tensor:
        return self.visual(pixels_BCSS)

    def texts(self, ids_BT: Tensor) -> Tensor:
        length = ids_BT.shape[1]
        later_TT = torch.full((length, length), float("-inf")).triu(1)
        x_BTD = self.token_embedding(ids_BT) + self.positional_embedding[:length]
        x_BTD = self.ln_final(self.transformer(x_BTD, later_TT))
        ends_B = ids_BT.argmax(dim=-1)
        return x_BTD[torch.arange(len(ids_BT)), ends_B] @ self.text_projection


def build(size: Size, seed: int) -> OpenClip:
    """A model with weights that are the same on every machine and numpy."""
    model = OpenClip(size)
    draw = np.random.RandomState(seed)
    state = model.state_dict()
    for name in sorted(state):
        values = draw.standard_normal(state[name].shape)
        base = 1.0 if ".ln_" in f".{name}" and name.endswith("weight") else 0.0
        state[name] = torch.tensor(base + 0.2 * values, dtype=torch.float32)
    state["logit_scale"] = torch.tensor(3.0)
    model.load_state_dict(state)
    return model.eval()


def write_files(folder: Path, size: Size, seed: int, *, name: str = "hps.pt") -> list[Path]:
    """What HPSv2 publishes, small: weights in a training checkpoint, configuration, merges."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, config, merges = folder / name, folder / "open_clip_config.json", folder / "merges.txt"
    torch.save({"epoch": 3, "state_dict": build(size, seed).state_dict()}, weights)
    config.write_text(json.dumps({"model_cfg": size.config(), "preprocess_cfg": {"size": 32}}))
    merges.write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")
    return [weights, config, merges]
