"""UniGenBench++ with short English prompts: 600. See `points.py`."""

from __future__ import annotations

from .judge_prompts import ENGLISH
from .points import PointBenchmark


class UniGenBench(PointBenchmark):
    """See the module docstring."""

    language = ENGLISH
