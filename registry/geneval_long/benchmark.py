"""GenEval's 553 tasks with long prompts: a benchmark of its own, graded as GenEval is.

A language model wrote each prompt out to a paragraph; what is looked for is GenEval's, row by row.
Models score several points higher, so the two never stand in one column.
"""

from __future__ import annotations

from ..geneval.benchmark import GenEval


class LongGenEval(GenEval):
    """See the module docstring."""
