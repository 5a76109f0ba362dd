"""Names of Janus' tensors in DeepSeek's original format and in transformers', both ways.

Departures of the original from a plain renaming: queries, keys and values of the vision tower are
one tensor; its position embedding has a first axis of one; and it holds tensors that its own code
never reads (the tower's attention pool, the count of used codes), for which transformers has no
place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

TOWER = "vision_model.vision_tower."
POSITIONS = f"{TOWER}pos_embed"
_POSITIONS_THERE = "model.vision_model.embeddings.position_embedding.weight"
_JOINT = ".attn.qkv."
_PARTS = (".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj.")
_UNREAD = (f"{TOWER}attn_pool.", "gen_vision_model.quantize.codebook_used")
_COMPUTED = ".rotary_emb.inv_freq"  # older transformers stored it

# What begins a name: the original's, transformers'. A longer beginning goes before a shorter one.
_BEGINNINGS = (
    ("language_model.model.", "model.language_model."),
    ("language_model.lm_head.", "lm_head."),
    (f"{TOWER}patch_embed.proj.", "model.vision_model.embeddings.patch_embedding."),
    (f"{TOWER}blocks.", "model.vision_model.encoder.layers."),
    (f"{TOWER}norm.", "model.vision_model.post_layernorm."),
    ("gen_vision_model.encoder.conv_blocks.", "model.vqmodel.encoder.down."),
    ("gen_vision_model.decoder.conv_blocks.", "model.vqmodel.decoder.up."),
    *(
        (f"gen_vision_model.{half}.mid.{i}.", f"model.vqmodel.{half}.mid.{there}.")
        for half in ("encoder", "decoder")
        for i, there in enumerate(("block_1", "attn_1", "block_2"))
    ),
    ("gen_vision_model.", "model.vqmodel."),
    ("gen_head.output_mlp_projector.", "model.generation_head.proj_out."),
    ("gen_head.", "model.generation_head."),
    ("gen_embed.", "model.generation_embeddings."),
    ("gen_aligner.", "model.generation_aligner."),
    ("aligner.", "model.aligner."),
)
# What stands inside a name, below the beginning that it goes with.
_INSIDE = {
    f"{TOWER}blocks.": (
        (".norm1.", ".layer_norm1."),
        (".norm2.", ".layer_norm2."),
        (".attn.proj.", ".self_attn.projection_layer."),
    ),
    "gen_vision_model.encoder.conv_blocks.": ((".res.", ".block."),),
    "gen_vision_model.decoder.conv_blocks.": ((".res.", ".block."),),
}
_ALIGNERS = ("gen_aligner.", "aligner.")


class Original(NamedTuple):
    """Tensors of the original format: those by transformers' names, and those it has no place for.

    Attributes:
        tensors: By transformers' names; views of what was given wherever that is possible.
        unread: By their own names: DeepSeek's code never reads them.
        unknown: Names that Janus in the original format does not have.
    """

    tensors: dict[str, Tensor]
    unread: dict[str, Tensor]
    unknown: tuple[str, ...]


def is_original(names: Iterable[str]) -> bool:
    """Whether some names are of the original format: transformers' begin otherwise, all of them."""
    own = ("language_model.", "vision_model.", "gen_", "aligner.")
    return any(name.startswith(own) for name in names)


def from_original(tensors: Mapping[str, Tensor]) -> Original:
    """Tensors of the original format, taken apart and renamed."""
    renamed: dict[str, Tensor] = {}
    unread: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in tensors.items():
        if name.startswith(_UNREAD) or name.endswith(_COMPUTED):
            unread[name] = tensor
        elif name == POSITIONS:
            renamed[_POSITIONS_THERE] = tensor[0]
        elif name.startswith(TOWER) and _JOINT in name:
            for part, third in zip(_PARTS, tensor.chunk(3), strict=True):
                renamed[_there(name.replace(_JOINT, part)) or name] = third
        elif there := _there(name):
            renamed[there] = tensor
        else:
            unknown.append(name)
    return Original(renamed, unread, tuple(unknown))


def to_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse: tensors by transformers' names, under the original's and in its order of parts.

    Raises:
        ValueError: for a name that transformers' Janus does not have.
    """
    import torch

    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == _POSITIONS_THERE:
            renamed[POSITIONS] = tensor[None]
        elif _PARTS[0] in name and name.startswith("model.vision_model."):
            parts = [tensors[name.replace(_PARTS[0], part)] for part in _PARTS]
            renamed[_here(name.replace(_PARTS[0], _JOINT))] = torch.cat(parts)
        elif not (name.startswith("model.vision_model.") and any(p in name for p in _PARTS[1:])):
            renamed[_here(name)] = tensor
    return renamed


def _there(name: str) -> str | None:
    """The name in transformers; None for one that no beginning fits."""
    for mine, there in _BEGINNINGS:
        if name.startswith(mine):
            rest = name.removeprefix(mine)
            if mine in _ALIGNERS:
                found = re.fullmatch(r"layers\.(\d+)\.(weight|bias)", rest)
                if found is None or int(found[1]) % 2:
                    return None
                step = int(found[1]) // 2
                return f"{there}{'fc1' if step == 0 else f'hidden_layers.{step - 1}'}.{found[2]}"
            return there + _changed(f".{rest}", _INSIDE.get(mine, ()))[1:]
    return None


def _here(name: str) -> str:
    """The name in the original format."""
    for mine, there in _BEGINNINGS:
        if name.startswith(there):
            rest = name.removeprefix(there)
            if mine in _ALIGNERS:
                layer, _, kind = rest.rpartition(".")
                step = 0 if layer == "fc1" else int(layer.rpartition(".")[2]) + 1
                return f"{mine}layers.{2 * step}.{kind}"
            swapped = [(b, a) for a, b in _INSIDE.get(mine, ())]
            return mine + _changed(f".{rest}", swapped)[1:]
    raise ValueError(f"transformers' Janus has no '{name}'")


def _changed(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    for before, after in pairs:
        text = text.replace(before, after)
    return text
