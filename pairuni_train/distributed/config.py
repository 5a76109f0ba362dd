"""What can be told about where a run's arithmetic happens."""

from __future__ import annotations

from typing import Literal

from pairuni_eval.toolkit.data import Strict


class ParallelismSpec(Strict, frozen=True, kw_only=True):
    """Precision, and what a device holds; none of it changes the objective.

    Raises:
        ValueError: for weights in bfloat16 in a model that does not run in it, and for compiled
            rollouts of sharded weights.

    Attributes:
        precision: "bf16" runs the model in bfloat16 (autocast); weights stay in float32.
        frozen_as: "bfloat16" keeps the products' weights that do not train in bfloat16, which
            halves them and changes no output of a model that runs in it.
        gradient_checkpointing: Layers run again in the backward pass, to save memory.
        compiled: Sample rollouts by compiled steps, as CUDA graphs on a GPU. What they need is kept
            from batch to batch; the first batch of each shape takes longer.
        sharding: "fsdp2" splits the weights over ranks; else each rank holds them all.
    """

    precision: Literal["no", "bf16"] = "no"
    frozen_as: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    compiled: bool = False
    sharding: Literal["none", "fsdp2"] = "none"

    def __post_init__(self) -> None:
        if self.frozen_as == "bfloat16" and not self.bfloat16:
            raise ValueError(
                "frozen_as is bfloat16 and precision no: weights of one precision would meet "
                "numbers of another; precision = 'bf16' runs the model in bfloat16"
            )
        if self.compiled and self.sharding != "none":
            raise ValueError(
                "compiled is true and sharding fsdp2: compiled steps read weights where they lay "
                "before, and sharded ones are put together anew for each batch; leave one of the "
                "two out"
            )

    @property
    def bfloat16(self) -> bool:
        """Whether the model runs in bfloat16."""
        return self.precision == "bf16"
