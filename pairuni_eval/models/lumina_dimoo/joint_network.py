"""A small network of Lumina-DiMOO as sampling runs it: fewer products, fewer passes over memory.

Logits are those of `Network` up to rounding. Weights are copied when it is made, so a sampling
makes its own and freshly updated ones are honored. In the copies

- queries, keys and values are one product, and so are gate and up;
- the scale of a norm, and the root of C in it, is part of the product that reads it;
- channels i and i + D/2 of a head of queries and keys lie side by side, so that the rotary
  embedding is a product of complex numbers (their products are the same in any common order).

What the first block projects depends on the token alone: with more places than words, every word is
projected once.

Legend: B rows, T places, P places asked for, H heads, D width of a head, J = H D / 2 pairs of
channels, C = H D hidden size, O outputs of joined products, I inputs of a product, W words.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.models.cast_weights import autocast_precision
from pairuni_eval.models.joint_products import plain_linears, worth_copying
from pairuni_eval.models.lumina_dimoo.network import (
    Block,
    GivesLogits,
    Network,
    VocabularySlice,
)


class _Copies(NamedTuple):
    """The weights of a block as a forward reads them."""

    query_key_value_OI: Tensor
    attn_out_OI: Tensor
    gate_up_OI: Tensor
    ff_out_OI: Tensor


def for_sampling(network: Network) -> GivesLogits:
    """What a sampling takes its logits from: a `JointNetwork` where it can be, or the network.

    It can be for a small network of plain products in float32 and outside of autocast.
    """
    layers = network.model.transformer.blocks
    joint = (
        worth_copying(layers.parameters())
        and all(type(weight) is nn.Parameter for weight in layers.parameters())
        and all(plain_linears(_products(block)) for block in network.blocks)
        and network.dtype == torch.float32
        and autocast_precision(network.device) is None
    )
    return JointNetwork(network) if joint else network


class JointNetwork:
    """A network with joined products, as its weights were when this was made. Has no gradients.

    Args:
        network: Of plain products in float32.
    """

    @torch.no_grad()
    def __init__(self, network: Network):
        self._network = network
        self._heads = network.config.n_heads
        floor = math.sqrt(network.config.d_model * network.config.rms_norm_eps)
        self._floor = torch.tensor(floor, device=network.device)
        self._blocks = [_copies(block, self._heads) for block in network.blocks]
        self._turns: dict[int, Tensor] = {}
        self._words_WO: Tensor | None = None

    @torch.no_grad()
    def __call__(
        self,
        ids_BT: Tensor,
        keep_BT: Tensor | None = None,
        *,
        places_BP: Tensor,
        columns: VocabularySlice | None = None,
    ) -> Tensor:
        """Logits of the asked places and columns, (B, P, V); see `Network.hidden`."""
        transformer = self._network.model.transformer
        turn_TJ = self._turn(ids_BT.shape[1], ids_BT.device)
        keys_B11T = None if keep_BT is None else keep_BT[:, None, None]
        x_BTC = transformer.wte(ids_BT)
        for number, block in enumerate(self._blocks[:-1]):
            joint_BTO = self._first(ids_BT) if number == 0 else None
            if joint_BTO is None:
                joint_BTO = F.linear(_normed(x_BTC, self._floor), block.query_key_value_OI)
            query, key, value = self._split(_turned(joint_BTO, turn_TJ, of=2))
            seen_BHTD = F.scaled_dot_product_attention(query, key, value, attn_mask=keys_B11T)
            x_BTC = self._after(block, x_BTC, seen_BHTD)
        x_BPC = self._last(x_BTC, turn_TJ, keys_B11T, places_BP)
        return self._network.logits(transformer.ln_f(x_BPC), columns)

    def _first(self, ids_BT: Tensor) -> Tensor | None:
        """What the first block projects, looked up; None if that is more than to compute it."""
        weight_WC = self._network.model.transformer.wte.weight
        if self._words_WO is None and len(weight_WC) < ids_BT.numel():
            normed_WC = _normed(weight_WC, self._floor)
            self._words_WO = F.linear(normed_WC, self._blocks[0].query_key_value_OI)
        return None if self._words_WO is None else F.embedding(ids_BT, self._words_WO)

    def _last(
        self, x_BTC: Tensor, turn_TJ: Tensor, keys_B11T: Tensor | None, places_BP: Tensor
    ) -> Tensor:
        """The last block, which looks at all places from the asked ones alone."""
        block, width = self._blocks[-1], x_BTC.shape[-1]
        x_BPC = _rows_at(x_BTC, places_BP)
        query_BPC = F.linear(_normed(x_BPC, self._floor), block.query_key_value_OI[:width])
        key_value_BTO = F.linear(_normed(x_BTC, self._floor), block.query_key_value_OI[width:])
        (query,) = self._split(_turned(query_BPC, turn_TJ[places_BP], of=1))
        key, value = self._split(_turned(key_value_BTO, turn_TJ, of=1))
        seen_BHPD = F.scaled_dot_product_attention(query, key, value, attn_mask=keys_B11T)
        return self._after(block, x_BPC, seen_BHPD)

    def _after(self, block: _Copies, x_BTC: Tensor, seen_BHTD: Tensor) -> Tensor:
        """What was seen added to what came in, which is written over, then the gated MLP."""
        x_NC = x_BTC.flatten(0, 1)
        x_NC.addmm_(seen_BHTD.transpose(1, 2).flatten(2).flatten(0, 1), block.attn_out_OI.T)
        gate, up = F.linear(_normed(x_NC, self._floor), block.gate_up_OI).chunk(2, dim=-1)
        x_NC.addmm_(F.silu(gate).mul_(up), block.ff_out_OI.T)
        return x_NC.view_as(x_BTC)

    def _split(self, joint_BTO: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys, values or some of them, (B, H, T, D) each."""
        rows, places, outputs = joint_BTO.shape
        width = self._network.config.d_model
        shape = (rows, places, outputs // width, self._heads, width // self._heads)
        return joint_BTO.view(shape).transpose(1, 3).unbind(2)

    def _turn(self, length: int, device: torch.device) -> Tensor:
        """The rotary embedding of a number of places as complex numbers of modulus 1, (T, J)."""
        if length not in self._turns:
            cos_TD, sin_TD = self._network.rotation(length, device)
            half = cos_TD.shape[1] // 2
            turn = torch.complex(cos_TD[:, :half], sin_TD[:, :half])
            self._turns[length] = turn.repeat(1, self._heads)
        return self._turns[length]


def _products(block: Block) -> list[nn.Module]:
    attention = [block.q_proj, block.k_proj, block.v_proj, block.attn_out]
    return [*attention, block.ff_proj, block.up_proj, block.ff_out]


def _copies(block: Block, heads: int) -> _Copies:
    turned = [_side_by_side(one.weight, heads) for one in (block.q_proj, block.k_proj)]
    root = math.sqrt(block.q_proj.in_features)  # what `_normed` leaves out
    return _Copies(
        torch.cat((*turned, block.v_proj.weight)) * (block.attn_norm.weight * root),
        block.attn_out.weight,
        torch.cat((block.ff_proj.weight, block.up_proj.weight)) * (block.ff_norm.weight * root),
        block.ff_out.weight,
    )


def _side_by_side(weight_CI: Tensor, heads: int) -> Tensor:
    """A projection whose outputs i and i + D/2 of each head are neighbors."""
    return weight_CI.view(heads, 2, -1, weight_CI.shape[1]).transpose(1, 2).reshape_as(weight_CI)


def _turned(joint_BTO: Tensor, turn_TJ: Tensor, *, of: int) -> Tensor:
    """The first `of` parts of a joined product turned by their place, in place."""
    rows, places = joint_BTO.shape[:2]
    pairs = torch.view_as_complex(joint_BTO.view(rows, places, -1, turn_TJ.shape[-1], 2))
    pairs[:, :, :of].mul_(turn_TJ.unsqueeze(-2))
    return joint_BTO


def _rows_at(x_BTC: Tensor, places_BP: Tensor) -> Tensor:
    """As `taken`, row by row and not number by number."""
    rows, places = x_BTC.shape[:2]
    starts_B1 = torch.arange(0, rows * places, places, device=x_BTC.device)[:, None]
    return F.embedding(places_BP + starts_B1, x_BTC.flatten(0, 1))


def _normed(x: Tensor, floor: Tensor) -> Tensor:
    """As `RmsNorm` without its weight, divided by the root of C; `floor` is that of C eps.

    sqrt(|x|^2 + C eps) is a hypotenuse: one operation on the lengths, where a mean of squares takes
    four more.
    """
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.hypot_(floor)
