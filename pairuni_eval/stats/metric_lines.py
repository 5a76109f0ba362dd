"""A metric as plain values: one line over all of its rows, and one for each group.

Values are unscaled. What there is none of is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pairuni_eval.stats.intervals import Estimate
from pairuni_eval.stats.tables import MetricRow


def metric_lines(row: MetricRow, *, headline: bool) -> Iterator[dict[str, Any]]:
    """The lines of a metric; `headline` says whether the first of them is its protocol's number."""
    shared = {
        "protocol": row.protocol,
        "metric": row.spec.name,
        "scale": row.spec.scale,
        "direction": row.spec.direction,
    }
    place: dict[str, Any] = {"headline": headline, "by": None, "group": None}
    yield shared | place | _number(row.estimate, row.scored, row.expected)
    for group in row.groups:
        place = {"headline": False, "by": row.spec.by, "group": group.name}
        yield shared | place | _number(group.estimate, group.scored, group.total)


def _number(estimate: Estimate, scored: int, expected: int) -> dict[str, Any]:
    low, high = estimate.interval or (None, None)
    return {
        "value": estimate.value,
        "low": low,
        "high": high,
        "clusters": estimate.clusters,
        "scored": scored,
        "expected": expected,
    }
