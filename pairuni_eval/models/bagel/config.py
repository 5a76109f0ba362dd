"""What the folder of a BAGEL checkpoint says: sizes of its networks and of its pictures.

The language model and the vision tower have a JSON file each. What no file holds is read off the
shapes of the weights: the sides of both position tables, the auto-encoder's levels, and how many
latents one token takes. Sizes of pictures are the official ones, unless the folder's config.json
has its own (`bagel_shapes`), and so are the decodings (`bagel_decoding`): the folders that were
published have no such keys, and some of them a config.json that is no JSON at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from pairuni_eval.errors import UserError
from pairuni_eval.models.checkpoint import read_object

Record = TypeVar("Record", bound=msgspec.Struct)
Sizes = Mapping[str, tuple[int, ...]]
LANGUAGE_FILE, VISION_FILE, CONFIG = "llm_config.json", "vit_config.json", "config.json"
AUTOENCODER_FILE = "ae.safetensors"
WEIGHT_FILES = ("ema.safetensors", "model.safetensors")  # the first that is there


class LanguageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the two experts, keys of Qwen2's configuration.

    Query and key norms are always there, and the head is never tied: no file says so, the official
    scripts do.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float

    @property
    def head(self) -> int:
        """Numbers of one head."""
        return self.hidden_size // self.num_attention_heads


class VisionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the vision tower, keys of SigLIP's configuration."""

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int
    patch_size: int
    layer_norm_eps: float = 1e-6

    @property
    def layers(self) -> int:
        """Layers that are there: the last one of the configuration is left out."""
        return self.num_hidden_layers - 1


class AutoencoderConfig(NamedTuple):
    """Sizes of the auto-encoder, read off its weights.

    Attributes:
        channels: Of every level, finest first.
        blocks: Residual blocks of a level on the way down; there is one more on the way up.
        latents: Numbers of one place.
    """

    channels: tuple[int, ...]
    blocks: int
    latents: int

    @property
    def factor(self) -> int:
        """Pixels of a side that one latent place stands for."""
        return int(2 ** (len(self.channels) - 1))


class ResizeRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a picture is brought to, in pixels.

    Attributes:
        longest: Of the longer side, at most.
        shortest: Of the shorter side, at least, where the longer allows it.
        stride: Both sides are multiples of it.
        area: Of all pictures of a request together, at most.
    """

    longest: int
    shortest: int
    stride: int
    area: int = 1_806_336


class PictureShapes(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of pictures, under `bagel_shapes` of config.json where they are not these.

    Attributes:
        source: What a picture is brought to before it is encoded into latents.
        asked: What the vision tower sees of pictures that are asked about, as in the authors'
            evaluation scripts.
        edited: What it sees of a source that is edited, after `source`, as in their inferencer.
        drawn: Width and height of a picture that is drawn, unless another size is asked for.
    """

    source: ResizeRule = ResizeRule(longest=1024, shortest=512, stride=16)
    asked: ResizeRule = ResizeRule(longest=980, shortest=378, stride=14, area=2_007_040)
    edited: ResizeRule = ResizeRule(longest=980, shortest=224, stride=14)
    drawn: tuple[int, int] = (1024, 1024)


class BagelConfig(NamedTuple):
    """All that an adapter needs to know of a folder.

    Attributes:
        latent_side: Rows and columns of the latents' position table.
        latent_patch: Latent places of a side that one token takes.
        vision_side: Rows and columns of the vision tower's position tables.
    """

    language: LanguageConfig
    vision: VisionConfig
    autoencoder: AutoencoderConfig
    latent_side: int
    latent_patch: int
    vision_side: int

    @property
    def cell(self) -> int:
        """Pixels of a side that one latent token stands for."""
        return self.latent_patch * self.autoencoder.factor

    @property
    def token(self) -> int:
        """Numbers of one latent token."""
        return self.latent_patch**2 * self.autoencoder.latents


def read_bagel_config(folder: Path, weights: Sizes, autoencoder: Sizes) -> BagelConfig:
    """Read the sizes of a checkpoint.

    Args:
        folder: Of the official format.
        weights: Shape of every tensor of the model.
        autoencoder: Shape of every tensor of the auto-encoder.

    Raises:
        UserError: for a file that is missing or broken, or tensors that say no size.
    """
    language = _record(folder / LANGUAGE_FILE, LanguageConfig)
    vision = _record(folder / VISION_FILE, VisionConfig)
    sizes = autoencoder_sizes(folder / AUTOENCODER_FILE, autoencoder)
    numbers = _shape(folder, weights, "vae2llm.weight")[1]
    return BagelConfig(
        language,
        vision,
        sizes,
        _side(folder, weights, "latent_pos_embed.pos_embed"),
        math.isqrt(numbers // sizes.latents),
        _side(folder, weights, "vit_pos_embed.pos_embed"),
    )


def autoencoder_sizes(path: Path, sizes: Sizes) -> AutoencoderConfig:
    """The auto-encoder's sizes from the shapes of its weights.

    Raises:
        UserError: if a tensor that says one is missing.
    """
    levels = _count(sizes, "encoder.down.{}.block.0.conv1.weight")
    if not levels:
        raise UserError(
            f"{path}: 'encoder.down.0.block.0.conv1.weight' is missing.",
            hint="Copy the auto-encoder of the checkpoint: it is FLUX's, under its own names.",
        )
    channels = tuple(
        sizes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels)
    )
    latents = _shape(path, sizes, "decoder.conv_in.weight")[1]
    return AutoencoderConfig(
        channels, _count(sizes, "encoder.down.0.block.{}.conv1.weight"), latents
    )


def read_table(folder: Path) -> Mapping[str, Any]:
    """What config.json says; nothing where it is missing or cannot be read."""
    try:
        return read_object(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    except UserError:
        return {}


def read_shapes(folder: Path) -> PictureShapes:
    """Sizes of pictures: the official ones, or the folder's own.

    Raises:
        UserError: for a table that is not understood.
    """
    found = read_table(folder).get("bagel_shapes")
    return PictureShapes() if found is None else _convert(folder / CONFIG, found, PictureShapes)


def _record(path: Path, kind: type[Record]) -> Record:
    return _convert(path, read_object(path), kind)


def _convert(path: Path, table: Any, kind: type[Record]) -> Record:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as failure:
        raise UserError(
            f"{path}: {failure}.", hint="Copy the file that was published with the weights."
        ) from failure


def _count(sizes: Sizes, pattern: str) -> int:
    """How many numbers from 0 on the pattern has a tensor for."""
    found = 0
    while pattern.format(found) in sizes:
        found += 1
    return found


def _side(place: Path, sizes: Sizes, name: str) -> int:
    rows = _shape(place, sizes, name)[0]
    side = math.isqrt(rows)
    if side * side != rows:
        raise UserError(f"{place}: '{name}' has {rows} rows, which is not the area of a square.")
    return side


def _shape(place: Path, sizes: Sizes, name: str) -> tuple[int, ...]:
    if name not in sizes:
        raise UserError(f"{place}: '{name}' is missing.", hint="Copy the whole checkpoint.")
    return sizes[name]
