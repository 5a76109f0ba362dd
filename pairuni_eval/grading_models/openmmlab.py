"""OpenMMLab's Mask2Former checkpoint under the names of transformers.

The published `.pth` (mmdet 2.x) is unpickled with `weights_only`; every tensor that transformers'
counterpart asks for is looked up by OpenMMLab's name; the result is kept as safetensors, so that
the pickle is read once. A name that is missing, unknown or of another shape is an error. Three
things differ beyond names:

- Swin attention and the decoder's self-attention keep query, key and value in one matrix: cut in
  thirds (the decoder's cross-attention stays whole on both sides);
- a patch merger stacks 2 x 2 pixels channel by channel (`nn.Unfold`: channel, row, column), where
  transformers stacks them pixel by pixel (column, row, channel): its columns are reordered;
- mmdet stores the index into the relative position table; it is the same and made anew.

The order of classes, of feature levels and of the position table is the same on both sides.

Source of the names: open-mmlab/mmdetection@0c5159285b4d, `backbones/swin.py`,
`plugins/msdeformattn_pixel_decoder.py`, `dense_heads/mask2former_head.py`; open-mmlab/mmcv 1.x,
`cnn/bricks/transformer.py`, `cnn/bricks/conv_module.py`; huggingface/transformers 5.23,
`models/swin/modeling_swin.py`, `models/mask2former/modeling_mask2former.py`.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import struct
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from pairuni_eval.errors import UserError
from pairuni_eval.models.pickled import refused, unsafe_name
from pairuni_eval.models.weight_file import check_shapes

if TYPE_CHECKING:
    from transformers import Mask2FormerConfig

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Weights = dict[str, Tensor]

_CONVERSION = "openmmlab-1"  # part of the name under which results are kept

# What torch's unpickler of weights raises on files that are cut off or damaged.
_BROKEN_PICKLE = (
    pickle.UnpicklingError,
    struct.error,
    RuntimeError,
    ValueError,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
)


class Part(Enum):
    """What of OpenMMLab's tensor becomes the tensor of transformers."""

    WHOLE = "whole"
    QUERY = "first third"
    KEY = "second third"
    VALUE = "last third"
    MERGED = "reordered for merging"


_THIRDS = (Part.QUERY, Part.KEY, Part.VALUE)


class TensorOrigin(NamedTuple):
    """Where a tensor of transformers comes from."""

    key: str
    part: Part

    def shape(self, shape: Shape) -> Shape:
        """The shape of the tensor it comes from, given its own."""
        return (3 * shape[0], *shape[1:]) if self.part in _THIRDS else shape

    def take(self, tensor: Tensor) -> Tensor:
        """The tensor of transformers, made from that of OpenMMLab."""
        if self.part in _THIRDS:
            return tensor.chunk(3)[_THIRDS.index(self.part)].clone()
        return pixel_by_pixel(tensor) if self.part is Part.MERGED else tensor


def pixel_by_pixel(x: Tensor) -> Tensor:
    """Reorder the last axis from (channel, row, column) to (column, row, channel), 2 x 2 pixels."""
    channels = x.shape[-1] // 4
    return x.reshape(*x.shape[:-1], channels, 2, 2).transpose(-1, -3).reshape(x.shape).contiguous()


# Names: transformers' first, OpenMMLab's second. `#` is a number, `@` weight or bias, `*` a word;
# they stand in the same order on both sides.

_BLOCK = ("model.pixel_level_module.encoder.swin.encoder.layers.#.", "backbone.stages.#.")
_PIXEL_LAYER = (
    "model.pixel_level_module.decoder.encoder.layers.#.",
    "panoptic_head.pixel_decoder.encoder.layers.#.",
)
_QUERY_LAYER = (
    "model.transformer_module.decoder.layers.#.",
    "panoptic_head.transformer_decoder.layers.#.",
)

_NAMES: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("model.pixel_level_module.encoder.", "backbone."): {
        "swin.embeddings.patch_embeddings.projection.@": "patch_embed.projection.@",
        "swin.embeddings.norm.@": "patch_embed.norm.@",
        "hidden_states_norms.stage1.@": "norm0.@",
        "hidden_states_norms.stage2.@": "norm1.@",
        "hidden_states_norms.stage3.@": "norm2.@",
        "hidden_states_norms.stage4.@": "norm3.@",
    },
    _BLOCK: {
        "blocks.#.attention.o_proj.@": "blocks.#.attn.w_msa.proj.@",
        "blocks.#.attention.relative_position_bias.*": "blocks.#.attn.w_msa.*",
        "blocks.#.layernorm_before.@": "blocks.#.norm1.@",
        "blocks.#.layernorm_after.@": "blocks.#.norm2.@",
        "blocks.#.mlp.fc1.@": "blocks.#.ffn.layers.0.0.@",
        "blocks.#.mlp.fc2.@": "blocks.#.ffn.layers.1.@",
    },
    ("model.pixel_level_module.decoder.", "panoptic_head.pixel_decoder."): {
        "level_embed": "level_encoding.weight",
        "input_projections.#.0.@": "input_convs.#.conv.@",
        "input_projections.#.1.@": "input_convs.#.gn.@",
        "adapter_1.0.@": "lateral_convs.0.conv.@",
        "adapter_1.1.@": "lateral_convs.0.gn.@",
        "layer_1.0.@": "output_convs.0.conv.@",
        "layer_1.1.@": "output_convs.0.gn.@",
        "mask_projection.@": "mask_feature.@",
    },
    _PIXEL_LAYER: {
        "self_attn.*.@": "attentions.0.*.@",
        "self_attn_layer_norm.@": "norms.0.@",
        "fc1.@": "ffns.0.layers.0.0.@",
        "fc2.@": "ffns.0.layers.1.@",
        "final_layer_norm.@": "norms.1.@",
    },
    ("model.transformer_module.", "panoptic_head."): {
        "queries_embedder.@": "query_embed.@",
        "queries_features.@": "query_feat.@",
        "level_embed.@": "level_embed.@",
        "decoder.layernorm.@": "transformer_decoder.post_norm.@",
        "decoder.mask_predictor.mask_embedder.0.0.@": "mask_embed.0.@",
        "decoder.mask_predictor.mask_embedder.1.0.@": "mask_embed.2.@",
        "decoder.mask_predictor.mask_embedder.2.0.@": "mask_embed.4.@",
    },
    _QUERY_LAYER: {
        "cross_attn.in_proj_@": "attentions.0.attn.in_proj_@",
        "cross_attn.out_proj.@": "attentions.0.attn.out_proj.@",
        "cross_attn_layer_norm.@": "norms.0.@",
        "self_attn.out_proj.@": "attentions.1.attn.out_proj.@",
        "self_attn_layer_norm.@": "norms.1.@",
        "fc1.@": "ffns.0.layers.0.0.@",
        "fc2.@": "ffns.0.layers.1.@",
        "final_layer_norm.@": "norms.2.@",
    },
    ("class_predictor.", "panoptic_head.cls_embed."): {"@": "@"},
}
_THIRD_OF: Mapping[tuple[str, str], Mapping[str, str]] = {
    _BLOCK: {"blocks.#.attention.LETTER_proj.@": "blocks.#.attn.w_msa.qkv.@"},
    _QUERY_LAYER: {"self_attn.LETTER_proj.@": "attentions.1.attn.in_proj_@"},
}
_MERGERS: Mapping[tuple[str, str], Mapping[str, str]] = {
    _BLOCK: {
        "downsample.reduction.@": "downsample.reduction.@",
        "downsample.norm.@": "downsample.norm.@",
    }
}
_SLOTS = {"#": r"(\d+)", "@": "(weight|bias)", "*": r"(\w+)"}

# What transformers has beyond the detector: a norm behind the last stage that no feature passes,
# and the class weights of the training loss.
_IDLE = re.compile(r".*\.swin\.layernorm\.(weight|bias)|criterion\.empty_weight")
# What OpenMMLab stores beyond the weights.
_DERIVED = re.compile(r".*\.relative_position_index")


def _rules(
    names: Mapping[tuple[str, str], Mapping[str, str]], part: Part, letter: str = ""
) -> Iterator[tuple[re.Pattern[str], TensorOrigin]]:
    for (ours, theirs), pairs in names.items():
        for our_rest, their_rest in pairs.items():
            name = re.escape((ours + our_rest).replace("LETTER", letter))
            for slot, pattern in _SLOTS.items():
                name = name.replace(re.escape(slot), pattern)
            yield re.compile(name), TensorOrigin(theirs + their_rest, part)


_RULES = (
    *_rules(_NAMES, Part.WHOLE),
    *_rules(_THIRD_OF, Part.QUERY, "q"),
    *_rules(_THIRD_OF, Part.KEY, "k"),
    *_rules(_THIRD_OF, Part.VALUE, "v"),
    *_rules(_MERGERS, Part.MERGED),
)


def origin_of(name: str) -> TensorOrigin:
    """Where the tensor that transformers calls `name` comes from.

    Raises:
        KeyError: for a name that no rule knows.
    """
    for pattern, origin in _RULES:
        found = pattern.fullmatch(name)
        if found:
            return origin._replace(key=_filled(origin.key, found.groups()))
    raise KeyError(name)


def _filled(template: str, parts: tuple[str, ...]) -> str:
    pieces = re.split(r"[#@*]", template)
    return "".join(piece + part for piece, part in zip(pieces, (*parts, ""), strict=True))


def is_idle(name: str) -> bool:
    """Whether a tensor of transformers' network takes no part in detection."""
    return _IDLE.fullmatch(name) is not None


# The conversion


def swin_small() -> Mask2FormerConfig:
    """What `mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco` is, in the words of transformers."""
    from transformers import Mask2FormerConfig, SwinConfig

    backbone = SwinConfig(
        image_size=224,
        patch_size=4,
        embed_dim=96,
        depths=[2, 2, 18, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        mlp_ratio=4.0,
        qkv_bias=True,
        drop_path_rate=0.3,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=256,
        mask_feature_size=256,
        hidden_dim=256,
        encoder_feedforward_dim=1024,
        encoder_layers=6,
        decoder_layers=10,  # transformers counts the prediction before the first layer
        dim_feedforward=2048,
        num_attention_heads=8,
        num_queries=100,
        num_labels=80,
    )


def convert(path: Path, config: Mask2FormerConfig) -> Weights:
    """Read an OpenMMLab checkpoint as weights of transformers' network of that configuration.

    Idle weights (see `is_idle`) are left out.

    Raises:
        UserError: naming the file, and the key where there is one, if the file is damaged, holds
            more than `weights_only` reads, or is not exactly the checkpoint of such a network.
    """
    shapes = _shapes(config)
    origins = {name: origin_of(name) for name in shapes}
    weights = {k: v for k, v in _read(path).items() if not _DERIVED.fullmatch(k)}
    expected = {origin.key: origin.shape(shapes[name]) for name, origin in origins.items()}
    check_shapes(path, weights, expected, model="OpenMMLab's Mask2Former")
    return {name: origin.take(weights[origin.key]) for name, origin in origins.items()}


def converted(path: Path, config: Mask2FormerConfig, kept: Path) -> Weights:
    """As `convert`, but kept in the folder `kept` as safetensors and found there the next time.

    A folder that cannot be written to is no reason to stop: the file is then read again each time.
    """
    from safetensors.torch import load_file, save_file

    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    result = kept / f"{_CONVERSION}-{digest}.safetensors"
    if result.is_file():
        found: Weights = load_file(result)
        if found.keys() == _shapes(config).keys():
            return found
    weights = convert(path, config)
    try:
        kept.mkdir(parents=True, exist_ok=True)
        partial = result.with_suffix(f".{os.getpid()}")
        save_file(weights, partial)
        partial.replace(result)  # a file of this name is always whole
    except OSError:
        pass
    return weights


def _shapes(config: Mask2FormerConfig) -> Shapes:
    """The shapes of all weights that take part in detection, by transformers' names."""
    from transformers import Mask2FormerForUniversalSegmentation

    with torch.device("meta"):
        network = Mask2FormerForUniversalSegmentation(config)
    state = network.state_dict()
    return {name: tuple(x.shape) for name, x in state.items() if not is_idle(name)}


def _read(path: Path) -> Weights:
    """The `state_dict` of a checkpoint; OpenMMLab publishes them in torch's older, zipless form."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN_PICKLE as failure:
        unsafe = unsafe_name(path, failure) if path.is_file() else None
        if unsafe:
            raise refused(path, unsafe) from failure
        raise UserError(
            f"{path}: cut off or damaged ({type(failure).__name__}).",
            hint="Copy or download it again.",
        ) from failure
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise UserError(
            f"{path} holds no 'state_dict' of tensors, as OpenMMLab's checkpoints do.",
            hint="Give the file as published.",
        )
    return dict(state)
