"""tiny-tuning-drawings: tiny-heldout-drawings for prompts of their own, for choosing settings."""

from __future__ import annotations

from ..tiny_heldout_drawings.benchmark import TinyHeldoutDrawings


class TinyTuningDrawings(TinyHeldoutDrawings):
    """See the module docstring."""

    split = "tuning"
    sizes = {"new": 20, "common": 20}
