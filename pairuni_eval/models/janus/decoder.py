"""One pass of a Llama decoder over a static key-value cache, without transformers' bookkeeping.

What is left out is mask building, cache classes and output records, which cost more than the
arithmetic on small models and small batches. From the first step on every shape is fixed and the
position is a tensor, so a step can be compiled once and reused. Weights are read when the decoder
is made, so freshly updated ones are honored; large models are called module by module, small ones
through fused copies. Under autocast the caller holds cast weights (`cast_once`), and the cache is
of the precision of the products: nothing that was there before is cast for a token.

Legend: B rows, U sequences of the prefix with M tokens each, P prompt positions (left-padded),
L last tokens of prompts, T new positions, S cache slots, D hidden size, H query heads, G key-value
heads, J all heads side by side, E head size, I and O inputs and outputs of a projection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.models.janus.prefix import Prefix
from pairuni_eval.models.joint_products import plain_linears, worth_copying

# Compiled steps exist per number of slots: round up, so that prompts of many lengths share one.
_SLOTS_WHEN_SHAREABLE = 8

Projection = Callable[[Tensor], Tensor]
Fill = Callable[[Tensor, Tensor], Tensor]


class _Norm(NamedTuple):
    """An RMSNorm as what a step reads of it."""

    weight_D: Tensor
    epsilon: float


class _Layer(NamedTuple):
    """A decoder layer as what a step reads of it: callables, tensors and numbers.

    Compiled code checks whatever it was handed before every step; of a module that is dozens of
    things, of a tensor a few.
    """

    query_key_value: Projection
    output: Projection
    gate_up: Projection
    down: Projection
    norm_in: _Norm
    norm_mid: _Norm
    groups: int
    head_size: int
    scaling: float


class _State(NamedTuple):
    """What a step reads and writes: caches per layer, the mask, and the rotary tables."""

    keys_GBSE: list[Tensor]
    values_GBSE: list[Tensor]
    bias_1B1S: Tensor  # additive: -inf until a slot holds a token somebody may look at
    cos_SE: Tensor
    sin_SE: Tensor
    here_1: Tensor  # the next slot
    position_B: Tensor  # the next rotary position of each row


class KeptLayers:
    """The layers of a network as steps read them, kept from batch to batch.

    Copies are made anew where any weight is another: weights are compared, for a change of theirs
    leaves no other trace that could be trusted.
    """

    def __init__(self) -> None:
        self._network: Any = None
        self._weights: list[Tensor] = []
        self._layers: list[_Layer] = []

    def layers(self, llama: Any, *, compiled: bool) -> list[_Layer]:
        """The layers of transformers' `LlamaModel`; see `StaticDecoder` for `compiled`."""
        weights = [parameter.detach() for parameter in llama.layers.parameters()]
        if not (self._network is llama and _equal(weights, self._weights)):
            small = worth_copying(weights)
            copy = _OneProduct.by_input if compiled else _OneProduct.by_output
            self._layers = [_prepare(layer, copy if small else None) for layer in llama.layers]
            if compiled and small:
                self._network, self._weights = llama, [weight.clone() for weight in weights]
        return self._layers


def _equal(weights: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(weights) == len(others) and all(
        one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
        for one, other in zip(weights, others, strict=True)
    )


class StaticDecoder:
    """A decoder bound to one batch of prompts.

    `prefill` runs a prefix, in which rows share what they have in common, and copies the keys and
    values of each row's prompt to the row.

    Args:
        llama: transformers' `LlamaModel` (not wrapped by a sharding strategy).
        slots: Prompt length plus the number of positions that will follow.
        compiled: The caller compiles `step`: choose shapes that many batches have in common, and
            lay copied weights out for many steps.
        kept: Where compiled steps find the copies of an earlier decoder; None makes them anew.
    """

    def __init__(
        self, llama: Any, *, slots: int, compiled: bool = False, kept: KeptLayers | None = None
    ) -> None:
        keeper = kept if compiled and kept is not None else KeptLayers()
        self._layers = keeper.layers(llama, compiled=compiled)
        self._norm = _norm(llama.norm)
        self._rotary = llama.rotary_emb
        unit = _SLOTS_WHEN_SHAREABLE if compiled else 1
        self._slots = -(-slots // unit) * unit
        self._compiled = compiled
        self._filled = 0  # slots, where steps are not compiled
        self._state: _State | None = None

    def prefill(self, prefix: Prefix) -> Tensor:
        """Run the prefix; returns the hidden state of the last prompt token of every row (B, D)."""
        cos_SE, sin_SE = _rotary_tables(self._rotary, prefix.x_UMD, self._slots)
        cos_U1ME, sin_U1ME = (
            cos_SE[prefix.position_UM][:, None],
            sin_SE[prefix.position_UM][:, None],
        )
        bias_U1MM = _additive(prefix.sees_UMM, prefix.x_UMD.dtype)[:, None]
        last_L, end_B = torch.unique(prefix.where_BP[:, -1], return_inverse=True)
        x_UMD, slots_N, rows = prefix.x_UMD, self._slots_of(prefix), len(end_B)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for layer in self._layers:
            q_UHME, k_UGME, v_UGME = _project(layer, x_UMD, cos_U1ME, sin_U1ME)
            mixed_UHME = F.scaled_dot_product_attention(
                q_UHME,
                k_UGME,
                v_UGME,
                attn_mask=bias_U1MM,
                scale=layer.scaling,
                enable_gqa=q_UHME.shape[1] != k_UGME.shape[1],
            )
            keys.append(_fan_out(k_UGME, slots_N, rows))
            values.append(_fan_out(v_UGME, slots_N, rows))
            mixed_UMD = mixed_UHME.transpose(1, 2).flatten(2)
            if layer is self._layers[-1]:  # nobody reads its other positions
                x_UMD = x_UMD.flatten(0, 1)[last_L][None]
                mixed_UMD = mixed_UMD.flatten(0, 1)[last_L][None]
            x_UMD = _finish(layer, x_UMD, mixed_UMD)
        bias_1B1S = F.pad(
            _additive(prefix.mask_BP, x_UMD.dtype),
            (0, self._slots - prefix.mask_BP.shape[1]),
            value=float("-inf"),
        )[None, :, None]
        self._filled = prefix.mask_BP.shape[1]
        here_1 = torch.tensor([self._filled], device=x_UMD.device)
        self._state = _State(keys, values, bias_1B1S, cos_SE, sin_SE, here_1, prefix.next_B.clone())
        return _rms(self._norm, x_UMD[0])[end_B]

    def step(self, x_BD: Tensor) -> Tensor:
        """Append one position to every row; returns its hidden state (B, D).

        Nothing waits for the host. Compiled, all shapes are fixed.

        Raises:
            RuntimeError: if `prefill` has not run, or no slot is left.
        """
        state = self._state
        if state is None:
            raise RuntimeError("the decoder has no prompt yet")
        fill = self._next_slot(state)
        cos_B11E = state.cos_SE[state.position_B][:, None, None]
        sin_B11E = state.sin_SE[state.position_B][:, None, None]
        x_BTD = x_BD[:, None]
        for i, layer in enumerate(self._layers):
            q_BHTE, k_BGTE, v_BGTE = _project(layer, x_BTD, cos_B11E, sin_B11E)
            keys_GBSE = fill(state.keys_GBSE[i], k_BGTE.transpose(0, 1))
            values_GBSE = fill(state.values_GBSE[i], v_BGTE.transpose(0, 1))
            scaled_BHTE = q_BHTE * layer.scaling
            mixed_BTD = _look_back(scaled_BHTE, keys_GBSE, values_GBSE, state.bias_1B1S)
            x_BTD = _finish(layer, x_BTD, mixed_BTD)
        state.here_1.add_(1)
        state.position_B.add_(1)
        return _rms(self._norm, x_BTD[:, 0])

    def _next_slot(self, state: _State) -> Fill:
        """What writes a position into the next slot, which nobody has looked at before.

        Plain steps know its number and write there, in a third of the time; compiled ones must not
        depend on it.
        """
        if self._compiled:
            here_1 = state.here_1
            state.bias_1B1S.index_fill_(3, here_1, 0.0)
            return lambda slots_GBSE, new_GBTE: slots_GBSE.index_copy_(2, here_1, new_GBTE)
        here = self._filled
        if here == self._slots:
            raise RuntimeError("the decoder has no slot left")
        self._filled = here + 1
        state.bias_1B1S[..., here] = 0.0

        def fill(slots_GBSE: Tensor, new_GBTE: Tensor) -> Tensor:
            slots_GBSE[:, :, here : here + 1] = new_GBTE
            return slots_GBSE

        return fill

    def _slots_of(self, prefix: Prefix) -> Tensor:
        """The token of the prefix that each slot starts with (B * S,).

        Slots beyond the prompt start with any token at all: nobody looks before they are written.
        """
        rest = self._slots - prefix.where_BP.shape[1]
        return F.pad(prefix.where_BP, (0, rest)).flatten()


def _fan_out(prefix_UGME: Tensor, slots_N: Tensor, rows: int) -> Tensor:
    """Keys or values of all rows over all slots, filled from the prefix: (G, B, S, E)."""
    flat_GNE = prefix_UGME.transpose(0, 1).flatten(1, 2)
    spread_GNE = flat_GNE.index_select(1, slots_N)
    return spread_GNE.view(len(spread_GNE), rows, -1, spread_GNE.shape[-1])


def _project(
    layer: _Layer, x_BTD: Tensor, cos_B1TE: Tensor, sin_B1TE: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated queries (B, H, T, E) and keys (B, G, T, E), and values (B, G, T, E).

    Keys have the precision of values, in which a product under autocast would read them anyway.
    """
    groups = layer.groups
    joint_BTD = layer.query_key_value(_rms(layer.norm_in, x_BTD))
    joint_BJTE = joint_BTD.view(*x_BTD.shape[:2], -1, layer.head_size).transpose(1, 2)
    rotated_BJTE = _rotate(joint_BJTE[:, :-groups], cos_B1TE, sin_B1TE)
    values_BGTE = joint_BJTE[:, -groups:]
    keys_BGTE = rotated_BJTE[:, -groups:].to(values_BGTE.dtype)
    return rotated_BJTE[:, :-groups], keys_BGTE, values_BGTE


def _look_back(q_BHTE: Tensor, keys_GBSE: Tensor, values_GBSE: Tensor, bias_1B1S: Tensor) -> Tensor:
    """Attention of one new, already scaled query over the slots: (B, 1, H * E).

    For a single query two plain products beat the fused kernel, and grouped heads come for free:
    the queries of a group are rows of one product.
    """
    groups, rows, _, size = keys_GBSE.shape
    q_GBQE = q_BHTE.reshape(rows, groups, -1, size).transpose(0, 1)  # Q = H / G
    logits_GBQS = q_GBQE @ keys_GBSE.transpose(2, 3) + bias_1B1S
    weights_GBQS = logits_GBQS.softmax(-1, dtype=torch.float32).to(q_BHTE.dtype)
    return (weights_GBQS @ values_GBSE).transpose(0, 1).reshape(rows, 1, -1)


def _finish(layer: _Layer, x_BTD: Tensor, mixed_BTD: Tensor) -> Tensor:
    """What follows the attention in a layer: output projection and feed-forward, with residuals."""
    x_BTD = x_BTD + layer.output(mixed_BTD)
    gate, up = layer.gate_up(_rms(layer.norm_mid, x_BTD)).chunk(2, dim=-1)
    out: Tensor = x_BTD + layer.down(F.silu(gate) * up)
    return out


def _prepare(layer: Any, join: Join | None) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        _together([attention.q_proj, attention.k_proj, attention.v_proj], join),
        _together([attention.o_proj], join),
        _together([mlp.gate_proj, mlp.up_proj], join),
        _together([mlp.down_proj], join),
        _norm(layer.input_layernorm),
        _norm(layer.post_attention_layernorm),
        attention.config.num_key_value_heads,
        attention.head_dim,
        attention.scaling,
    )


def _norm(module: Any) -> _Norm:
    return _Norm(module.weight, module.variance_epsilon)


class _SideBySide:
    """Several projections of one input, concatenated; each is called as the module it is."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self.modules = modules

    def __call__(self, x: Tensor) -> Tensor:
        if len(self.modules) == 1:
            out: Tensor = self.modules[0](x)
            return out
        return torch.cat([module(x) for module in self.modules], dim=-1)


class _OneProduct:
    """Several linear projections of one input as a single product over copied weights.

    Args:
        weight_IO: Inputs along the rows, in whatever layout.
        bias_O: None for none.
    """

    def __init__(self, weight_IO: Tensor, bias_O: Tensor | None) -> None:
        self.weight_IO = weight_IO
        self.bias_O = bias_O

    @classmethod
    def by_output(cls, linears: Sequence[nn.Linear]) -> _OneProduct:
        """Laid out as the modules are: cheap to copy."""
        biases = [linear.bias.data for linear in linears if linear.bias is not None]
        weight_OI = _joined([linear.weight.data for linear in linears])
        return cls(weight_OI.T, _joined(biases) if biases else None)

    @classmethod
    def by_input(cls, linears: Sequence[nn.Linear]) -> _OneProduct:
        """Laid out as a product of few rows reads fastest on a CPU, by a quarter or so."""
        one = cls.by_output(linears)
        return cls(one.weight_IO.contiguous(), one.bias_O)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_IO.T, self.bias_O)


Join = Callable[[Sequence[nn.Linear]], _OneProduct]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _together(modules: list[nn.Module], join: Join | None) -> Projection:
    """Several projections as one product, if they are plain and small (LoRA wrappers are not)."""
    if join is not None and plain_linears(modules):
        return join(cast("list[nn.Linear]", modules))
    return _SideBySide(modules)


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as numbers to add to logits: 0 where allowed, -inf elsewhere."""
    bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return bias.masked_fill_(~allowed, float("-inf"))


def _rms(norm: _Norm, x: Tensor) -> Tensor:
    """Llama's RMSNorm; in float32 inside, as transformers has it."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.epsilon)
    out: Tensor = norm.weight_D * (wide * scale).to(x.dtype)
    return out


def _rotate(x_BHTE: Tensor, cos_B1TE: Tensor, sin_B1TE: Tensor) -> Tensor:
    """Rotary embedding in the half-split convention of Llama.

    `sin_B1TE` has its first half negated, so that swapping the halves is a roll.
    """
    return torch.addcmul(x_BHTE * cos_B1TE, x_BHTE.roll(x_BHTE.shape[-1] // 2, -1), sin_B1TE)


def _rotary_tables(rotary: Any, x: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Cosines and half-negated sines of every slot, (S, E) each."""
    positions_1S = torch.arange(slots, device=x.device)[None]
    cos_1SE, sin_1SE = rotary(x, positions_1S)
    first_SE, second_SE = sin_1SE[0].chunk(2, dim=-1)
    return cos_1SE[0], torch.cat((-first_SE, second_SE), dim=-1)
