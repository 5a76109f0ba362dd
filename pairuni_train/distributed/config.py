"""What can be told about where a run's arithmetic happens."""

from __future__ import annotations

from typing import Literal

from pairuni_eval.toolkit.data import Strict


class ParallelismSpec(Strict, frozen=True, kw_only=True):
    """Precision, and what a device holds; none of it changes the objective.

    Attributes:
        precision: "bf16" runs the model in bfloat16 (autocast); weights stay in float32.
        gradient_checkpointing: Layers run again in the backward pass, to save memory.
        sharding: "fsdp2" splits the weights over ranks; else each rank holds them all.
    """

    precision: Literal["no", "bf16"] = "no"
    gradient_checkpointing: bool = False
    sharding: Literal["none", "fsdp2"] = "none"

    @property
    def bfloat16(self) -> bool:
        """Whether the model runs in bfloat16."""
        return self.precision == "bf16"
