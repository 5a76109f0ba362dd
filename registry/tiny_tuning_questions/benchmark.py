"""tiny-tuning-questions: tiny-heldout-questions on scenes of their own, for choosing settings."""

from __future__ import annotations

from ..tiny_heldout_questions.benchmark import TinyHeldoutQuestions


class TinyTuningQuestions(TinyHeldoutQuestions):
    """See the module docstring."""

    split = "tuning"
    sizes = {"rounds": 1, "per_choice": 4, "per_statement": 10}
