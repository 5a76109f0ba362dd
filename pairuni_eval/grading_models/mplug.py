"""mPLUG-large, which answers questions about pictures for DPG-Bench's official score.

The model is ModelScope's `damo/mplug_visual-question-answering_coco_large_en`, run by ModelScope's
own pipeline, as in TencentQQGYLab/ELLA@3c228f1dc6c4, `dpg_bench/compute_dpg_bench.py`. Its weights
are read from the user's folder: nothing is downloaded.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairuni_eval.errors import BoundaryError, JudgeError, UserError, boundary

if TYPE_CHECKING:
    from PIL import Image

_TASK = "visual-question-answering"
_LIBRARY = "modelscope"


class MPlug:
    """Answers in words, e.g. "yes".

    Args:
        pipeline: ModelScope's, for visual question answering.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    @classmethod
    def load(cls, folder: Path, *, device: str) -> MPlug:
        """Load the model.

        Args:
            folder: ModelScope's folder of the model, with `configuration.json`.
            device: A torch device name, or "auto".

        Raises:
            UserError: without ModelScope, or if it cannot load the folder.
        """
        if importlib.util.find_spec(_LIBRARY) is None:
            raise UserError(
                "mPLUG needs ModelScope, which is not installed.",
                hint="python -m pip install 'modelscope[multi-modal]'",
            )
        try:
            with boundary(JudgeError):
                pipelines = importlib.import_module(f"{_LIBRARY}.pipelines")
                return cls(pipelines.pipeline(_TASK, model=str(folder), device=_named(device)))
        except BoundaryError as failure:
            raise UserError(f"{folder}: ModelScope cannot load mPLUG: {failure}.") from failure

    def answer(self, picture: Image.Image, question: str) -> str:
        """The answer to a question about a picture (RGB)."""
        said: Any = self._pipeline({"image": picture, "question": question})
        return str(said["text"])


def _named(device: str) -> str:
    """The device in ModelScope's words."""
    if device != "auto":
        return device
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"
