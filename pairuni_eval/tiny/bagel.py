"""The tiny BAGEL: the adapter's own classes at a size that a laptop trains and runs.

A picture of 32 pixels is 4 x 4 latent tokens, one per cell of the world, and 4 x 4 patches of the
vision tower. Widths and depths are those of the tiny Janus, so that its weights can begin the
understanding expert. The vocabulary is the tiny Janus' with the four marks of BAGEL and the tokens
of names; both sentences that ask for a thought are one token each. `save` writes a folder of the
official format; sizes of pictures and decodings that differ from the large model's stand in its
config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from torch import nn

from pairuni_eval.decoding import Decoding
from pairuni_eval.models.bagel.autoencoder import Autoencoder
from pairuni_eval.models.bagel.config import (
    AUTOENCODER_FILE,
    CONFIG,
    LANGUAGE_FILE,
    VISION_FILE,
    WEIGHT_FILES,
    AutoencoderConfig,
    BagelConfig,
    LanguageConfig,
    PictureShapes,
    ResizeRule,
    VisionConfig,
)
from pairuni_eval.models.bagel.inference import THINK_THEN_ANSWER, THINK_THEN_DRAW
from pairuni_eval.models.bagel.loading import MARKS
from pairuni_eval.models.bagel.network import Bagel
from pairuni_eval.models.folder_files import FolderFiles
from pairuni_eval.models.tokenizer_file import TOKENIZER_FILE
from pairuni_eval.records import Capability
from pairuni_eval.tiny import janus, questions, world
from pairuni_eval.tiny.names import NAME_TOKENS

UNK = "<|unk|>"
_SENTENCES = (THINK_THEN_ANSWER, THINK_THEN_DRAW)
_PATCH = 8  # pixels of the vision tower's patches
# Tables of places: with the large model's base four columns would hardly differ.
_BASE, _PLACES = 4.0, 1.5
_GROUPS = 32  # channels are in multiples of it
# How it is measured: a few points in time are enough for 16 tokens, and guidance of 2 serves best.
_DRAW = Decoding(cfg_scale=2.0, steps=11, timestep_shift=2.0, cfg_renorm="none")
_DECODINGS = {
    Capability.UNDERSTAND: Decoding(max_tokens=16),
    Capability.GENERATE: _DRAW,
    Capability.EDIT: _DRAW,
}


@dataclass(frozen=True)
class TinyBagelSize:
    """Widths and depths; the defaults are those of the tiny Janus."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384
    vision_hidden: int = 96
    vision_layers: int = 2
    vision_feed_forward: int = 288
    channels: int = _GROUPS
    latents: int = 4


class TinyBagel(NamedTuple):
    """A model with what belongs to it."""

    network: Bagel
    autoencoder: Autoencoder
    tokenizer: Tokenizer
    config: BagelConfig
    tables: Mapping[str, Mapping[str, Any]]  # the JSON files, as they are written

    def id_of(self, token: str) -> int:
        """The id of a token that the vocabulary has."""
        found = self.tokenizer.token_to_id(token)
        assert found is not None, token
        return int(found)


def build_tokenizer() -> Tokenizer:
    """A word-level tokenizer: lower case, punctuation split off, nothing added."""
    words = [word for word in janus.vocabulary(NAME_TOKENS) if word not in janus.SPECIAL]
    tokens = [*words, UNK, *_SENTENCES, *MARKS]
    raw = Tokenizer(WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=UNK))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"[^\w\s]"), behavior="isolated"),
        ]
    )
    raw.add_special_tokens(
        [AddedToken(one, special=True, normalized=False) for one in (*_SENTENCES, *MARKS)]
    )
    raw.add_tokens(
        [AddedToken(mark, single_word=True, normalized=False) for mark in questions.LETTERS]
    )
    pieces = [one for one in NAME_TOKENS if janus.words_of(one) != [one]]
    raw.add_tokens([AddedToken(one, normalized=False) for one in pieces])
    return raw


def build(seed: int, size: TinyBagelSize | None = None) -> TinyBagel:
    """An untrained model, initialized so that it learns."""
    size = size or TinyBagelSize()
    tokenizer = build_tokenizer()
    language = LanguageConfig(
        hidden_size=size.hidden,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        vocab_size=tokenizer.get_vocab_size(),
        rms_norm_eps=1e-6,
        rope_theta=10_000.0,
    )
    vision = VisionConfig(
        hidden_size=size.vision_hidden,
        intermediate_size=size.vision_feed_forward,
        num_attention_heads=size.heads,
        num_hidden_layers=size.vision_layers + 1,
        patch_size=_PATCH,
    )
    autoencoder = AutoencoderConfig((size.channels,) * 3, 1, size.latents)
    config = BagelConfig(
        language, vision, autoencoder, world.GRID, world.CELL // autoencoder.factor, world.GRID
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = TinyBagel(
            Bagel(config), Autoencoder(autoencoder), tokenizer, config, _tables(config)
        )
        _initialize(made)
    return made


@torch.no_grad()
def _initialize(made: TinyBagel) -> None:
    """Scale what enters to one common size; the residual branches of the auto-encoder to zero."""
    network = made.network
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear):
            layer.weight.normal_(std=layer.in_features**-0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.Embedding):
            layer.weight.normal_(std=0.02 if "vision_model" in name else 0.5)
    network.language_model.lm_head.weight.normal_(std=0.02)
    for table, side in (
        (network.latent_pos_embed, made.config.latent_side),
        (network.vit_pos_embed, made.config.vision_side),
    ):
        table.pos_embed.copy_(_PLACES * sine_table(side, table.pos_embed.shape[1], base=_BASE))
    for name, layer in made.autoencoder.named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.in_channels * layer.kernel_size[0] ** 2
            layer.weight.normal_(std=0.0 if name.endswith("conv2") else fan_in**-0.5)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def sine_table(side: int, size: int, *, base: float = 10_000.0) -> torch.Tensor:
    """The fixed table of places (side * side, size): half from the column, half from the row."""
    waves = base ** (-torch.arange(size // 4) / (size / 4))
    angles = torch.arange(side)[:, None] * waves
    one = torch.cat((angles.sin(), angles.cos()), dim=1)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.cat((one[column.flatten()], one[row.flatten()]), dim=1)


def _tables(config: BagelConfig) -> dict[str, dict[str, Any]]:
    """The JSON files of the folder, by name."""
    side = world.SIZE
    rule = ResizeRule(longest=side, shortest=side, stride=side)
    shapes = PictureShapes(source=rule, asked=rule, edited=rule, drawn=(side, side))
    language: dict[str, Any] = msgspec.to_builtins(config.language)
    vision: dict[str, Any] = msgspec.to_builtins(config.vision)
    return {
        LANGUAGE_FILE: {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "max_position_embeddings": 1024,
            **language,
        },
        VISION_FILE: {
            "model_type": "siglip_vision_model",
            "image_size": config.vision_side * config.vision.patch_size,
            **vision,
        },
        CONFIG: {
            "model_type": "bagel",
            "dtype": "float32",
            "bagel_shapes": msgspec.to_builtins(shapes),
            "bagel_decoding": {
                name.value: {"temperature": one.temperature, "max_tokens": one.max_tokens}
                | {"cfg_scale": one.cfg_scale, **one.further}
                for name, one in _DECODINGS.items()
            },
        },
    }


def load(folder: Path) -> TinyBagel:
    """Read a folder written by `save`, in float32 and eval mode."""
    made = build(0)
    made.network.load_state_dict(_float32(folder / WEIGHT_FILES[0]))
    made.autoencoder.load_state_dict(_float32(folder / AUTOENCODER_FILE))
    return made._replace(network=made.network.eval(), autoencoder=made.autoencoder.eval())


def _float32(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def step_of(folder: Path) -> int:
    """The training step at which a folder was written, from its `pairuni.json`."""
    return janus.step_of(folder)


def save(
    made: TinyBagel, folder: Path, *, recipe: str, step: int, stored: torch.dtype = torch.float32
) -> None:
    """Write a folder of the official format, and `pairuni.json`.

    Args:
        made: The model.
        folder: Made if it is not there.
        recipe: What made it.
        step: How many steps that took.
        stored: Precision of the network's weights on the disk; they are computed with in float32.
    """
    content = {
        name: (msgspec.json.format(msgspec.json.encode(table), indent=2) + b"\n")
        for name, table in made.tables.items()
    }
    content[TOKENIZER_FILE] = made.tokenizer.to_str(pretty=False).encode()
    declaration = {"capabilities": list(janus.CAPABILITIES), "recipe": recipe, "step": step}
    weights = {
        WEIGHT_FILES[0]: {
            name: tensor.to(stored) for name, tensor in made.network.state_dict().items()
        },
        AUTOENCODER_FILE: made.autoencoder.state_dict(),
    }
    FolderFiles(content).write(folder, declaration, weights)
