"""The tiny model: transformers' own Janus classes at a size that a laptop trains and runs.

Inputs are 32x32 px pictures: 16 patches of 8 px for the vision tower and 16 VQ codes for drawing,
one of each per cell of the world. The tokenizer knows the words of the world and nothing else.
Layouts, with `<boi>` for the begin-of-image token and the chat template of Janus-Pro:
  answer  bos <|User|>: image text <|Assistant|>: answer eos
  draw    bos <|User|>: text <|Assistant|>: <boi> 16 codes
  edit    bos <|User|>: image text <|Assistant|>: <boi> 16 codes
`save` writes a plain transformers folder and, beside it, `pairuni.json`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from PIL.Image import Image
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusProcessor,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

from pairuni_eval import prompts as prompt_forms
from pairuni_eval.tiny import edits, knowledge, prompts, questions, world

# Shapes: B pictures, C = 3 channels, H = W = 32 px.

PAD, BOS, EOS, UNK = "<|pad|>", "<|begin|>", "<|end|>", "<|unk|>"
IMAGE, BOI, EOI = "<image_placeholder>", "<begin_of_image>", "<end_of_image>"
USER, ASSISTANT = "<|User|>", "<|Assistant|>"
CAPABILITIES: tuple[str, ...] = ("understand", "generate", "edit")
READ_GRID = "list the {} of all cells"
LOCATE = "list the row and column of all shapes"
DRAW_GRID = "cells {}"

SPECIAL = (PAD, BOS, EOS, UNK, IMAGE, BOI, EOI, USER, ASSISTANT)
_WORD = re.compile(r"\w+|[^\w\s]")
_SPARE_WORDS = "please draw describe image picture this photo make it not same first last and none"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|User|>: ' if message['role'] == 'user' else '<|Assistant|>: ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{{ '<image_placeholder>' if part['type'] == 'image' else part['text'] }}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '\n\n' if message['role'] == 'user' else '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|>:' }}{% endif %}"
)


@dataclass(frozen=True)
class TinySize:
    """Widths and depths of the tiny model; the defaults are those of the shipped weights."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384
    vision_hidden: int = 96
    vision_layers: int = 2
    vision_heads: int = 4
    codes: int = 32
    code_dim: int = 8
    vq_channels: int = 32
    vq_latent: int = 32
    positions: int = 512


class Tiny(NamedTuple):
    """A model and the processor that belongs to it."""

    model: JanusForConditionalGeneration
    processor: JanusProcessor


# Tokenizer


def words_of(text: str) -> list[str]:
    """Lower-case words and single punctuation marks, as the tokenizer splits them."""
    return _WORD.findall(text.lower())


def _texts() -> Iterator[str]:
    yield from prompts.wordings()
    yield from knowledge.wordings()
    yield from questions.wordings()
    yield from edits.wordings()
    yield prompt_forms.mmmu_prompt("", ["", ""])
    yield prompt_forms.pope_prompt("")
    yield READ_GRID.format("color shape")
    yield LOCATE
    yield DRAW_GRID.format("")
    yield _SPARE_WORDS
    yield ". , ; : ! ? ' \" ( ) < >"


def vocabulary(further: Sequence[str] = ()) -> dict[str, int]:
    """Words to ids: the special tokens first, then the four option letters, then sorted words.

    Args:
        further: Tokens behind all of these, whose ids they do not move.

    Raises:
        ValueError: for a further token that is there already.
    """
    words = {word for text in _texts() for word in words_of(text)}
    tokens = (*SPECIAL, *questions.LETTERS, *sorted(words), *further)
    if len(set(tokens)) < len(tokens):
        raise ValueError(f"tokens that are there already: {', '.join(words & set(further))}")
    return {token: i for i, token in enumerate(tokens)}


def build_tokenizer(further: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A word-level tokenizer: lower case, punctuation split off, begin token put in front.

    Option letters in capitals are tokens of their own, so that a decoded answer is "A" and the
    article "a" is another word. Of the further tokens those with punctuation are kept in one piece.
    """
    raw = Tokenizer(WordLevel(vocabulary(further), unk_token=UNK))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"[^\w\s]"), behavior="isolated"),
        ]
    )
    raw.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    raw.add_tokens(
        [AddedToken(mark, single_word=True, normalized=False) for mark in questions.LETTERS]
    )
    raw.add_tokens([AddedToken(one, normalized=False) for one in further if words_of(one) != [one]])
    raw.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, raw.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": IMAGE, "boi_token": BOI, "eoi_token": EOI},
    )


def build_processor(further: Sequence[str] = ()) -> JanusProcessor:
    """Tokenizer, chat template and PIL image processor (pixels in [-1, 1]) in one."""
    images = JanusImageProcessorPil(
        size={"height": world.SIZE, "width": world.SIZE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        do_rescale=True,
        do_normalize=True,
        min_size=world.SIZE,
    )
    return JanusProcessor(
        images, build_tokenizer(further), chat_template=CHAT_TEMPLATE, num_image_tokens=world.CELLS
    )


def chat(text: str, *, images: int = 0) -> str:
    """The prompt of one turn, exactly as the chat template words it."""
    return f"{USER}: {(IMAGE + chr(10)) * images}{text}\n\n{ASSISTANT}:"


def pixel_values(pictures: Sequence[Image]) -> Tensor:
    """Pictures as (B, 3, 32, 32) floats in [-1, 1], equal to what the processor makes of them."""
    arrays = [torch.from_numpy(world.to_array(picture).copy()) for picture in pictures]
    return torch.stack(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1.0


# Model

_EMBEDDING, _OUTPUT = 0.5, 0.02  # standard deviations of an untrained token's rows
_FURTHER = 0.02  # of rows that a trained model gets for new tokens


def build_config(tokenizer: PreTrainedTokenizerFast, size: TinySize) -> JanusConfig:
    """A Janus config whose fields agree with the tokenizer, the world and each other."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.positions,
        initializer_range=size.hidden**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return JanusConfig(
        text_config=text,
        vision_config=_vision_config(size),
        vq_config=_vq_config(size),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        tie_word_embeddings=False,
    )


def _vision_config(size: TinySize) -> JanusVisionConfig:
    return JanusVisionConfig(
        image_size=world.SIZE,
        patch_size=world.CELL,
        hidden_size=size.vision_hidden,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=size.vision_heads,
        mlp_ratio=3.0,
        num_image_tokens=world.CELLS,
        projection_dim=size.hidden,
        initializer_range=size.vision_hidden**-0.5,
        depth=2,
    )


def _vq_config(size: TinySize) -> JanusVQVAEConfig:
    return JanusVQVAEConfig(
        embed_dim=size.code_dim,
        num_embeddings=size.codes,
        latent_channels=size.vq_latent,
        base_channels=size.vq_channels,
        channel_multiplier=[1, 1, 1, 1],
        num_res_blocks=1,
        num_patches=world.GRID,
        projection_dim=size.hidden,
        image_token_embed_dim=size.hidden,
        initializer_range=0.02,
    )


def build(seed: int, size: TinySize | None = None, further: Sequence[str] = ()) -> Tiny:
    """An untrained model, initialized so that it learns, and its processor; set by `seed`.

    Args:
        seed: Of the weights.
        size: Widths and depths.
        further: Tokens behind the words of the world, e.g. `names.NAME_TOKENS`.
    """
    processor = build_processor(further)
    config = build_config(processor.tokenizer, size or TinySize())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = JanusForConditionalGeneration(config)
        _initialize(model)
    model.generation_config = _generation_config(processor.tokenizer)
    return Tiny(model.eval(), processor)


@torch.no_grad()
def _initialize(model: JanusForConditionalGeneration) -> None:
    """Scale what enters the language model to one common size.

    transformers' 0.02 for everything leaves a model this narrow unable to learn.
    """
    inner = model.model
    inner.language_model.embed_tokens.weight.normal_(std=_EMBEDDING)
    model.lm_head.weight.normal_(std=_OUTPUT)
    inner.generation_embeddings.weight.normal_()
    inner.vision_model.embeddings.position_embedding.weight.normal_(std=0.5)
    for part in (inner.aligner, inner.generation_aligner, inner.generation_head):
        for layer in part.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(std=layer.in_features**-0.5)
                layer.bias.zero_()
    _initialize_vq(inner.vqmodel)


@torch.no_grad()
def with_tokens(tiny: Tiny, further: Sequence[str], *, seed: int) -> Tiny:
    """A model like this one, with rows for tokens behind its own; of those nothing is changed.

    Args:
        tiny: A model with the words of the world; it is left as it is.
        further: The new tokens, e.g. `names.NAME_TOKENS`.
        seed: Of their rows, which are drawn small: an optimizer's steps then turn them to a meaning
            soon, as they would not turn a row of the size of a trained one.

    Raises:
        ValueError: if the model has another vocabulary.
    """
    if dict(tiny.processor.tokenizer.get_vocab()) != vocabulary():
        raise ValueError("only a model with the words of the world takes further tokens")
    model, rng = copy.deepcopy(tiny.model), torch.Generator().manual_seed(seed)
    grown = model.config.text_config.vocab_size + len(further)
    model.resize_token_embeddings(grown, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.lm_head):
        layer.weight[-len(further) :].normal_(std=_FURTHER, generator=rng)
    return Tiny(model.eval(), build_processor(further))


def _initialize_vq(vq: nn.Module) -> None:
    """Keep the size of what passes, with residual branches that start at zero."""
    for name, layer in vq.named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.in_channels * layer.kernel_size[0] ** 2
            quiet = name.endswith(("conv2", "proj_out"))
            layer.weight.normal_(std=0.0 if quiet else fan_in**-0.5)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _generation_config(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        max_new_tokens=64,
    )
    config.generation_kwargs = {"boi_token_id": tokenizer.convert_tokens_to_ids(BOI)}
    return config


# Files


def save(tiny: Tiny, folder: Path, *, recipe: str, step: int) -> None:
    """Write a folder that `from_pretrained` and `AutoProcessor` read, and `pairuni.json`."""
    tiny.model.save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    declaration = {"capabilities": list(CAPABILITIES), "recipe": recipe, "step": step}
    (folder / "pairuni.json").write_text(json.dumps(declaration, indent=2) + "\n")


def load(folder: Path) -> Tiny:
    """Read a folder written by `save`, in float32 and eval mode."""
    model = JanusForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return Tiny(model.eval(), JanusProcessor.from_pretrained(folder))


def step_of(folder: Path) -> int:
    """The training step at which a folder was written, from its `pairuni.json`."""
    return int(json.loads((folder / "pairuni.json").read_text())["step"])


def shipped() -> Path:
    """The folder of the weights that come with the package."""
    return Path(__file__).parent / "weights"
