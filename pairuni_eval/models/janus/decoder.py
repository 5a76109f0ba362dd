"""One pass of a Llama decoder over a static key-value cache, without transformers' bookkeeping.

What is left out is mask building, cache classes and output records, which cost more than the
arithmetic on small models and small batches. From the first step on every shape is fixed and the
position is a tensor, so a step can be compiled or captured once and reused. A decoder of one batch
reads weights when it is made; one that is kept reads them anew for every batch, and all that its
steps touch stays where it lies. Under autocast the caller holds cast weights for what is called as
a module (`pairuni_eval.models.cast_weights`), and the cache is of the precision of the products:
nothing that was there before is cast for a token.

Legend: B rows, U sequences of the prefix with M tokens each, P prompt positions (left-padded),
L last tokens of prompts, T new positions, S cache slots, D hidden size, H query heads, G key-value
heads, J all heads side by side, E head size.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.models.janus.decoder_layers import KeptLayers, Norm, StepLayer, layers_of, norm_of
from pairuni_eval.models.janus.kept_memory import KeptMemory
from pairuni_eval.models.janus.prefix import Prefix

_SHAPES = 64
_REACH = 128  # slots by which attention looks further, where looking at all of them costs


class _State(NamedTuple):
    """What a step reads and writes: caches per layer, the mask, and the rotary tables."""

    keys_GBSE: list[Tensor]
    values_GBSE: list[Tensor]
    bias_1B1S: Tensor  # additive: -inf until a slot holds a token somebody may look at
    cos_SE: Tensor
    sin_SE: Tensor
    here_1: Tensor  # the next slot
    position_B: Tensor  # the next rotary position of each row


class StaticDecoder:
    """A decoder of prompts, one batch after the other.

    `prefill` begins a batch: it runs a prefix, in which rows share what they have in common, and
    copies the keys and values of each row's prompt to the row. For every step `expect_step` tells
    the host of it, and `step` runs it.

    Args:
        llama: transformers' `LlamaModel` (not wrapped by a sharding strategy).
        kept: Steps are compiled or captured: what they touch stays in its place, and shapes are
            those that many batches have in common.

    Attributes:
        on_gpu: True on a CUDA device.
    """

    def __init__(self, llama: Any, *, kept: bool = False) -> None:
        self._kept = KeptLayers(llama) if kept else None
        self._memory = KeptMemory() if kept else None
        self._layers = layers_of(llama) if self._kept is None else self._kept.layers
        self._norm = norm_of(llama.norm)
        self._rotary = llama.rotary_emb
        self._slots = 0
        self._filled = 0
        self._reach = 0
        self._state: _State | None = None
        self.on_gpu = self._norm.weight_D.device.type == "cuda"
        # On a GPU steps are captured whole, and what is compiled is the layer that they repeat.
        self._through = compiled_layer() if kept and self.on_gpu else _through

    @property
    def called(self) -> list[nn.Module]:
        """Modules that a kept decoder calls as they are."""
        return [] if self._kept is None else self._kept.called

    @property
    def moved(self) -> int:
        """How often the memory of a kept decoder was taken anew."""
        return 0 if self._memory is None else self._memory.moved

    @property
    def shape(self) -> tuple[int, int, int]:
        """What the shapes of a step depend on: rows, slots, and how far it looks."""
        rows = 0 if self._state is None else len(self._state.position_B)
        return rows, self._slots, self._reach

    def prefill(self, prefix: Prefix, *, slots: int) -> Tensor:
        """Begin a batch; returns the hidden state of the last prompt token of every row (B, D).

        Args:
            prefix: What its prompts begin with.
            slots: Prompt length plus the number of positions that will follow.
        """
        if self._kept is not None:
            self._kept.read()
            slots = shared_size(slots)
        self._slots = slots
        cos_SE, sin_SE = _rotary_tables(self._rotary, prefix.x_UMD, slots)
        cos_U1ME, sin_U1ME = (
            cos_SE[prefix.position_UM][:, None],
            sin_SE[prefix.position_UM][:, None],
        )
        bias_U1MM = _additive(prefix.sees_UMM, prefix.x_UMD.dtype)[:, None]
        last_L, end_B = torch.unique(prefix.where_BP[:, -1], return_inverse=True)
        x_UMD, slots_N, rows = prefix.x_UMD, self._slots_of(prefix), len(end_B)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for i, layer in enumerate(self._layers):
            q_UHME, k_UGME, v_UGME = _project(layer, x_UMD, cos_U1ME, sin_U1ME)
            mixed_UHME = F.scaled_dot_product_attention(
                q_UHME,
                k_UGME,
                v_UGME,
                attn_mask=bias_U1MM,
                scale=layer.scaling,
                enable_gqa=q_UHME.shape[1] != k_UGME.shape[1],
            )
            keys.append(self._fan_out(f"keys {i}", k_UGME, slots_N, rows))
            values.append(self._fan_out(f"values {i}", v_UGME, slots_N, rows))
            mixed_UMD = mixed_UHME.transpose(1, 2).flatten(2)
            if layer is self._layers[-1]:  # nobody reads its other positions
                x_UMD = x_UMD.flatten(0, 1)[last_L][None]
                mixed_UMD = mixed_UMD.flatten(0, 1)[last_L][None]
            x_UMD = _finish(layer, x_UMD, mixed_UMD)
        bias_1B1S = F.pad(
            _additive(prefix.mask_BP, x_UMD.dtype),
            (0, slots - prefix.mask_BP.shape[1]),
            value=float("-inf"),
        )[None, :, None]
        self._filled = prefix.mask_BP.shape[1]
        here_1 = torch.tensor([self._filled], device=x_UMD.device)
        state = _State(keys, values, bias_1B1S, cos_SE, sin_SE, here_1, prefix.next_B.clone())
        self._state = self._placed(state)
        return _rms(self._norm, x_UMD[0])[end_B]

    def expect_step(self) -> None:
        """Before each step: what the host has to know of it.

        Raises:
            RuntimeError: if no slot is left.
        """
        if self._filled == self._slots:
            raise RuntimeError("the decoder has no slot left")
        self._filled += 1
        # Where a whole step is compiled, every reach would have to be compiled by itself.
        unit = _REACH if self.on_gpu else self._slots
        self._reach = min(self._slots, -(-self._filled // unit) * unit)

    def step(self, x_BD: Tensor) -> Tensor:
        """Append one position to every row; returns its hidden state (B, D).

        Nothing waits for the host. Kept, all shapes are fixed.

        Raises:
            RuntimeError: if `prefill` has not run.
        """
        state = self._state
        if state is None:
            raise RuntimeError("the decoder has no prompt yet")
        where = self._next_slot(state)
        bias_1B1R = state.bias_1B1S[..., : self._reach]
        cos_B11E = state.cos_SE[state.position_B][:, None, None]
        sin_B11E = state.sin_SE[state.position_B][:, None, None]
        x_BTD = x_BD[:, None]
        for i, layer in enumerate(self._layers):
            keys_GBSE, values_GBSE = state.keys_GBSE[i], state.values_GBSE[i]
            x_BTD = self._through(
                layer, x_BTD, cos_B11E, sin_B11E, keys_GBSE, values_GBSE, bias_1B1R, where
            )
        state.here_1.add_(1)
        state.position_B.add_(1)
        return _rms(self._norm, x_BTD[:, 0])

    def again(self) -> None:
        """Let the next step be the one that was just run: its numbers are written once more."""
        if self._state is not None:
            self._state.here_1.sub_(1)
            self._state.position_B.sub_(1)

    def _next_slot(self, state: _State) -> Tensor | int:
        """The next slot, which nobody has looked at before; from here on it is looked at.

        Plain steps know its number and write there, in a third of the time; kept ones must not
        depend on it.
        """
        if self._kept is not None:
            state.bias_1B1S.index_fill_(3, state.here_1, 0.0)
            return state.here_1
        state.bias_1B1S[..., self._filled - 1] = 0.0
        return self._filled - 1

    def _slots_of(self, prefix: Prefix) -> Tensor:
        """The token of the prefix that each slot starts with (B * S,).

        Slots beyond the prompt start with any token at all: nobody looks before they are written.
        """
        rest = self._slots - prefix.where_BP.shape[1]
        return F.pad(prefix.where_BP, (0, rest)).flatten()

    def _fan_out(self, name: str, prefix_UGME: Tensor, slots_N: Tensor, rows: int) -> Tensor:
        """Keys or values of all rows over all slots, filled from the prefix: (G, B, S, E)."""
        flat_GNE = prefix_UGME.transpose(0, 1).flatten(1, 2)
        shape = (len(flat_GNE), len(slots_N), flat_GNE.shape[-1])
        held = None if self._memory is None else self._memory.room(name, shape, flat_GNE)
        spread_GNE = torch.index_select(flat_GNE, 1, slots_N, out=held)
        return spread_GNE.view(shape[0], rows, self._slots, shape[-1])

    def _placed(self, state: _State) -> _State:
        """A state of a batch whose small tensors, too, lie where those of earlier ones did."""
        if self._memory is None:
            return state
        keep = self._memory.keep
        return state._replace(
            bias_1B1S=keep("bias", state.bias_1B1S),
            cos_SE=keep("cosines", state.cos_SE),
            sin_SE=keep("sines", state.sin_SE),
            here_1=keep("here", state.here_1),
            position_B=keep("position", state.position_B),
        )


def shared_size(count: int) -> int:
    """A number of slots or rows that many batches have in common, for code exists per number.

    The next multiple of 8; of more than 128, that of an eighth of a power of two.
    """
    unit = max(8, 1 << max(0, (count - 1).bit_length() - 4))
    return -(-count // unit) * unit


def _through(
    layer: StepLayer,
    x_BTD: Tensor,
    cos_B1TE: Tensor,
    sin_B1TE: Tensor,
    keys_GBSE: Tensor,
    values_GBSE: Tensor,
    bias_1B1R: Tensor,
    where: Tensor | int,
) -> Tensor:
    """One position through a layer; its keys and values go to slot `where`.

    Attention looks at as many slots as the mask has, R.
    """
    q_BHTE, k_BGTE, v_BGTE = _project(layer, x_BTD, cos_B1TE, sin_B1TE)
    _write(keys_GBSE, where, k_BGTE.transpose(0, 1))
    _write(values_GBSE, where, v_BGTE.transpose(0, 1))
    reach = bias_1B1R.shape[-1]
    mixed_BTD = _look_back(
        q_BHTE * layer.scaling, keys_GBSE[:, :, :reach], values_GBSE[:, :, :reach], bias_1B1R
    )
    return _finish(layer, x_BTD, mixed_BTD)


def many_shapes() -> AbstractContextManager[None]:
    """Let compiled code exist for more shapes than torch has it by default, beyond which it fails.

    Sizes are few already (`shared_size`).
    """
    around: AbstractContextManager[None] = torch._dynamo.config.patch(recompile_limit=_SHAPES)
    return around


@cache
def compiled_layer() -> Callable[..., Tensor]:
    """A position through a layer as one piece of code for all layers of a network.

    Sizes that were not the same in two calls are variables of it from then on.
    """
    compiled: Callable[..., Tensor] = torch.compile(_through, fullgraph=True)
    return compiled


def _write(slots_GBSE: Tensor, where: Tensor | int, new_GBTE: Tensor) -> None:
    if isinstance(where, int):
        slots_GBSE[:, :, where : where + 1] = new_GBTE
    else:
        slots_GBSE.index_copy_(2, where, new_GBTE)


def _project(
    layer: StepLayer, x_BTD: Tensor, cos_B1TE: Tensor, sin_B1TE: Tensor
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


def _look_back(q_BHTE: Tensor, keys_GBRE: Tensor, values_GBRE: Tensor, bias_1B1R: Tensor) -> Tensor:
    """Attention of one new, already scaled query over the slots: (B, 1, H * E).

    For a single query two plain products beat the fused kernel, and grouped heads come for free:
    the queries of a group are rows of one product.
    """
    groups, rows, _, size = keys_GBRE.shape
    q_GBQE = q_BHTE.reshape(rows, groups, -1, size).transpose(0, 1)  # Q = H / G
    logits_GBQR = q_GBQE @ keys_GBRE.transpose(2, 3) + bias_1B1R
    weights_GBQR = logits_GBQR.softmax(-1, dtype=torch.float32).to(q_BHTE.dtype)
    return (weights_GBQR @ values_GBRE).transpose(0, 1).reshape(rows, 1, -1)


def _finish(layer: StepLayer, x_BTD: Tensor, mixed_BTD: Tensor) -> Tensor:
    """What follows the attention in a layer: output projection and feed-forward, with residuals."""
    x_BTD = x_BTD + layer.output(mixed_BTD)
    gate, up = layer.gate_up(_rms(layer.norm_mid, x_BTD)).chunk(2, dim=-1)
    out: Tensor = x_BTD + layer.down(F.silu(gate) * up)
    return out


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as numbers to add to logits: 0 where allowed, -inf elsewhere."""
    bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return bias.masked_fill_(~allowed, float("-inf"))


def _rms(norm: Norm, x: Tensor) -> Tensor:
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
