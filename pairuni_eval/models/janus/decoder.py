"""One pass of a Llama decoder over a static key-value cache, without transformers' bookkeeping.

What is left out is mask building, cache classes and output records, which cost more than the
arithmetic on small models and small batches. From the first step on every shape is fixed and the
position is a tensor, so a step can be compiled once and reused. Weights are read when the decoder
is made, so freshly updated ones are honoured; large models are called module by module, small ones
through fused copies.

Positions are slot numbers. With left padding that shifts every row by its own constant, which
rotary embeddings cannot see.

Legend: B rows, U distinct prompts, P prompt positions, T new positions, S cache slots, D hidden
size, H query heads, G key-value heads, J all heads side by side, E head size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Below this size a step is bound by the number of calls, not by arithmetic, and a second copy of
# the weights costs nothing; above it the copy would cost gigabytes.
_FUSE_BELOW_PARAMETERS = 50_000_000
# Compiled steps exist per number of slots: round up, so that prompts of many lengths share one.
_SLOTS_WHEN_SHAREABLE = 8

Projection = Callable[[Tensor], Tensor]


class _Layer(NamedTuple):
    """A decoder layer as the callables a step needs."""

    query_key_value: Projection
    gate_up: Projection
    module: Any


class _State(NamedTuple):
    """What a step reads and writes: caches per layer, the mask, and the rotary tables."""

    keys_BGSE: list[Tensor]
    values_BGSE: list[Tensor]
    bias_B11S: Tensor  # additive: -inf until a slot holds a token somebody may look at
    cos_SE: Tensor
    sin_SE: Tensor
    here_1: Tensor  # the next slot


class StaticDecoder:
    """A decoder bound to one batch of prompts.

    `prefill` runs each distinct prompt once and copies its keys and values to the rows that share
    it: the rollouts of a group, the images of a prompt, and the unconditional rows of guidance,
    which differ in their padding only.

    Args:
        llama: transformers' `LlamaModel` (not wrapped by a sharding strategy).
        slots: Prompt length plus the number of positions that will follow.
        shareable: Choose shapes that many batches have in common, for steps that are compiled.
    """

    def __init__(self, llama: Any, *, slots: int, shareable: bool = False) -> None:
        small = sum(p.numel() for p in llama.layers.parameters()) < _FUSE_BELOW_PARAMETERS
        self._layers = [_prepare(layer, fuse=small) for layer in llama.layers]
        self._llama = llama
        unit = _SLOTS_WHEN_SHAREABLE if shareable else 1
        self._slots = -(-slots // unit) * unit
        self._state: _State | None = None

    def prefill(self, x_UPD: Tensor, mask_UP: Tensor, copies_B: Tensor) -> Tensor:
        """Run the prompts; returns the hidden state of the last position of every row (B, D).

        Args:
            x_UPD: Embeddings of the U distinct prompts, left-padded.
            mask_UP: True at real tokens.
            copies_B: Which prompt each of the B rows starts from.
        """
        length = mask_UP.shape[1]
        cos_SE, sin_SE = _rotary_tables(self._llama, x_UPD, self._slots)
        bias_U1PP = _causal_bias(mask_UP, x_UPD.dtype)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for layer in self._layers:
            q_UHPE, k_UGPE, v_UGPE = _project(layer, x_UPD, cos_SE[:length], sin_SE[:length])
            mixed_UHPE = F.scaled_dot_product_attention(
                q_UHPE,
                k_UGPE,
                v_UGPE,
                attn_mask=bias_U1PP,
                scale=layer.module.self_attn.scaling,
                enable_gqa=q_UHPE.shape[1] != k_UGPE.shape[1],
            )
            keys.append(self._fan_out(k_UGPE, copies_B))
            values.append(self._fan_out(v_UGPE, copies_B))
            if layer is self._layers[-1]:  # nobody reads its other positions
                x_UPD, mixed_UHPE = x_UPD[:, -1:], mixed_UHPE[:, :, -1:]
            x_UPD = _finish(layer, x_UPD, mixed_UHPE.transpose(1, 2).flatten(2))
        bias_BS = x_UPD.new_full((len(copies_B), self._slots), float("-inf"))
        bias_BS[:, :length].masked_fill_(mask_UP[copies_B], 0.0)
        here_1 = torch.tensor([length], device=x_UPD.device)
        self._state = _State(keys, values, bias_BS[:, None, None], cos_SE, sin_SE, here_1)
        return _rms(self._llama.norm, x_UPD[:, -1])[copies_B]

    def step(self, x_BD: Tensor) -> Tensor:
        """Append one position to every row; returns its hidden state (B, D).

        Fixed shapes, and nothing waits for the host: a caller may compile this.

        Raises:
            RuntimeError: if `prefill` has not run, or no slot is left.
        """
        state = self._state
        if state is None:
            raise RuntimeError("the decoder has no prompt yet")
        here_1 = state.here_1
        state.bias_B11S.index_fill_(3, here_1, 0.0)
        cos_1E, sin_1E = state.cos_SE[here_1], state.sin_SE[here_1]
        x_BTD = x_BD[:, None]
        for i, layer in enumerate(self._layers):
            q_BHTE, k_BGTE, v_BGTE = _project(layer, x_BTD, cos_1E, sin_1E)
            keys_BGSE = state.keys_BGSE[i].index_copy_(2, here_1, k_BGTE)
            values_BGSE = state.values_BGSE[i].index_copy_(2, here_1, v_BGTE)
            scaled_BHTE = q_BHTE * layer.module.self_attn.scaling
            mixed_BTD = _look_back(scaled_BHTE, keys_BGSE, values_BGSE, state.bias_B11S)
            x_BTD = _finish(layer, x_BTD, mixed_BTD)
        here_1.add_(1)
        return _rms(self._llama.norm, x_BTD[:, 0])

    def _fan_out(self, prompt_UGPE: Tensor, copies_B: Tensor) -> Tensor:
        """Keys or values of all rows over all slots, the first ones filled from the prompts."""
        rows_BGPE = prompt_UGPE[copies_B]
        rest = self._slots - rows_BGPE.shape[2]
        return F.pad(rows_BGPE, (0, 0, 0, rest))


def _project(
    layer: _Layer, x_BTD: Tensor, cos_TE: Tensor, sin_TE: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated queries (B, H, T, E) and keys (B, G, T, E), and values (B, G, T, E)."""
    attention = layer.module.self_attn
    groups = attention.config.num_key_value_heads
    joint_BTD = layer.query_key_value(_rms(layer.module.input_layernorm, x_BTD))
    joint_BJTE = joint_BTD.view(*x_BTD.shape[:2], -1, attention.head_dim).transpose(1, 2)
    rotated_BJTE = _rotate(joint_BJTE[:, :-groups], cos_TE, sin_TE)
    return rotated_BJTE[:, :-groups], rotated_BJTE[:, -groups:], joint_BJTE[:, -groups:]


def _look_back(q_BHTE: Tensor, keys_BGSE: Tensor, values_BGSE: Tensor, bias_B11S: Tensor) -> Tensor:
    """Attention of one new, already scaled query over the slots: (B, 1, H * E).

    For a single query two plain products beat the fused kernel, and grouped heads come for free:
    the queries of a group are rows of one product.
    """
    rows, groups, _, size = keys_BGSE.shape
    logits = q_BHTE.reshape(rows, groups, -1, size) @ keys_BGSE.transpose(2, 3) + bias_B11S
    weights = logits.softmax(-1, dtype=torch.float32).to(q_BHTE.dtype)
    return (weights @ values_BGSE).reshape(rows, 1, -1)


def _finish(layer: _Layer, x_BTD: Tensor, mixed_BTD: Tensor) -> Tensor:
    """What follows the attention in a layer: output projection and feed-forward, with residuals."""
    module = layer.module
    x_BTD = x_BTD + module.self_attn.o_proj(mixed_BTD)
    gate, up = layer.gate_up(_rms(module.post_attention_layernorm, x_BTD)).chunk(2, dim=-1)
    out: Tensor = x_BTD + module.mlp.down_proj(F.silu(gate) * up)
    return out


def _prepare(layer: Any, *, fuse: bool) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        _together([attention.q_proj, attention.k_proj, attention.v_proj], fuse=fuse),
        _together([mlp.gate_proj, mlp.up_proj], fuse=fuse),
        layer,
    )


class _SideBySide:
    """Several projections of one input, concatenated; each is called as the module it is."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self.modules = modules

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([module(x) for module in self.modules], dim=-1)


class _OneProduct:
    """Several linear projections of one input as a single product over copied weights."""

    def __init__(self, linears: list[nn.Linear]) -> None:
        self.weight = torch.cat([linear.weight.data for linear in linears])
        biases = [linear.bias.data for linear in linears if linear.bias is not None]
        self.bias = torch.cat(biases) if biases else None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def _together(modules: list[nn.Module], *, fuse: bool) -> Projection:
    """Several projections as one product, if they are plain and small (LoRA wrappers are not)."""
    if fuse and all(type(module) is nn.Linear for module in modules):
        return _OneProduct(cast("list[nn.Linear]", modules))
    return _SideBySide(modules)


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
    """Rotary embedding in the half-split convention of Llama.

    `sin_TE` has its first half negated, so that swapping the halves is a roll.
    """
    return torch.addcmul(x_BHTE * cos_TE, x_BHTE.roll(x_BHTE.shape[-1] // 2, -1), sin_TE)


def _rotary_tables(llama: Any, x: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Cosines and half-negated sines of every slot, (S, E) each."""
    positions_1S = torch.arange(slots, device=x.device)[None]
    cos_1SE, sin_1SE = llama.rotary_emb(x, positions_1S)
    first_SE, second_SE = sin_1SE[0].chunk(2, dim=-1)
    return cos_1SE[0], torch.cat((-first_SE, second_SE), dim=-1)
