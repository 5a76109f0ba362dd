"""The files of a checkpoint folder that a trained model is written with, and its weights.

What describes a checkpoint (JSON files, tokenizer) is kept as it was read: the official code loads
what was trained. Weights are written under the name that it looks for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairuni_eval.models.bagel.config import (
    AUTOENCODER_FILE,
    CONFIG,
    LANGUAGE_FILE,
    VISION_FILE,
    WEIGHT_FILES,
)
from pairuni_eval.models.checkpoint import DECLARATION
from pairuni_eval.models.tokenizer_file import TOKENIZER_FILE

if TYPE_CHECKING:
    from torch import Tensor

_KEPT = (
    CONFIG,
    LANGUAGE_FILE,
    VISION_FILE,
    "generation_config.json",
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
)


class BagelFiles(NamedTuple):
    """What was read beside the weights, by its name in the folder."""

    content: Mapping[str, bytes]

    @classmethod
    def of_folder(cls, folder: Path) -> BagelFiles:
        """Read what is there."""
        found = {name: folder / name for name in _KEPT if (folder / name).is_file()}
        return cls({name: path.read_bytes() for name, path in found.items()})

    def write(
        self,
        folder: Path,
        declaration: Mapping[str, Any],
        network: Mapping[str, Tensor],
        autoencoder: Mapping[str, Tensor],
    ) -> None:
        """Write a folder of the official format, with its pairuni.json.

        Args:
            folder: Made if it is not there.
            declaration: What the checkpoint says of itself.
            network: Tensors of the model by their official names.
            autoencoder: Tensors of the auto-encoder.
        """
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.content.items():
            (folder / name).write_bytes(content)
        for name, tensors in ((WEIGHT_FILES[0], network), (AUTOENCODER_FILE, autoencoder)):
            whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            save_file(whole, folder / name, metadata={"format": "pt"})
        text = json.dumps(dict(declaration), indent=2) + "\n"
        (folder / DECLARATION).write_text(text, encoding="utf-8")
