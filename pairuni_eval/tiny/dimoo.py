"""The tiny Lumina-DiMOO: the adapter's own classes at a size that a laptop trains and runs.

Pictures are 16 codes going in and out, one per cell of the world, and there is no vision tower. The
vocabulary is that of the tiny Janus with the special tokens of Lumina-DiMOO, the tokens of names,
and the codes as its last rows; each of the three system sentences is one token, so that a row has
30 to 60. `save` writes a folder of the official format; sizes, ids and decodings that differ from
the large model's stand in its config.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from pairuni_eval.models.folder_files import FolderFiles
from pairuni_eval.models.lumina_dimoo import prompts
from pairuni_eval.models.lumina_dimoo.config import (
    VQ_FOLDER,
    DimooConfig,
    NetworkConfig,
    Shapes,
    TokenIds,
    VqConfig,
)
from pairuni_eval.models.lumina_dimoo.files import VQ_WEIGHTS, WEIGHTS
from pairuni_eval.models.lumina_dimoo.layout import CodeGrid, Layout
from pairuni_eval.models.lumina_dimoo.network import Network
from pairuni_eval.models.lumina_dimoo.vq import Vq
from pairuni_eval.records import Capability
from pairuni_eval.tiny import janus, questions, world
from pairuni_eval.tiny.names import NAME_TOKENS

_UNK, _END = "<|unk|>", "<|endoftext|>"
_NEWLINE, _MASK, _PAD = "<end-of-row>", "<|mdm_mask|>", "<|pad|>"
_FRAME = ("<system>", "</system>", "<user>", "</user>")
_SENTENCES = (prompts.SYSTEM_ASK, prompts.SYSTEM_DRAW, prompts.edit("").system)
# In the order of their ids, behind the words and before the codes.
_SPECIAL = {
    "unknown": _UNK,
    "endoftext": _END,
    "newline": _NEWLINE,
    "mask": _MASK,
    "pad": _PAD,
    "boi": "<IMAGE>",
    "eoi": "</IMAGE>",
    "uncondition": prompts.UNCONDITION,
    "answer_start": "<answer>",
    "answer_end": "</answer>",
}
CODES = 32
GRID = CodeGrid(world.GRID, world.GRID)
ANSWER = 8  # places of an answer: a thought, a word and the end
# How it is measured: a few steps are enough for 16 codes, and two for an answer.
_DECODINGS = {
    Capability.UNDERSTAND: Decoding(steps=2, answer_tokens=ANSWER),
    Capability.GENERATE: Decoding(temperature=1.0, cfg_scale=3.0, steps=8),
    Capability.EDIT: Decoding(temperature=1.0, cfg_scale=2.0, cfg_image_scale=1.5, steps=8),
}


@dataclass(frozen=True)
class TinyDimooSize:
    """Widths and depths; the defaults are those of the shipped weights."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384
    code_dim: int = 8
    vq_channels: int = 32


class TinyDimoo(NamedTuple):
    """A model with what belongs to it."""

    network: Network
    vq: Vq
    layout: Layout
    config: DimooConfig
    tables: dict[str, dict[str, Any]]  # config.json and the VQ's, as they are written


def build_tokenizer() -> Tokenizer:
    """A word-level tokenizer: lower case, punctuation split off, nothing added."""
    words = [word for word in janus.vocabulary(NAME_TOKENS) if word not in janus.SPECIAL]
    tokens = [*words, *_FRAME, *_SENTENCES, *_SPECIAL.values()]
    raw = Tokenizer(WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=_UNK))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"[^\w\s]"), behavior="isolated"),
        ]
    )
    special = (*_FRAME, *_SENTENCES, *_SPECIAL.values())
    raw.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])
    raw.add_tokens(
        [AddedToken(mark, single_word=True, normalized=False) for mark in questions.LETTERS]
    )
    pieces = [one for one in NAME_TOKENS if janus.words_of(one) != [one]]
    raw.add_tokens([AddedToken(one, normalized=False) for one in pieces])
    return raw


def build(seed: int, size: TinyDimooSize | None = None) -> TinyDimoo:
    """An untrained model, initialized so that it learns."""
    size = size or TinyDimooSize()
    tokenizer = build_tokenizer()
    words = tokenizer.get_vocab_size()
    known = tokenizer.get_vocab()
    special = {name: known[token] for name, token in _SPECIAL.items() if name != "unknown"}
    ids = TokenIds(image_offset=words, codebook_size=CODES, **special)
    network = NetworkConfig(
        d_model=size.hidden,
        n_layers=size.layers,
        n_heads=size.heads,
        mlp_hidden_size=size.feed_forward,
        vocab_size=words + CODES,
        embedding_size=words + CODES,
        rms_norm_eps=1e-5,
        rope_theta=500_000.0,
    )
    vq = VqConfig(
        block_out_channels=(size.vq_channels,) * 4,
        layers_per_block=1,
        latent_channels=size.code_dim,
        num_vq_embeddings=CODES,
        norm_num_groups=size.vq_channels,
    )
    side = world.SIZE
    shapes = Shapes(small=side, large=side, unit=side, drawn=side, answer=ANSWER)
    config = DimooConfig(network, vq, ids, shapes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = TinyDimoo(
            Network(network),
            Vq(vq),
            Layout(tokenizer, ids, Path("tiny-dimoo")),
            config,
            _tables(config),
        )
        _initialize(made)
    return made


@torch.no_grad()
def _initialize(made: TinyDimoo) -> None:
    """Scale what enters and leaves to one common size, residual branches of the VQ to zero."""
    transformer = made.network.model.transformer
    transformer.wte.weight.normal_(std=0.5)
    transformer.ff_out.weight.normal_(std=0.02)
    for block in made.network.blocks:
        for layer in block.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(std=layer.in_features**-0.5)
    for name, layer in made.vq.named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.in_channels * layer.kernel_size[0] ** 2
            layer.weight.normal_(std=0.0 if name.endswith("conv2") else fan_in**-0.5)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _tables(config: DimooConfig) -> dict[str, dict[str, Any]]:
    """The two config files in the official form."""
    plain: dict[str, Any] = msgspec.to_builtins(config.network)
    network = {
        "architectures": ["LLaDAForMultiModalGeneration"],
        "model_type": "llada",
        "block_type": "llama",
        "activation_type": "silu",
        "layer_norm_type": "rms",
        "rope": True,
        "rope_full_precision": True,
        "weight_tying": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "attention_layer_norm": False,
        "alibi": False,
        "scale_logits": False,
        "input_emb_norm": False,
        "block_group_size": 1,
        "n_kv_heads": config.network.n_heads,
        "mask_token_id": config.ids.mask,
        "eos_token_id": config.ids.endoftext,
        "pad_token_id": config.ids.endoftext,
        "dimoo_token_ids": msgspec.to_builtins(config.ids),
        "dimoo_shapes": msgspec.to_builtins(config.shapes),
        "dimoo_decoding": {
            name.value: {"temperature": one.temperature, "cfg_scale": one.cfg_scale, **one.further}
            for name, one in _DECODINGS.items()
        },
    }
    levels = len(config.vq.block_out_channels)
    vq = {
        "_class_name": "VQModel",
        "act_fn": "silu",
        "norm_type": "group",
        "mid_block_add_attention": False,
        "lookup_from_codebook": True,
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        **msgspec.to_builtins(config.vq),
    }
    return {"config.json": network | plain, f"{VQ_FOLDER}/config.json": vq}


def load(folder: Path) -> TinyDimoo:
    """Read a folder written by `save`, in float32 and eval mode."""
    made = build(0)
    made.network.load_state_dict(load_file(folder / "model.safetensors"))
    vq = folder / VQ_FOLDER / "diffusion_pytorch_model.safetensors"
    made.vq.load_state_dict(load_file(vq))
    return made._replace(network=made.network.eval(), vq=made.vq.eval())


def save(made: TinyDimoo, folder: Path, *, recipe: str, step: int) -> None:
    """Write a folder of the official format, and `pairuni.json`."""
    content = {
        name: (json.dumps(table, indent=2) + "\n").encode() for name, table in made.tables.items()
    }
    content["tokenizer.json"] = made.layout.tokenizer_json().encode()
    declaration = {"capabilities": list(janus.CAPABILITIES), "recipe": recipe, "step": step}
    weights = {WEIGHTS: made.network.state_dict(), VQ_WEIGHTS: made.vq.state_dict()}
    FolderFiles(content).write(folder, declaration, weights)


def step_of(folder: Path) -> int:
    """The training step at which a folder was written, from its `pairuni.json`."""
    return janus.step_of(folder)


def codes_of(scene: world.Scene) -> Sequence[Sequence[int]]:
    """The codes of a picture, row by row: the state of each cell."""
    rows: list[list[int]] = world.states_of(scene).reshape(world.GRID, world.GRID).tolist()
    return rows
