"""tiny-geneval-more: prompts of GenEval's kinds that tiny-geneval leaves out, judged as there.

tiny-geneval has ten prompts a kind, too few to say how far a model sees what it drew. With these
every kind of fact has forty and more. Prompts that count things of one color are among them, which
the shipped tiny model was never taught.
"""

from __future__ import annotations

from collections.abc import Sequence

from pairuni_eval.api import seed_for
from pairuni_eval.api.tiny import Row, further_rows

from ..tiny_geneval.benchmark import TinyGenEval, tiny_geneval_rows

_PER_TAG = 38


class TinyGenEvalMore(TinyGenEval):
    """See the module docstring."""

    companions = ()

    def prompts(self) -> Sequence[Row]:
        """The rows of the prompts."""
        seed = seed_for(0, self.card.name, 0, "samples")
        return further_rows(tiny_geneval_rows(), per_tag=_PER_TAG, seed=seed)
