"""The files of a checkpoint folder that a trained model is written with, and its weights.

What describes a checkpoint (config.json, tokenizer, the VQ's config) is kept as it was read: the
official code loads what was trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairuni_eval.models.checkpoint import DECLARATION
from pairuni_eval.models.lumina_dimoo.config import VQ_FOLDER
from pairuni_eval.models.tokenizer_file import TOKENIZER_FILE

if TYPE_CHECKING:
    from torch import Tensor

_KEPT = (
    "config.json",
    "generation_config.json",
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    f"{VQ_FOLDER}/config.json",
)
_WEIGHTS = "model.safetensors"
_VQ_WEIGHTS = f"{VQ_FOLDER}/diffusion_pytorch_model.safetensors"


class DimooFiles(NamedTuple):
    """What was read beside the weights, by its path in the folder."""

    content: Mapping[str, bytes]

    @classmethod
    def of_folder(cls, folder: Path) -> DimooFiles:
        """Read what is there."""
        found = {name: folder / name for name in _KEPT if (folder / name).is_file()}
        return cls({name: path.read_bytes() for name, path in found.items()})

    def write(
        self,
        folder: Path,
        declaration: Mapping[str, Any],
        network: Mapping[str, Tensor],
        vq: Mapping[str, Tensor],
    ) -> None:
        """Write a folder of the official format, with its pairuni.json.

        Args:
            folder: Made if it is not there.
            declaration: What the checkpoint says of itself.
            network: Tensors of the network by their official names.
            vq: Tensors of the VQ model.
        """
        from safetensors.torch import save_file

        (folder / VQ_FOLDER).mkdir(parents=True, exist_ok=True)
        for name, content in self.content.items():
            (folder / name).write_bytes(content)
        for name, tensors in ((_WEIGHTS, network), (_VQ_WEIGHTS, vq)):
            whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            save_file(whole, folder / name, metadata={"format": "pt"})
        text = json.dumps(dict(declaration), indent=2) + "\n"
        (folder / DECLARATION).write_text(text, encoding="utf-8")
