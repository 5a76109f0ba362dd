"""A BAGEL folder into memory: weights, auto-encoder, tokenizer, sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from pairuni_eval.errors import UserError
from pairuni_eval.models.bagel.autoencoder import Autoencoder
from pairuni_eval.models.bagel.config import (
    AUTOENCODER_FILE,
    CONFIG,
    LANGUAGE_FILE,
    VISION_FILE,
    WEIGHT_FILES,
    BagelConfig,
    PictureShapes,
    read_bagel_config,
    read_shapes,
    read_table,
)
from pairuni_eval.models.bagel.contexts import Marks
from pairuni_eval.models.bagel.network import Bagel
from pairuni_eval.models.base import AUTO, LoadOptions
from pairuni_eval.models.folder_files import FolderFiles
from pairuni_eval.models.placement import Placement, place
from pairuni_eval.models.strict_loading import fill, on_meta
from pairuni_eval.models.tokenizer_file import TOKENIZER_FILE, read_tokenizer, token_id
from pairuni_eval.models.weights import Weights, check_weights, joint_digest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FILES = (
    *(LANGUAGE_FILE, VISION_FILE, CONFIG, TOKENIZER_FILE, "tokenizer_config.json"),
    *("vocab.json", "merges.txt", "generation_config.json"),
)
MARKS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")


class LoadedBagel(NamedTuple):
    """A checkpoint in memory.

    Attributes:
        network: In the precision that was asked for.
        autoencoder: In float32.
        digest: Of all weights.
        files: What lies beside them, as a checkpoint of the same kind has it.
    """

    network: Bagel
    autoencoder: Autoencoder
    tokenizer: Tokenizer
    marks: Marks
    config: BagelConfig
    shapes: PictureShapes
    placement: Placement
    digest: str
    files: FolderFiles


def weight_file(folder: Path) -> Path:
    """The file of the model's weights: the averaged ones, or what a fine-tune wrote.

    Raises:
        UserError: if there is neither.
    """
    found = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if found is None:
        raise UserError(
            f"{folder} holds neither {' nor '.join(WEIGHT_FILES)}.",
            hint="Copy the weights of the checkpoint; they are one file.",
        )
    return found


def load_bagel(folder: Path, options: LoadOptions) -> LoadedBagel:
    """Load a folder of the official format.

    Raises:
        UserError: for files that are missing or broken, and for tensors that do not fit.
    """
    tokenizer = read_tokenizer(folder)
    parts = check_weights(weight_file(folder)), check_weights(folder / AUTOENCODER_FILE)
    config = read_bagel_config(folder, _shapes(parts[0]), _shapes(parts[1]))
    placement = place(with_precision(folder, options), own=parts[0].dtype)
    network = on_meta(lambda: Bagel(config))
    autoencoder = on_meta(lambda: Autoencoder(config.autoencoder))
    fill(network, parts[0], "BAGEL")
    fill(autoencoder, parts[1], "BAGEL's auto-encoder")
    return LoadedBagel(
        network.to(placement.device, placement.dtype).eval(),
        autoencoder.to(placement.device, torch.float32).eval().requires_grad_(False),
        tokenizer,
        Marks(*(token_id(tokenizer, word, folder) for word in MARKS)),
        config,
        read_shapes(folder),
        placement,
        joint_digest([part.digest for part in parts]),
        FolderFiles.read(folder, _FILES),
    )


def with_precision(folder: Path, options: LoadOptions) -> LoadOptions:
    """The options, with the precision that config.json says the weights are computed with.

    Weights may be stored in less; the published folders say nothing, and then it is their own.
    """
    declared = read_table(folder).get("dtype")
    if options.dtype != AUTO or not isinstance(declared, str):
        return options
    return replace(options, dtype=declared)


def _shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.tensors().items()}
