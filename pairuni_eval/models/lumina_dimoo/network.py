"""The network of Lumina-DiMOO: LLaDA's decoder blocks with attention in both directions.

Pre-norm blocks of rotary attention and a gated MLP, as in Llama, without a causal mask, biases or
tied weights (Nie et al. 2025, LLaDA; Xin et al. 2025, Lumina-DiMOO). Parameters are named as in the
official checkpoint.

Departures from the official code: keys of padding are masked (there the bias is computed and
dropped, so that a padded row sees its padding), and logits are computed for the asked places and
columns alone.

Legend: B rows, T places, H heads, D width of a head, C hidden size, P places asked for, V columns.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairuni_eval.models.lumina_dimoo.config import NetworkConfig
from pairuni_eval.models.rms_norm import RmsNorm


class Rotation(NamedTuple):
    """Cosines and sines of the rotary embedding, (T, D) each, in float32."""

    cos_TD: Tensor
    sin_TD: Tensor

    def at(self, places_BP: Tensor) -> Rotation:
        """That of some places of each row, (B, 1, P, D)."""
        return Rotation(self.cos_TD[places_BP][:, None], self.sin_TD[places_BP][:, None])


def rotation(length: int, width: int, theta: float, device: torch.device) -> Rotation:
    """The rotary embedding of places 0 to `length`, computed in float32."""
    exponent = torch.arange(0, width, 2, dtype=torch.float32, device=device) / width
    angle_TF = torch.outer(
        torch.arange(length, dtype=torch.float32, device=device), theta**-exponent
    )
    angle_TD = torch.cat((angle_TF, angle_TF), dim=-1)
    return Rotation(angle_TD.cos(), angle_TD.sin())


def rotated(states_BHTD: Tensor, by: Rotation) -> Tensor:
    """Queries or keys turned by their place; in float32, whatever they come in."""
    x = states_BHTD.float()
    first, second = x.chunk(2, dim=-1)
    turned = x * by.cos_TD + torch.cat((-second, first), dim=-1) * by.sin_TD
    return turned.to(states_BHTD.dtype)


def taken(x_BTC: Tensor, places_BP: Tensor) -> Tensor:
    """Hidden states at some places, (B, P, C)."""
    return x_BTC.gather(1, places_BP[..., None].expand(-1, -1, x_BTC.shape[-1]))


class Block(nn.Module):
    """Attention over all places, then a gated MLP, each added to what came in."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        width, inner = config.d_model, config.mlp_hidden_size
        self._heads = config.n_heads
        self.attn_norm = RmsNorm(width, config.rms_norm_eps)
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.ff_norm = RmsNorm(width, config.rms_norm_eps)
        self.ff_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.ff_out = nn.Linear(inner, width, bias=False)

    def forward(
        self,
        x_BTC: Tensor,
        by: Rotation,
        keys_B11T: Tensor | None,
        places_BP: Tensor | None = None,
    ) -> Tensor:
        """The next hidden states, of all places or of some, which look at all.

        Args:
            x_BTC: Hidden states.
            by: The rotary embedding of their places.
            keys_B11T: True where a place may be looked at; None where all may.
            places_BP: The places that are computed; None for all.
        """
        h_BTC = self.attn_norm(x_BTC)
        key, value = self._split(self.k_proj(h_BTC)), self._split(self.v_proj(h_BTC))
        asked_BPC, here = h_BTC, by
        if places_BP is not None:
            asked_BPC, x_BTC = taken(h_BTC, places_BP), taken(x_BTC, places_BP)
            here = by.at(places_BP)
        query = self._split(self.q_proj(asked_BPC))
        seen_BHPD = F.scaled_dot_product_attention(
            rotated(query, here), rotated(key, by), value, attn_mask=keys_B11T
        )
        return self._after(x_BTC, seen_BHPD)

    def cached(
        self,
        x_BPC: Tensor,
        by: Rotation,
        keys_B11T: Tensor | None,
        places_BP: Tensor,
        before: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The next hidden states of some places, and keys and values of all, not yet rotated.

        Args:
            x_BPC: Hidden states of these places.
            by: The rotary embedding of all places.
            keys_B11T: True where a place may be looked at; None where all may.
            places_BP: Where they stand.
            before: Keys and values of all places from an earlier call; None if these are all.
        """
        h_BPC = self.attn_norm(x_BPC)
        query, key, value = (self._split(p(h_BPC)) for p in (self.q_proj, self.k_proj, self.v_proj))
        if before is not None:
            index = places_BP[:, None, :, None].expand_as(key)
            key, value = before[0].scatter(2, index, key), before[1].scatter(2, index, value)
        seen_BHPD = F.scaled_dot_product_attention(
            rotated(query, by.at(places_BP)), rotated(key, by), value, attn_mask=keys_B11T
        )
        return self._after(x_BPC, seen_BHPD), (key, value)

    def _after(self, x_BTC: Tensor, seen_BHTD: Tensor) -> Tensor:
        """What was seen added to what came in, then the gated MLP."""
        x_BTC = x_BTC + self.attn_out(seen_BHTD.transpose(1, 2).flatten(2))
        h_BTC = self.ff_norm(x_BTC)
        gate_BTF = F.silu(self.ff_proj(h_BTC), inplace=not torch.is_grad_enabled())
        out: Tensor = x_BTC + self.ff_out(gate_BTF * self.up_proj(h_BTC))
        return out

    def _split(self, x_BTC: Tensor) -> Tensor:
        rows, places = x_BTC.shape[:2]
        return x_BTC.view(rows, places, self._heads, -1).transpose(1, 2)


class _Transformer(nn.Module):
    """What the official checkpoint calls `model.transformer`."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_f = RmsNorm(config.d_model, config.rms_norm_eps)
        self.ff_out = nn.Linear(config.d_model, config.vocab_size, bias=False)


class _Body(nn.Module):
    """What the official checkpoint calls `model`."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.transformer = _Transformer(config)


class VocabularySlice(NamedTuple):
    """Columns of the vocabulary, from `start` to before `stop`."""

    start: int
    stop: int


class GivesLogits(Protocol):
    """What samplers and training take logits from: a `Network`, or what stands for one."""

    def __call__(
        self,
        ids_BT: Tensor,
        keep_BT: Tensor | None = None,
        *,
        places_BP: Tensor,
        columns: VocabularySlice | None = None,
    ) -> Tensor:
        """Logits of the asked places and columns, (B, P, V); see `Network.hidden`."""
        ...


class Network(nn.Module):
    """The whole network; `model.transformer` holds all parameters under their official names."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.model = _Body(config)
        self.recomputes = False

    @property
    def blocks(self) -> list[Block]:
        """The blocks in order."""
        return [block for block in self.model.transformer.blocks if isinstance(block, Block)]

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.transformer.wte.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are kept in."""
        return self.model.transformer.wte.weight.dtype

    def rotation(self, length: int, device: torch.device) -> Rotation:
        """The rotary embedding of a number of places."""
        config = self.config
        return rotation(length, config.d_model // config.n_heads, config.rope_theta, device)

    def hidden(
        self, ids_BT: Tensor, keep_BT: Tensor | None = None, places_BP: Tensor | None = None
    ) -> Tensor:
        """Hidden states after the final norm, (B, T, C), or (B, P, C) of some places.

        Args:
            ids_BT: Tokens, padded on either side where rows differ in length.
            keep_BT: True where there is no padding; None where no row has any. Rotary places are
                relative, so the side of the padding does not matter.
            places_BP: The places that are asked for; None for all. The last block computes no more.
        """
        transformer = self.model.transformer
        by = self.rotation(ids_BT.shape[1], ids_BT.device)
        keys_B11T = None if keep_BT is None else keep_BT[:, None, None, :]
        x_BTC = transformer.wte(ids_BT)
        *before, last = self.blocks
        for block in before:
            x_BTC = self._run(block, x_BTC, by, keys_B11T)
        x_BTC = self._run(last, x_BTC, by, keys_B11T, places_BP)
        out: Tensor = transformer.ln_f(x_BTC)
        return out

    def _run(self, block: Block, *args: object) -> Tensor:
        """A block, computed again in the backward pass where that is asked for."""
        if self.recomputes and torch.is_grad_enabled():
            out: Tensor = checkpoint(block, *args, use_reentrant=False)
            return out
        made: Tensor = block(*args)
        return made

    def logits(self, hidden: Tensor, columns: VocabularySlice | None = None) -> Tensor:
        """Logits of hidden states of any shape, of some columns of the vocabulary or of all."""
        weight = self.model.transformer.ff_out.weight
        return F.linear(hidden, weight if columns is None else weight[slice(*columns)])

    def forward(
        self,
        ids_BT: Tensor,
        keep_BT: Tensor | None = None,
        *,
        places_BP: Tensor | None = None,
        columns: VocabularySlice | None = None,
    ) -> Tensor:
        """Logits of the asked places and columns, (B, P, V); of all without `places_BP`."""
        return self.logits(self.hidden(ids_BT, keep_BT, places_BP), columns)
