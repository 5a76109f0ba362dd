"""Exact arithmetic for grading models: full float32, the same numbers on every run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
