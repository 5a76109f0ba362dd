"""Where a number stands on the range of its metric: what benchmarks are averaged by."""

from __future__ import annotations

from pairuni_eval.stats.intervals import Estimate


def share_of_range(estimate: Estimate, direction: str) -> float | None:
    """From 0 to 1, 1 being the better end; None without a value or a known range.

    Args:
        estimate: The number.
        direction: Of its metric: "down" is turned round.
    """
    if estimate.value is None or estimate.bounds is None:
        return None
    low, high = estimate.bounds
    share = (estimate.value - low) / (high - low)
    return 1.0 - share if direction == "down" else share
