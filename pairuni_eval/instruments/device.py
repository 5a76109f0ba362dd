"""Where a grading model runs, and how: full float32, and the same numbers on every run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pairuni_eval.errors import UserError


def pick_device(name: str) -> torch.device:
    """The torch device of that name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        UserError: for a name that torch does not know, or CUDA where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as failure:
        raise UserError(f"Unknown device '{name}'.", hint="Use cpu, cuda or cuda:1.") from failure
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("No CUDA device is visible to torch.", hint="Use --device cpu.")
    return device


@contextmanager
def exact_inference() -> Iterator[None]:
    """Run without gradients, without TF32 and without kernels that are chosen by timing.

    torch's default for convolutions on a GPU is TF32, whose 10-bit mantissas move scores in the
    third digit.
    """
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        yield
