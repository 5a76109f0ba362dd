"""Tensor names of OpenCLIP checkpoints, and what transformers' CLIPModel calls the same tensors.

Three things differ beyond names: OpenCLIP keeps query, key and value in one matrix (cut in three
here), multiplies by its projections from the right (transposed here), and keeps the class and
position embeddings as bare parameters.

Source: mlfoundations/open_clip, `model.py` and `transformer.py`; huggingface/transformers,
`models/clip/modeling_clip.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pairuni_eval.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


class VisionTower(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`vision_cfg` of OpenCLIP's configuration of a plain ViT, sizes in pixels and channels."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    head_width: int = 64
    mlp_ratio: float = 4.0

    @property
    def heads(self) -> int:
        """Attention heads; the checkpoint alone does not tell."""
        return self.width // self.head_width

    @property
    def positions(self) -> int:
        """Patches, and one for the class."""
        return (self.image_size // self.patch_size) ** 2 + 1


class TextTower(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`text_cfg` of OpenCLIP's configuration."""

    width: int
    heads: int
    layers: int
    context_length: int = 77
    vocab_size: int = 49408


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A CLIP of two plain transformers, as OpenCLIP's model configurations describe it.

    Attributes:
        embed_dim: Size of the space that both towers end in.
        quick_gelu: x * sigmoid(1.702 x), as OpenAI trained, instead of the exact GELU.
    """

    embed_dim: int
    vision_cfg: VisionTower
    text_cfg: TextTower
    quick_gelu: bool = False


VIT_H_14 = Architecture(
    embed_dim=1024,
    vision_cfg=VisionTower(image_size=224, patch_size=14, width=1280, layers=32, head_width=80),
    text_cfg=TextTower(width=1024, heads=16, layers=24),
)

# Constants that older checkpoints store and no tower needs.
NO_WEIGHTS = frozenset({"attn_mask", "context_length", "input_resolution", "vocab_size"})


def read_architecture(path: Path) -> Architecture:
    """Read an `open_clip_config.json`, or a bare model configuration of OpenCLIP.

    Raises:
        UserError: naming the file and the key; every key beyond those of a plain ViT is one that
            changes the model, so it is refused.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as failure:  # no JSON, or no UTF-8
        raise UserError(f"{path}: not JSON: {failure}.") from failure
    if isinstance(table, dict) and "model_cfg" in table:
        table = table["model_cfg"]
    try:
        return msgspec.convert(table, Architecture)
    except msgspec.ValidationError as failure:
        raise UserError(
            f"{path}: {failure}.", hint="Only CLIP with two plain transformers can be loaded."
        ) from failure


def expected_shapes(architecture: Architecture) -> Shapes:
    """Every tensor of an OpenCLIP checkpoint and its shape."""
    vision, text, out = architecture.vision_cfg, architecture.text_cfg, architecture.embed_dim
    patch = (3, vision.patch_size, vision.patch_size)
    return {
        "visual.class_embedding": (vision.width,),
        "visual.positional_embedding": (vision.positions, vision.width),
        "visual.conv1.weight": (vision.width, *patch),
        **_affine("visual.ln_pre", vision.width),
        **_blocks("visual.", vision.layers, vision.width, int(vision.width * vision.mlp_ratio)),
        **_affine("visual.ln_post", vision.width),
        "visual.proj": (vision.width, out),
        "token_embedding.weight": (text.vocab_size, text.width),
        "positional_embedding": (text.context_length, text.width),
        **_blocks("", text.layers, text.width, text.width * 4),
        **_affine("ln_final", text.width),
        "text_projection": (text.width, out),
        "logit_scale": (),
    }


def _affine(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _blocks(tower: str, layers: int, width: int, hidden: int) -> Shapes:
    block: Shapes = {
        **_affine("ln_1", width),
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        **_linear("attn.out_proj", width, width),
        **_affine("ln_2", width),
        **_linear("mlp.c_fc", hidden, width),
        **_linear("mlp.c_proj", width, hidden),
    }
    return {
        f"{tower}transformer.resblocks.{layer}.{name}": shape
        for layer in range(layers)
        for name, shape in block.items()
    }


_PARAMETERS = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # sic
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
_PROJECTIONS = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}
_BLOCK_PARTS = {
    "ln_1": "layer_norm1",
    "attn.out_proj": "self_attn.out_proj",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_IN_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an OpenCLIP checkpoint under the names of transformers' CLIPModel.

    Views of the given tensors where possible, so nothing of size is copied.

    Raises:
        KeyError: for a name that OpenCLIP's CLIP has not; see `expected_shapes`.
    """
    return dict(pair for key, tensor in state.items() for pair in _renamed(key, tensor))


def _renamed(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if key in _PARAMETERS:
        yield _PARAMETERS[key], tensor
    elif key in _PROJECTIONS:
        yield _PROJECTIONS[key], tensor.T.contiguous()
    else:
        yield from _renamed_in_block(key, tensor)


def _renamed_in_block(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    found = _IN_BLOCK.fullmatch(key)
    if found is None:
        raise KeyError(key)
    visual, layer, part, kind = found.groups()
    block = f"{'vision' if visual else 'text'}_model.encoder.layers.{layer}"
    if part == "attn.in_proj":
        for name, third in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{block}.self_attn.{name}_proj.{kind}", third
    else:
        yield f"{block}.{_BLOCK_PARTS[part]}.{kind}", tensor
