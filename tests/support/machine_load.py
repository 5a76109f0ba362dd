"""How busy the machine is: bounds by the clock are stretched by it."""

from __future__ import annotations

import os


def load_average() -> float:
    """Processes that want a processor, per processor."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)
