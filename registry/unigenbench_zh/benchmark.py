"""UniGenBench++ with Chinese prompts: 600. See `registry/unigenbench/points.py`."""

from __future__ import annotations

from ..unigenbench.judge_prompts import CHINESE
from ..unigenbench.points import PointBenchmark


class UniGenBenchChinese(PointBenchmark):
    """See the module docstring."""

    language = CHINESE
