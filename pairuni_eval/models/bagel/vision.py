"""The vision tower and what connects it to the experts.

SigLIP's layers on pictures of any size in whole patches: the patch embedding is linear, positions
are rows of a table by row and column, and a token sees all tokens of its own picture. Pictures of
one size go through together, and no others, so that nothing is padded.

Legend: C pictures, T tokens of each, P numbers of a patch, D hidden size.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.models.bagel.config import VisionConfig


class Connector(nn.Module):
    """From the tower's hidden size to the experts'."""

    def __init__(self, size: int, wide: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size, wide)
        self.fc2 = nn.Linear(wide, wide)

    def forward(self, x: Tensor) -> Tensor:
        """Two layers."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


class VisionModel(nn.Module):
    """The tower under the official name of its only part."""

    def __init__(self, config: VisionConfig, side: int) -> None:
        super().__init__()
        self.vision_model = PatchTower(config, side)

    def forward(self, patches_CTP: Tensor, places_T: Tensor) -> Tensor:
        """Hidden states of pictures of one size; see `Bagel.seen`."""
        out: Tensor = self.vision_model(patches_CTP, places_T)
        return out


class PatchTower(nn.Module):
    """Embeddings, layers and a last norm."""

    def __init__(self, config: VisionConfig, side: int) -> None:
        super().__init__()
        self.embeddings = PatchEmbeddings(config, side)
        self.encoder = VisionEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, patches_CTP: Tensor, places_T: Tensor) -> Tensor:
        """Hidden states (C, T, D)."""
        x = self.embeddings(patches_CTP, places_T)
        for layer in self.encoder.layers:
            x = layer(x)
        out: Tensor = self.post_layernorm(x)
        return out


class PatchEmbeddings(nn.Module):
    """A linear map of a patch, and its place."""

    def __init__(self, config: VisionConfig, side: int) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(3 * config.patch_size**2, config.hidden_size)
        self.position_embedding = nn.Embedding(side * side, config.hidden_size)

    def forward(self, patches_CTP: Tensor, places_T: Tensor) -> Tensor:
        """What the layers read."""
        out: Tensor = self.patch_embedding(patches_CTP) + self.position_embedding(places_T)
        return out


class VisionEncoder(nn.Module):
    """The layers, under their official name."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.layers))


class VisionLayer(nn.Module):
    """Attention and MLP, each behind a norm."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.layer_norm1 = nn.LayerNorm(size, eps=eps)
        self.self_attn = VisionAttention(size, config.num_attention_heads)
        self.layer_norm2 = nn.LayerNorm(size, eps=eps)
        self.mlp = VisionMlp(size, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        """One layer."""
        x = x + self.self_attn(self.layer_norm1(x))
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class VisionAttention(nn.Module):
    """Every token of a picture sees every other."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(size, size), nn.Linear(size, size)
        self.v_proj, self.out_proj = nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        """What attention adds."""
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class VisionMlp(nn.Module):
    """Two layers with a tanh gelu between them."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(size, inner), nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        """What the MLP adds."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out
