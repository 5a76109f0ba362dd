"""What the folder of a Lumina-DiMOO checkpoint says: sizes of the network and the VQ, and ids.

The official config class takes a key that is missing from GPT-2's defaults; here it is an error. A
setting that would need other code (biases, tied weights, several keys a head, dropout) is refused
by name. Ids are LLaDA's for the full vocabulary and stand in the file under `dimoo_token_ids` for
any other; sizes of pictures are the official ones, unless the file has its own (`dimoo_shapes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from pairuni_eval.errors import UserError
from pairuni_eval.models.checkpoint import read_config, read_object

Record = TypeVar("Record", bound=msgspec.Struct)
VQ_FOLDER = "vqvae"
FULL_VOCABULARY = 134_548


class NetworkConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the network, keys of the official config.json.

    Attributes:
        d_model: Hidden size C.
        mlp_hidden_size: Inner size of the MLP.
        rope_theta: Base of the rotary embedding.
    """

    d_model: int
    n_layers: int
    n_heads: int
    mlp_hidden_size: int
    vocab_size: int
    embedding_size: int
    rms_norm_eps: float
    rope_theta: float


class TokenIds(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of the special tokens.

    Attributes:
        newline: Ends every row of a picture.
        mask: Stands where nothing is known yet.
        pad: Follows an answer.
        boi: Begins a picture (`<IMAGE>`).
        eoi: Ends one.
        uncondition: Stands for the prompt of the unconditional branch of guidance.
        image_offset: Code k of a picture is the token `image_offset + k`.
        codebook_size: Number of codes.
    """

    newline: int = 126_084
    mask: int = 126_336
    pad: int = 126_339
    boi: int = 126_349
    eoi: int = 126_350
    uncondition: int = 126_351
    answer_start: int = 126_354
    answer_end: int = 126_355
    image_offset: int = 126_356
    codebook_size: int = 8_192
    endoftext: int = 126_081


class VqConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the VQ model, keys of diffusers' `VQModel`."""

    block_out_channels: tuple[int, ...]
    layers_per_block: int
    latent_channels: int
    num_vq_embeddings: int
    norm_num_groups: int

    @property
    def factor(self) -> int:
        """Pixels of a side that one code stands for."""
        return int(2 ** (len(self.block_out_channels) - 1))


class Shapes(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of pictures and answers, under `dimoo_shapes` of config.json where they are not these.

    Attributes:
        small: Side in pixels of a square with the smaller area that pictures are brought to.
        large: Side of one with the larger area.
        unit: What both sides are multiples of.
        drawn: Side of a picture that is drawn, unless another size is asked for.
        answer: Tokens that the model was trained to have for an answer, end and padding included.
    """

    small: int = 512
    large: int = 1_024
    unit: int = 32
    drawn: int = 1_024
    answer: int = 1_024


class DimooConfig(NamedTuple):
    """All that an adapter needs to know of a folder."""

    network: NetworkConfig
    vq: VqConfig
    ids: TokenIds
    shapes: Shapes


# Settings that the modules are written for; another value would need other code.
_NETWORK = {
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
}
_VQ = {
    "act_fn": "silu",
    "norm_type": "group",
    "mid_block_add_attention": False,
    "lookup_from_codebook": True,
    "in_channels": 3,
    "out_channels": 3,
}


def is_dimoo(folder: Path, table: Mapping[str, Any]) -> bool:
    """Whether a folder with this config.json is of this family: LLaDA with a VQ beside it."""
    return table.get("model_type") == "llada" and (folder / VQ_FOLDER).is_dir()


def read_dimoo_config(folder: Path) -> DimooConfig:
    """Read and check config.json and vqvae/config.json.

    Raises:
        UserError: naming file and key, for a key that is missing, of another type, or of a value
            that this code is not for; and for a folder without a VQ, which is another model's.
    """
    place, table = folder / "config.json", read_config(folder)
    if not (folder / VQ_FOLDER).is_dir():
        raise UserError(
            f"{folder} holds a LLaDA without a {VQ_FOLDER}/ folder: a text model, or MMaDA. "
            "Lumina-DiMOO has one.",
            hint="Give the folder of Alpha-VLLM/Lumina-DiMOO, with vqvae/ in it.",
        )
    _check(table, _NETWORK, place)
    network = _read(table, NetworkConfig, place)
    heads = table.get("n_kv_heads")
    if heads not in (None, network.n_heads) or network.d_model % (2 * network.n_heads):
        raise UserError(
            f"{place}: n_heads is {network.n_heads} and n_kv_heads {heads}; this network has one "
            "key for each head, and heads of an even width."
        )
    vq_place = folder / VQ_FOLDER / "config.json"
    vq_table = read_object(vq_place)
    _check(vq_table, _VQ, vq_place)
    vq = _read(vq_table, VqConfig, vq_place)
    ids = _read(table.get("dimoo_token_ids", {}), TokenIds, place)
    _check_sizes(network, vq, ids, place)
    shapes = _read(table.get("dimoo_shapes", {}), Shapes, place)
    for key in ("small", "large", "unit", "drawn"):
        if getattr(shapes, key) % vq.factor or getattr(shapes, key) < shapes.unit:
            raise UserError(
                f"{place}: dimoo_shapes.{key} is {getattr(shapes, key)}; it is a multiple of "
                f"{vq.factor} px, which one code stands for, and at least the unit."
            )
    return DimooConfig(network, vq, ids, shapes)


def _check_sizes(network: NetworkConfig, vq: VqConfig, ids: TokenIds, place: Path) -> None:
    """That the vocabulary ends with the codes, as many as the VQ has."""
    if network.embedding_size != network.vocab_size:
        raise UserError(
            f"{place}: embedding_size is {network.embedding_size} and vocab_size "
            f"{network.vocab_size}; the codes are the last rows of both."
        )
    if ids.image_offset + ids.codebook_size != network.vocab_size:
        raise UserError(
            f"{place}: vocab_size is {network.vocab_size}, and codes go from {ids.image_offset} to "
            f"{ids.image_offset + ids.codebook_size - 1}; they are its last rows.",
            hint="Name the ids of another vocabulary under dimoo_token_ids.",
        )
    if vq.num_vq_embeddings != ids.codebook_size:
        raise UserError(
            f"{place.parent / VQ_FOLDER / 'config.json'}: num_vq_embeddings is "
            f"{vq.num_vq_embeddings}, and the vocabulary has {ids.codebook_size} codes: this VQ "
            "belongs to another model."
        )


def _check(table: Mapping[str, Any], wanted: Mapping[str, Any], place: Path) -> None:
    for key, value in wanted.items():
        if key not in table:
            raise UserError(f"{place}: there is no key '{key}'.")
        if table[key] != value:
            raise UserError(f"{place}: {key} is {table[key]!r}; Lumina-DiMOO has {value!r}.")


def _read(table: Mapping[str, Any], kind: type[Record], place: Path) -> Record:
    try:
        return msgspec.convert(dict(table), kind)
    except msgspec.ValidationError as failure:
        raise UserError(f"{place}: {failure}.") from failure
