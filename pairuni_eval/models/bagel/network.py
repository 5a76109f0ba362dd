"""The two experts of BAGEL, which share one residual stream and one attention.

A token is the generation expert's if it is a latent of a picture, noisy or clean; every other token
is the understanding expert's, the marks around a picture among them. The expert chooses the weights
of norms, projections and the MLP. Attention is joint: a layer is

    x += o(attention(norm(x)));  x += mlp(norm(x))

with queries and keys normed per head before they are rotated.

A `Routing` names the two kinds of tokens by slices where they are contiguous, so that an expert is
a product over a slice; a training pack names them by indices.

Departure from the official code: nothing is cast to bfloat16 on the way, whatever the precision of
the weights.

Legend: R rows, L tokens of a block, S tokens of the cache before it, D hidden size, H query heads,
K key heads, E numbers of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.models.bagel.config import BagelConfig, LanguageConfig
from pairuni_eval.models.rms_norm import RmsNorm

GENERATION = "_moe_gen"
Place = slice | Tensor


class Routing(NamedTuple):
    """Which tokens of a block are whose: indices or slices along L; None for no token at all."""

    understanding: Place | None
    generation: Place | None

    def through(
        self, x_RLD: Tensor, one: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The understanding expert's `one` and the generation expert's `other`, each on its own."""
        if self.generation is None:
            return one(x_RLD)
        if self.understanding is None:
            return other(x_RLD)
        ours, theirs = one(x_RLD[:, self.understanding]), other(x_RLD[:, self.generation])
        out = ours.new_empty(*x_RLD.shape[:2], ours.shape[-1])
        out[:, self.understanding] = ours
        out[:, self.generation] = theirs
        return out


WORDS = Routing(slice(None), None)


class Cache(NamedTuple):
    """Keys and values (R, K, S, E) of every layer, of the tokens before a block."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


class HeadRotation(NamedTuple):
    """Cosines and sines (R, 1, L, E) that rotate queries and keys to their positions."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def at(cls, positions_RL: Tensor, config: LanguageConfig, dtype: torch.dtype) -> HeadRotation:
        """Of every position."""
        even = torch.arange(0, config.head, 2, device=positions_RL.device, dtype=torch.float32)
        angle_RLE = positions_RL[..., None].float() / config.rope_theta ** (even / config.head)
        angle_R1LE = torch.cat((angle_RLE, angle_RLE), dim=-1)[:, None]
        return cls(angle_R1LE.cos().to(dtype), angle_R1LE.sin().to(dtype))

    def __call__(self, x_RHLE: Tensor) -> Tensor:
        """Rotate; the halves of a head are the two sides of each plane."""
        first, second = x_RHLE.chunk(2, dim=-1)
        return x_RHLE * self.cos + torch.cat((-second, first), dim=-1) * self.sin


class Attention(nn.Module):
    """Joint attention of both experts' tokens; several query heads share a key head."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        size, head = config.hidden_size, config.head
        self.head = head
        wide, narrow = config.num_attention_heads * head, config.num_key_value_heads * head
        for kind in ("", GENERATION):
            self.add_module(f"q_proj{kind}", nn.Linear(size, wide))
            self.add_module(f"k_proj{kind}", nn.Linear(size, narrow))
            self.add_module(f"v_proj{kind}", nn.Linear(size, narrow))
            self.add_module(f"o_proj{kind}", nn.Linear(wide, size, bias=False))
            self.add_module(f"q_norm{kind}", RmsNorm(head, config.rms_norm_eps))
            self.add_module(f"k_norm{kind}", RmsNorm(head, config.rms_norm_eps))

    def forward(
        self,
        x_RLD: Tensor,
        routing: Routing,
        rotation: HeadRotation,
        past: tuple[Tensor, Tensor] | None,
        mask_R1LS: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What attention adds to x, and the block's own keys and values (R, K, L, E)."""
        query = rotation(self._heads(x_RLD, routing, "q_proj", norm="q_norm"))
        key = rotation(self._heads(x_RLD, routing, "k_proj", norm="k_norm"))
        value = self._heads(x_RLD, routing, "v_proj")
        keys, values = key, value
        if past is not None:
            keys, values = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        mixed = F.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask_R1LS, enable_gqa=True
        )
        mixed_RLD = mixed.transpose(1, 2).flatten(2)
        return routing.through(mixed_RLD, *_pair(self, "o_proj")), key, value

    def _heads(self, x_RLD: Tensor, routing: Routing, name: str, norm: str | None = None) -> Tensor:
        """A projection by heads, (R, heads, L, E), each head normed where asked."""

        def projected(kind: str) -> Callable[[Tensor], Tensor]:
            project, scale = getattr(self, name + kind), norm and getattr(self, norm + kind)

            def one(some_RLD: Tensor) -> Tensor:
                flat: Tensor = project(some_RLD)
                split = flat.view(*flat.shape[:-1], -1, self.head)
                return scale(split).flatten(-2) if scale else flat

            return one

        both = routing.through(x_RLD, projected(""), projected(GENERATION))
        heads: Tensor = both.view(*both.shape[:-1], -1, self.head).transpose(1, 2)
        return heads


class Mlp(nn.Module):
    """Gated MLP of one expert."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(size, inner, bias=False)
        self.up_proj = nn.Linear(size, inner, bias=False)
        self.down_proj = nn.Linear(inner, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """down(silu(gate) * up)."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """A layer of both experts."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = Attention(config)
        for kind in ("", GENERATION):
            self.add_module(f"mlp{kind}", Mlp(config))
            self.add_module(f"input_layernorm{kind}", RmsNorm(size, eps))
            self.add_module(f"post_attention_layernorm{kind}", RmsNorm(size, eps))

    def forward(
        self,
        x_RLD: Tensor,
        routing: Routing,
        rotation: HeadRotation,
        past: tuple[Tensor, Tensor] | None,
        mask_R1LS: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next residual stream, and the block's keys and values."""
        normed = routing.through(x_RLD, *_pair(self, "input_layernorm"))
        mixed, key, value = self.self_attn(normed, routing, rotation, past, mask_R1LS)
        x_RLD = x_RLD + mixed
        ours, theirs = (self._feed(kind) for kind in ("", GENERATION))
        return x_RLD + routing.through(x_RLD, ours, theirs), key, value

    def _feed(self, kind: str) -> Callable[[Tensor], Tensor]:
        norm, mlp = getattr(self, f"post_attention_layernorm{kind}"), getattr(self, f"mlp{kind}")
        return lambda some: mlp(norm(some))


class Experts(nn.Module):
    """All layers, with the embedding of words before them and both final norms behind."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        for kind in ("", GENERATION):
            self.add_module(f"norm{kind}", RmsNorm(config.hidden_size, config.rms_norm_eps))

    def forward(
        self,
        x_RLD: Tensor,
        positions_RL: Tensor,
        routing: Routing,
        past: Cache | None = None,
        mask_RLS: Tensor | None = None,
    ) -> tuple[Tensor, Cache]:
        """Hidden states of a block behind what is cached, and the block's keys and values.

        Args:
            x_RLD: What the layers read.
            positions_RL: Of the rotation.
            routing: Which expert has which token.
            past: What the block looks back on.
            mask_RLS: True where a token of the block sees a token of cache and block; None: all.
        """
        rotation = HeadRotation.at(positions_RL, self.config, x_RLD.dtype)
        mask_R1LS = None if mask_RLS is None else mask_RLS[:, None]
        keys, values = [], []
        for number, layer in enumerate(self.layers):
            before = None if past is None else (past.keys[number], past.values[number])
            x_RLD, key, value = layer(x_RLD, routing, rotation, before, mask_R1LS)
            keys.append(key)
            values.append(value)
        hidden_RLD = routing.through(x_RLD, *_pair(self, "norm"))
        return hidden_RLD, Cache(tuple(keys), tuple(values))


class LanguageModel(nn.Module):
    """The experts and the head that turns hidden states into logits of words."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.model = Experts(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)


class TimeEmbedder(nn.Module):
    """A time in [0, 1], as it is, by 128 frequencies through an MLP."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, size), nn.SiLU(), nn.Linear(size, size)
        )

    def forward(self, time: Tensor) -> Tensor:
        """(...,) to (..., D)."""
        steps = torch.arange(_FREQUENCIES, device=time.device, dtype=torch.float32) / _FREQUENCIES
        angle = time.float()[..., None] * 10_000.0**-steps
        waves = torch.cat((angle.cos(), angle.sin()), dim=-1)
        out: Tensor = self.mlp(waves.to(next(self.mlp.parameters()).dtype))
        return out


_FREQUENCIES = 128


class PositionTable(nn.Module):
    """A fixed table of places, row by row; it is stored with the weights."""

    pos_embed: Tensor

    def __init__(self, side: int, size: int) -> None:
        super().__init__()
        self.register_buffer("pos_embed", torch.zeros(side * side, size))


def _pair(module: nn.Module, name: str) -> tuple[Any, Any]:
    """The same part of both experts."""
    return getattr(module, name), getattr(module, name + GENERATION)


class Bagel(nn.Module):
    """All weights of `ema.safetensors`, under their official names."""

    def __init__(self, config: BagelConfig) -> None:
        from pairuni_eval.models.bagel.vision import Connector, VisionModel

        super().__init__()
        self.config = config
        size = config.language.hidden_size
        self.language_model = LanguageModel(config.language)
        self.time_embedder = TimeEmbedder(size)
        self.vae2llm = nn.Linear(config.token, size)
        self.llm2vae = nn.Linear(size, config.token)
        self.latent_pos_embed = PositionTable(config.latent_side, size)
        self.vit_model = VisionModel(config.vision, config.vision_side)
        self.connector = Connector(config.vision.hidden_size, size)
        self.vit_pos_embed = PositionTable(config.vision_side, size)

    @property
    def experts(self) -> Experts:
        """The layers that both tasks share."""
        return self.language_model.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.llm2vae.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.llm2vae.weight.dtype

    def words(self, ids: Tensor) -> Tensor:
        """What the experts read for words."""
        out: Tensor = self.experts.embed_tokens(ids)
        return out

    def latents(self, tokens_RTN: Tensor, places_RT: Tensor, time_RT: Tensor) -> Tensor:
        """What the experts read for latent tokens, clean or noisy: (R, T, D).

        Args:
            tokens_RTN: The tokens; clean ones have time 0.
            places_RT: Their rows of the position table.
            time_RT: Their times in [0, 1], 1 for noise.
        """
        x: Tensor = self.vae2llm(tokens_RTN.to(self.dtype))
        x = x + self.time_embedder(time_RT)
        return x + self.latent_pos_embed.pos_embed[places_RT]

    def seen(self, patches_CTP: Tensor, places_T: Tensor) -> Tensor:
        """What the experts read for pictures of one size that the vision tower sees: (C, T, D).

        Args:
            patches_CTP: Patches, numbers in the order row, column, channel.
            places_T: Their rows of both position tables.
        """
        hidden = self.vit_model(patches_CTP.to(self.dtype), places_T)
        x: Tensor = self.connector(hidden)
        return x + self.vit_pos_embed.pos_embed[places_T]
