"""What the probe can be told."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pairuni_eval.toolkit.data import Strict


class ProbeSpec(Strict, frozen=True, kw_only=True):
    """When gradients are looked at.

    Attributes:
        every: Steps between two looks; 0 never looks.
        halves: Also take the two halves of each task's batch apart, for the noise ceiling.
    """

    every: Annotated[int, msgspec.Meta(ge=0)] = 0
    halves: bool = True
