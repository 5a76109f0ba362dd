"""UniGenBench++ with long Chinese prompts: 600. See `registry/unigenbench/points.py`."""

from __future__ import annotations

from ..unigenbench.judge_prompts import CHINESE
from ..unigenbench.points import PointBenchmark


class UniGenBenchChineseLong(PointBenchmark):
    """See the module docstring."""

    language = CHINESE
