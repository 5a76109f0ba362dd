"""What can be told about the checkpoints of a run."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pairuni_eval.toolkit.data import Strict


class CheckpointSpec(Strict, frozen=True, kw_only=True):
    """What is kept; none of it changes what is learned.

    Attributes:
        keep_last: How many checkpoints stay, the newest ones; 0 keeps all. Of a run that measures
            them the best one stays too (`pairuni_train.watching`).
        saved_as: Precision of the weights in a checkpoint. Beside the newest lie those that train
            in float32, so that a resumed run is that of one which went on.
    """

    keep_last: Annotated[int, msgspec.Meta(ge=0)] = 0
    saved_as: Literal["float32", "bfloat16"] = "float32"
