"""GEdit-Bench with English instructions: 606 edits in eleven groups. See `editing.py`."""

from __future__ import annotations

from .editing import GEditBenchmark


class GEdit(GEditBenchmark):
    """See the module docstring."""

    language = "en"
