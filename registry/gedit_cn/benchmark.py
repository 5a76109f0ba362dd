"""GEdit-Bench with Chinese instructions: 606 edits. See `registry/gedit/editing.py`."""

from __future__ import annotations

from ..gedit.editing import GEditBenchmark


class GEditChinese(GEditBenchmark):
    """See the module docstring."""

    language = "cn"
