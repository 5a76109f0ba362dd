"""How a checkpoint was trained, by its own record: arm, recipe, training seed, step.

The record is what `pairuni.json` of the checkpoint says and a run's card keeps. A trainer of this
project writes the recipe as "ARM on RECIPE, seed N" (or "ARM by sft on RECIPE, seed N"); any other
text is the recipe as it stands. What a record does not say is None, never guessed from a name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pairuni_eval.records import ModelIdentity

_WRITTEN = re.compile(r"(?P<arm>.+) on (?P<recipe>.+), seed (?P<seed>\d{1,18})", re.DOTALL)


class Trained(NamedTuple):
    """How a checkpoint was trained.

    Attributes:
        arm: What was trained on what, without the seed: "grpo on tiny"; None if it is not known.
        seed: The training seed.
        step: The training step.
    """

    arm: str | None = None
    seed: int | None = None
    step: int | None = None

    @property
    def words(self) -> str:
        """E.g. "grpo on tiny, seed 3, step 400"; "" where nothing is known."""
        named = (
            self.arm,
            None if self.seed is None else f"seed {self.seed}",
            None if self.step is None else f"step {self.step:,}",
        )
        return ", ".join(one for one in named if one is not None)


def trained(checkpoint: ModelIdentity) -> Trained:
    """What a checkpoint says of its training."""
    written = _WRITTEN.fullmatch(checkpoint.recipe or "")
    if written is None:
        return Trained(checkpoint.recipe, None, checkpoint.step)
    arm = f"{written['arm']} on {written['recipe']}"
    return Trained(arm, int(written["seed"]), checkpoint.step)
