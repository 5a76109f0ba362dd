"""The sizes of a Janus, from its configuration alone."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from pairuni_eval.models.cast_weights import CAST_LAYERS
from pairuni_eval.models.checkpoint import checked_config, locate, read_config
from pairuni_eval.models.janus.teacher_forcing import scored_positions, token_cost
from pairuni_eval.models.outline import Outline, Weight

_OWN = "janus."  # what the policy puts before transformers' names


def outline_of(checkpoint: str) -> Outline | None:
    """The sizes of a checkpoint in transformers' format; None for the original one.

    Raises:
        UserError: for a checkpoint that is missing or whose configuration cannot be read.
    """
    from transformers import JanusConfig, JanusForConditionalGeneration

    folder = locate(checkpoint).folder
    table = read_config(folder)
    if table.get("model_type") != "janus":
        return None
    config = checked_config(JanusConfig, table, folder / "config.json")
    with torch.device("meta"):
        janus = JanusForConditionalGeneration(config)
    text, side = config.text_config, config.vq_config.num_patches
    size = text.head_dim or text.hidden_size // text.num_attention_heads
    return Outline(
        _weights(janus),
        f"{_OWN}model.language_model.layers.",
        text.num_hidden_layers,
        text.hidden_size,
        text.intermediate_size,
        text.num_attention_heads,
        text.num_key_value_heads * size,
        text.vocab_size,
        config.vq_config.num_embeddings,
        side * side,
        config.vision_config.num_image_tokens,
        partial(scored_positions, cost=token_cost(text.hidden_size, text.intermediate_size)),
    )


def _weights(janus: nn.Module) -> dict[str, Weight]:
    products = {
        f"{name}.{own}"
        for name, module in janus.named_modules()
        if isinstance(module, CAST_LAYERS)
        for own, _ in module.named_parameters(recurse=False)
    }
    return {
        f"{_OWN}{name}": Weight(tuple(one.shape), name in products)
        for name, one in janus.named_parameters()
    }
