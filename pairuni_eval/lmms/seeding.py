"""Seeds for foreign code that guesses: by the row, not by whatever ran before.

Some of lmms-eval's scorers draw a random option where they cannot read an answer, from Python's or
numpy's global generator. Inside a block both start from the row's own seed, and afterward both are
as they were; the block says whether it drew.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded(seed: int) -> Iterator[Callable[[], bool]]:
    """Seed the global generators for a block; yields a question: was anything drawn so far?"""
    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    start = random.getstate(), _position()
    try:
        yield lambda: (random.getstate(), _position()) != start
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _position() -> tuple[bytes, int, int]:
    """Numpy's state in a form that compares: its words, the place in them, a normal in store."""
    state = np.random.get_state(legacy=False)
    return state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"]
