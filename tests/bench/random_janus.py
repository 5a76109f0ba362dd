"""Janus of published sizes with random weights, built where it will run; and prompts for it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import (
    GenerationConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusProcessor,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
)
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

from pairuni_eval.models.janus.prompts import Prompt
from pairuni_eval.tiny import janus


class Shape(NamedTuple):
    """Sizes of a Janus; those that are not named are the ones that all published ones have.

    Attributes:
        side: Codes along the side of a picture, of 16 px each.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int = 102_400
    codebook: int = 16_384
    vision: int = 1024
    vision_layers: int = 24
    vq_channels: int = 128
    side: int = 24


# deepseek-ai/Janus-Pro-1B and -7B, config.json; where that is silent, LlamaConfig's defaults.
PUBLISHED = {
    "janus-pro-1b": Shape("janus-pro-1b", 2048, 24, 16, 5632),
    "janus-pro-7b": Shape("janus-pro-7b", 4096, 30, 32, 11_008),
}
TINY = Shape("tiny", 64, 2, 4, 128, 512, 32, vision=32, vision_layers=1, vq_channels=32, side=4)


def processor_of(shape: Shape) -> JanusProcessor:
    """The tiny world's words over pictures of this size."""
    pixels = 16 * shape.side
    images = JanusImageProcessorPil(
        size={"height": pixels, "width": pixels},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        do_rescale=True,
        do_normalize=True,
        min_size=14,
    )
    return JanusProcessor(
        images,
        janus.build_tokenizer(),
        chat_template=janus.CHAT_TEMPLATE,
        num_image_tokens=shape.side**2,
    )


def config_of(shape: Shape, tokenizer: Any) -> JanusConfig:
    """transformers' configuration; tokens have the numbers of the tiny world."""
    text = LlamaConfig(
        vocab_size=max(shape.vocabulary, len(tokenizer)),
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=16_384,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = JanusVisionConfig(
        image_size=16 * shape.side,
        patch_size=16,
        hidden_size=shape.vision,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=16,
        num_image_tokens=shape.side**2,
        projection_dim=shape.hidden,
    )
    vq = JanusVQVAEConfig(
        num_embeddings=shape.codebook,
        base_channels=shape.vq_channels,
        num_patches=shape.side,
        projection_dim=shape.hidden,
        image_token_embed_dim=shape.hidden,
    )
    return JanusConfig(
        text_config=text,
        vision_config=vision,
        vq_config=vq,
        image_token_id=tokenizer.convert_tokens_to_ids(janus.IMAGE),
        tie_word_embeddings=False,
    )


def build(shape: Shape, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Random weights, drawn on the device: a host may not hold them.

    Nothing ends an answer: the lengths of all contenders are those that were asked for.
    """
    tokenizer = processor_of(shape).tokenizer
    former = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        torch.manual_seed(0)
        with device:
            model = JanusForConditionalGeneration(config_of(shape, tokenizer))
    finally:
        torch.set_default_dtype(former)
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id}
    begin = tokenizer.convert_tokens_to_ids(janus.BOI)
    model.generation_config = GenerationConfig(
        **ids, eos_token_id=None, generation_kwargs={"boi_token_id": begin}
    )
    found: nn.Module = model.eval().requires_grad_(False)
    return found


def prompts(model: Any, rows: int, length: int, *, draw: bool) -> Prompt:
    """Texts of random words, all of one length; no two rows are alike."""
    generation = model.generation_config
    words = torch.Generator().manual_seed(rows)
    ids_NP = torch.randint(20, model.config.text_config.vocab_size, (rows, length), generator=words)
    ids_NP[:, 0] = generation.bos_token_id
    if draw:
        ids_NP[:, -1] = generation.generation_kwargs["boi_token_id"]
    prompt = Prompt(
        ids_NP,
        torch.ones_like(ids_NP, dtype=torch.bool),
        None,
        torch.empty((rows, 0), dtype=torch.long),
    )
    return prompt.to(model.device, model.dtype)
