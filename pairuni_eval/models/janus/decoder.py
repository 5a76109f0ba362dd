"""One pass of a Llama decoder over a static key-value cache, without transformers' bookkeeping.

Weights are read when the decoder is made, so freshly updated ones are honoured; large models are
called module by module, small ones through fused copies. What is left out is mask building, cache
classes and output records, which cost more than the arithmetic on small models and small batches.
Shapes are fixed from the first step on.

Positions are slot numbers. With left padding that shifts every row by its own constant, which
rotary embeddings cannot see.

Legend: B rows, U distinct prompts, P prompt positions, T new positions, S cache slots, D hidden
size, H query heads, G key-value heads, R query heads per group, J all heads side by side, E head
size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Below this size a step is bound by the number of calls, not by arithmetic, and a second copy of
# the weights costs nothing; above it the copy would cost gigabytes.
_FUSE_BELOW_PARAMETERS = 50_000_000


class _Layer(NamedTuple):
    """A decoder layer as the callables a step needs."""

    query_key_value: Callable[[Tensor], Tensor]
    gate_up: Callable[[Tensor], Tensor]
    module: Any


class _LayerCache(NamedTuple):
    keys_BGSE: Tensor
    values_BGSE: Tensor


class StaticDecoder:
    """A decoder bound to one batch of prompts.

    `prefill` runs each distinct prompt once and copies its keys and values to the rows that share
    it: the rollouts of a group, the images of a prompt, and the unconditional rows of guidance,
    which differ in their padding only.

    Args:
        llama: transformers' `LlamaModel` (not wrapped by a sharding strategy).
        slots: Prompt length plus the number of positions that will follow.
    """

    def __init__(self, llama: Any, *, slots: int) -> None:
        fuse = sum(p.numel() for p in llama.layers.parameters()) < _FUSE_BELOW_PARAMETERS
        self._layers = [_prepare(layer, fuse=fuse) for layer in llama.layers]
        self._norm = llama.norm
        self._head_size: int = llama.layers[0].self_attn.head_dim
        self._heads: int = llama.config.num_attention_heads
        self._groups: int = llama.config.num_key_value_heads
        self._slots = slots
        self._filled = 0
        weight = llama.embed_tokens.weight
        positions_1S = torch.arange(slots, device=weight.device)[None]
        cos_1SE, sin_1SE = llama.rotary_emb(weight[:1], positions_1S)
        self._cos_SE, self._sin_SE = cos_1SE[0], sin_1SE[0]
        self._cache: list[_LayerCache] = []
        self._bias_BS = weight.new_empty(0)

    def prefill(self, x_UPD: Tensor, mask_UP: Tensor, copies_B: Tensor) -> Tensor:
        """Run the prompts; returns the hidden state of the last position of every row (B, D).

        Args:
            x_UPD: Embeddings of the U distinct prompts, left-padded.
            mask_UP: True at real tokens.
            copies_B: Which prompt each of the B rows starts from.
        """
        length = mask_UP.shape[1]
        bias_U1PP = _causal_bias(mask_UP, x_UPD.dtype)
        for layer in self._layers:
            q_UHPE, k_UGPE, v_UGPE = self._project(layer, x_UPD, 0)
            mixed_UHPE = F.scaled_dot_product_attention(
                q_UHPE,
                k_UGPE,
                v_UGPE,
                attn_mask=bias_U1PP,
                scale=layer.module.self_attn.scaling,
                enable_gqa=q_UHPE.shape[1] != k_UGPE.shape[1],
            )
            self._cache.append(self._fan_out(k_UGPE, v_UGPE, copies_B))
            x_UPD = _finish(layer, x_UPD, mixed_UHPE.transpose(1, 2).flatten(2))
        # Additive mask over slots: -inf until a slot holds a token somebody may look at.
        self._bias_BS = x_UPD.new_full((len(copies_B), self._slots), float("-inf"))
        self._bias_BS[:, :length].masked_fill_(mask_UP[copies_B], 0.0)
        self._filled = length
        return _rms(self._norm, x_UPD[:, -1])[copies_B]

    def step(self, x_BD: Tensor) -> Tensor:
        """Append one position to every row; returns its hidden state (B, D)."""
        here = self._filled
        self._filled += 1
        self._bias_BS[:, here] = 0.0
        bias_B11S = self._bias_BS[:, None, None, : self._filled]
        x_BTD = x_BD[:, None]
        for layer, cache in zip(self._layers, self._cache, strict=True):
            q_BHTE, k_BGTE, v_BGTE = self._project(layer, x_BTD, here)
            cache.keys_BGSE[:, :, here : self._filled] = k_BGTE
            cache.values_BGSE[:, :, here : self._filled] = v_BGTE
            scaled_BHTE = q_BHTE * layer.module.self_attn.scaling
            mixed_BTD = self._look_back(scaled_BHTE, cache, bias_B11S)
            x_BTD = _finish(layer, x_BTD, mixed_BTD)
        return _rms(self._norm, x_BTD[:, 0])

    def _project(self, layer: _Layer, x_BTD: Tensor, start: int) -> Sequence[Tensor]:
        """Rotated queries (B, H, T, E) and keys (B, G, T, E), and values (B, G, T, E)."""
        rows, length, _ = x_BTD.shape
        joint_BTD = layer.query_key_value(_rms(layer.module.input_layernorm, x_BTD))
        joint_BJTE = joint_BTD.view(rows, length, -1, self._head_size).transpose(1, 2)
        turned = self._heads + self._groups
        cos_TE, sin_TE = self._cos_SE[start : start + length], self._sin_SE[start : start + length]
        rotated_BJTE = _rotate(joint_BJTE[:, :turned], cos_TE, sin_TE)
        return (
            rotated_BJTE[:, : self._heads],
            rotated_BJTE[:, self._heads :],
            joint_BJTE[:, turned:],
        )

    def _fan_out(self, k_UGPE: Tensor, v_UGPE: Tensor, copies_B: Tensor) -> _LayerCache:
        """A layer's cache for all rows, its first slots filled from the prompts."""
        _, groups, length, size = k_UGPE.shape
        shape = (len(copies_B), groups, self._slots, size)
        cache = _LayerCache(k_UGPE.new_zeros(shape), v_UGPE.new_zeros(shape))
        cache.keys_BGSE[:, :, :length] = k_UGPE[copies_B]
        cache.values_BGSE[:, :, :length] = v_UGPE[copies_B]
        return cache

    def _look_back(self, q_BHTE: Tensor, cache: _LayerCache, bias_B11S: Tensor) -> Tensor:
        """Attention of one new, already scaled query over the filled slots: (B, 1, H * E).

        For a single query two plain products beat the fused kernel, and grouped heads come for
        free: the queries of a group are rows of one product.
        """
        rows = q_BHTE.shape[0]
        q_BGRE = q_BHTE.reshape(rows, self._groups, -1, self._head_size)
        logits_BGRS = q_BGRE @ cache.keys_BGSE[:, :, : self._filled].transpose(2, 3) + bias_B11S
        weights_BGRS = logits_BGRS.softmax(-1, dtype=torch.float32).to(q_BHTE.dtype)
        mixed_BGRE = weights_BGRS @ cache.values_BGSE[:, :, : self._filled]
        return mixed_BGRE.reshape(rows, 1, -1)


def _prepare(layer: Any, *, fuse: bool) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        _together([attention.q_proj, attention.k_proj, attention.v_proj], fuse=fuse),
        _together([mlp.gate_proj, mlp.up_proj], fuse=fuse),
        layer,
    )


def _together(modules: list[nn.Module], *, fuse: bool) -> Callable[[Tensor], Tensor]:
    """Several projections of one input, side by side: one product if they are plain and small.

    A wrapped projection (LoRA) is always called as the module it is.
    """
    if not fuse or any(type(module) is not nn.Linear for module in modules):
        return lambda x: torch.cat([module(x) for module in modules], dim=-1)
    linears = cast("list[nn.Linear]", modules)
    weight = torch.cat([linear.weight.data for linear in linears])
    biases = [linear.bias.data for linear in linears if linear.bias is not None]
    bias = torch.cat(biases) if biases else None
    return lambda x: F.linear(x, weight, bias)


def _finish(layer: _Layer, x_BTD: Tensor, mixed_BTD: Tensor) -> Tensor:
    """What follows the attention in a layer: output projection and feed-forward, with residuals."""
    module = layer.module
    x_BTD = x_BTD + module.self_attn.o_proj(mixed_BTD)
    gate, up = layer.gate_up(_rms(module.post_attention_layernorm, x_BTD)).chunk(2, dim=-1)
    out: Tensor = x_BTD + module.mlp.down_proj(F.silu(gate) * up)
    return out


def _causal_bias(mask_UP: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask (U, 1, P, P): a position sees the real tokens up to itself, and itself.

    Padding positions see themselves only: no row of a softmax may be empty.
    """
    length = mask_UP.shape[1]
    seen_PP = torch.ones(length, length, dtype=torch.bool, device=mask_UP.device).tril()
    eye_PP = torch.eye(length, dtype=torch.bool, device=mask_UP.device)
    allowed_UPP = (seen_PP & mask_UP[:, None]) | eye_PP
    bias_UPP = torch.zeros(allowed_UPP.shape, dtype=dtype, device=mask_UP.device)
    return bias_UPP.masked_fill_(~allowed_UPP, float("-inf"))[:, None]


def _rms(norm: Any, x: Tensor) -> Tensor:
    """Llama's RMSNorm; in float32 inside, as transformers has it."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.variance_epsilon)
    out: Tensor = norm.weight * (wide * scale).to(x.dtype)
    return out


def _rotate(x_BHTE: Tensor, cos_TE: Tensor, sin_TE: Tensor) -> Tensor:
    """Rotary embedding in the half-split convention of Llama."""
    first, second = x_BHTE.chunk(2, dim=-1)
    return x_BHTE * cos_TE + torch.cat((-second, first), dim=-1) * sin_TE
