"""The files of a checkpoint folder that a trained model is written with, beside its weights.

What describes a checkpoint (JSON files, tokenizer) is kept as it was read: the code of its authors
loads what was trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairuni_eval.models.checkpoint import DECLARATION

if TYPE_CHECKING:
    from torch import Tensor


class FolderFiles(NamedTuple):
    """What was read beside the weights, by its path in the folder."""

    content: Mapping[str, bytes]

    @classmethod
    def read(cls, folder: Path, names: Iterable[str]) -> FolderFiles:
        """Those of the names that are there."""
        found = {name: folder / name for name in names if (folder / name).is_file()}
        return cls({name: path.read_bytes() for name, path in found.items()})

    def write(
        self,
        folder: Path,
        declaration: Mapping[str, Any],
        weights: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """Write a folder with its pairuni.json.

        Args:
            folder: Made if it is not there.
            declaration: What the checkpoint says of itself.
            weights: Tensors by their official names, by the path of their safetensors.
        """
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        for name in (*self.content, *weights):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for name, content in self.content.items():
            (folder / name).write_bytes(content)
        for name, tensors in weights.items():
            whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            save_file(whole, folder / name, metadata={"format": "pt"})
        text = json.dumps(dict(declaration), indent=2) + "\n"
        (folder / DECLARATION).write_text(text, encoding="utf-8")
