"""DeepSeek's config.json and transformers' `JanusConfig`, both ways.

The original names neither the width nor the depth of its vision tower and its VQ model: their code
fixes them. They are read off the tensors, so that a tower of another size loads as well; only the
number of attention heads cannot be, and is the 16 of every tower there is. Embeddings and the text
head are never tied: transformers' default would overwrite one with the other.

The language model's entries that are missing have the defaults of transformers' `LlamaConfig`, as
in the original code (Janus-Pro-7B names no width).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairuni_eval.errors import UserError
from pairuni_eval.models.checkpoint import checked_config

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import JanusConfig

MODEL_TYPE = "multi_modality"
_HEADS = 16
_TOWER = "siglip_large_patch16_384"  # the only tower, and the name of every size of it
_VQ = "VQ-16"
# The parts of a whole model: the beginning of their tensors in transformers, the original's name.
_MODULES = {
    "model.vision_model.": "vision_model",
    "model.aligner.": "aligner",
    "model.vqmodel.": "gen_vision_model",
    "model.generation_aligner.": "gen_aligner",
    "model.generation_head.": "gen_head",
    "model.generation_embeddings.": "gen_embed",
    "model.language_model.": "language_model",
}


def config_of(
    table: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    ids: Mapping[str, int],
    place: Path,
) -> JanusConfig:
    """Transformers' configuration of a checkpoint in the original format.

    Args:
        table: Its config.json.
        tensors: Its tensors by transformers' names.
        ids: Token ids: pad_token_id, bos_token_id, eos_token_id, image_token_id.
        place: The config.json, for errors.

    Raises:
        UserError: for a relative of Janus with other modules, for modules that are missing, and for
            settings that transformers' Janus cannot have.
    """
    from transformers import JanusConfig

    _check_family(table, place)
    _check_modules(tensors, place)
    language = {k: v for k, v in table["language_config"].items() if k != "torch_dtype"}
    own = {name: one for name, one in ids.items() if name != "image_token_id"}
    widths = {"vision_config": _vision(tensors), "vq_config": _vq(tensors)}
    return checked_config(
        JanusConfig,
        {
            "text_config": {**language, **own, "tie_word_embeddings": False},
            **widths,
            "image_token_id": ids["image_token_id"],
            "tie_word_embeddings": False,
        },
        place,
    )


def original_table(config: JanusConfig, dtype: str) -> dict[str, Any]:
    """The original's config.json of transformers' configuration."""
    text, vision, vq = config.get_text_config(), config.vision_config, config.vq_config
    rope = dict(text.rope_parameters or {})
    kept = text.to_diff_dict() | {
        "model_type": "llama",
        "vocab_size": text.vocab_size,
        "num_hidden_layers": text.num_hidden_layers,
        "max_position_embeddings": text.max_position_embeddings,
        "rope_theta": rope.get("rope_theta", 10000.0),
        "torch_dtype": dtype,
    }
    dropped = ("rope_parameters", "dtype", "tie_word_embeddings", "transformers_version")
    language = {
        name: value
        for name, value in kept.items()
        if name not in dropped and not name.endswith("token_id")
    }
    width = text.hidden_size

    def mlp(inputs: int, depth: int) -> dict[str, Any]:
        return {
            "depth": depth,
            "input_dim": inputs,
            "n_embed": width,
            "projector_type": "mlp_gelu",
        }

    return {
        "architectures": ["MultiModalityCausalLM"],
        "model_type": MODEL_TYPE,
        "torch_dtype": dtype,
        "language_config": language,
        "vision_config": _part(
            "CLIPVisionTower",
            "vision",
            {
                "image_size": vision.image_size,
                "model_name": _TOWER,
                "select_feature": "same",
                "select_layer": -1,
            },
        ),
        "aligner_config": _part("MlpProjector", "aligner", mlp(vision.hidden_size, vision.depth)),
        "gen_vision_config": _part(
            _VQ, "gen_vision", {"image_token_size": vq.num_embeddings, "n_embed": vq.embed_dim}
        ),
        "gen_aligner_config": _part(
            "MlpProjector", "gen_aligner", mlp(vq.embed_dim, vq.num_hidden_layers)
        ),
        "gen_head_config": _part(
            "vision_head",
            "gen_head",
            {
                "image_token_embed": vq.projection_dim,
                "image_token_size": vq.num_embeddings,
                "n_embed": vq.image_token_embed_dim,
            },
        ),
    }


def check_fits_original(config: JanusConfig) -> None:
    """Raise a UserError for what the original format stands for and a model has otherwise."""
    vision, vq, text = config.vision_config, config.vq_config, config.get_text_config()
    rope = (text.rope_parameters or {}).get("rope_type", "default")
    fixed = (
        ("vision_config.num_attention_heads", vision.num_attention_heads, _HEADS),
        ("vision_config.use_qk_norm", vision.use_qk_norm, False),
        ("vision_config.attention_bias", vision.attention_bias, True),
        ("vision_config.hidden_act", vision.hidden_act, "gelu"),
        ("vq_config.hidden_act", vq.hidden_act, "gelu"),
        ("vq_config.double_latent", vq.double_latent, False),
        ("text_config.model_type", text.model_type, "llama"),
        ("text_config.rope_parameters.rope_type", rope, "default"),
    )
    for key, value, known in fixed:
        if value != known:
            raise UserError(
                f"This model cannot be written in the original format: its {key} is {value}, and "
                f"the format, which has no such key, stands for {known}.",
                hint="Its transformers folder is read everywhere: --format transformers",
            )


def _part(cls: str, model_type: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {"cls": cls, "model_type": model_type, "params": dict(params)}


def _check_family(table: Mapping[str, Any], place: Path) -> None:
    """Raise a UserError for another model of the same `model_type`."""
    if "vision_gen_enc_config" in table or "vision_und_enc_config" in table:
        raise UserError(
            f"{place}: this is JanusFlow, which draws by a flow in place of image tokens; no "
            "adapter here reads it.",
            hint="Janus and Janus-Pro load: deepseek-ai/Janus-Pro-1B, deepseek-ai/Janus-Pro-7B.",
        )
    language = table.get("language_config")
    if not isinstance(language, dict):
        raise UserError(
            f"{place}: no table language_config, which every Janus has.",
            hint="Copy config.json of the model that was trained.",
        )
    kinds = (
        (language, "model_type", "llama"),
        (_params(table, "vision_config"), "select_layer", -1),
        (_params(table, "aligner_config"), "projector_type", "mlp_gelu"),
        (_params(table, "gen_aligner_config"), "projector_type", "mlp_gelu"),
    )
    for params, key, known in kinds:
        if params.get(key, known) != known:
            raise UserError(
                f"{place}: {key} is {params[key]!r}; Janus and Janus-Pro have {known!r}, and "
                "nothing else is read."
            )


def _params(table: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found = table.get(part)
    params = found.get("params") if isinstance(found, dict) else None
    return params if isinstance(params, dict) else {}


def _check_modules(tensors: Mapping[str, Tensor], place: Path) -> None:
    """Raise a UserError that names the modules of which there is no tensor."""
    lost = [
        mine
        for there, mine in _MODULES.items()
        if not any(name.startswith(there) for name in tensors)
    ]
    if lost:
        raise UserError(
            f"{place.parent}: no weights of {', '.join(lost)}. Some training code saves without "
            "the modules that it does not train.",
            hint="Take them from the model that was trained: --checkpoint "
            f"deepseek-ai/Janus-Pro-1B+{place.parent}",
        )


def _vision(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    tower = "model.vision_model."
    patch = _shape(tensors, f"{tower}embeddings.patch_embedding.weight")
    patches, width = _shape(tensors, f"{tower}embeddings.position_embedding.weight")
    aligner = _shape(tensors, "model.aligner.fc1.weight")
    return {
        "hidden_size": width,
        "num_hidden_layers": _count(tensors, f"{tower}encoder.layers."),
        "num_attention_heads": _HEADS,
        "patch_size": patch[-1],
        "image_size": math.isqrt(patches) * patch[-1],
        "num_image_tokens": patches,
        "mlp_ratio": _shape(tensors, f"{tower}encoder.layers.0.mlp.fc1.weight")[0] / width,
        "projection_dim": aligner[0],
        "depth": 1 + _count(tensors, "model.aligner.hidden_layers."),
    }


def _vq(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    encoder = "model.vqmodel.encoder."
    base = _shape(tensors, f"{encoder}conv_in.weight")[0]
    levels = _count(tensors, f"{encoder}down.")
    codes, size = _shape(tensors, "model.vqmodel.quantize.embedding.weight")
    head = _shape(tensors, "model.generation_head.proj_out.weight")
    return {
        "base_channels": base,
        "channel_multiplier": [
            _shape(tensors, f"{encoder}down.{i}.block.0.conv1.weight")[0] // base
            for i in range(levels)
        ],
        "num_res_blocks": _count(tensors, f"{encoder}down.0.block."),
        "latent_channels": _shape(tensors, f"{encoder}conv_out.weight")[0],
        "num_embeddings": codes,
        "embed_dim": size,
        "projection_dim": head[0],
        "image_token_embed_dim": head[1],
        "num_hidden_layers": 1 + _count(tensors, "model.generation_aligner.hidden_layers."),
    }


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in tensors:
        raise UserError(
            f"The weights are missing '{name}', from which the model's size is read.",
            hint="Copy the whole checkpoint, every shard of it.",
        )
    return tuple(tensors[name].shape)


def _count(tensors: Mapping[str, Tensor], beginning: str) -> int:
    """How many numbered parts begin so."""
    return len({n[len(beginning) :].partition(".")[0] for n in tensors if n.startswith(beginning)})
