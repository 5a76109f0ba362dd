"""UniGenBench++ with long English prompts: 600. See `registry/unigenbench/points.py`."""

from __future__ import annotations

from ..unigenbench.judge_prompts import ENGLISH
from ..unigenbench.points import PointBenchmark


class UniGenBenchLong(PointBenchmark):
    """See the module docstring."""

    language = ENGLISH
