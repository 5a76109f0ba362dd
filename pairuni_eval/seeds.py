"""Addresses instead of streams: every random draw and every record has a stable name.

A hash here depends on the value alone: not on the machine, the process, the order of a dict or the
number of draws made before. A seed is the hash of *what it is for*, so a resumed run, another batch
size or another rank meets the same randomness.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_ID_HEX = 32  # 128 bits: collisions are out of reach for any number of rows a run can hold


def _plain(value: Any) -> Any:
    """JSON's view of a value; anything without one is a programming error."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"stable_hash cannot address a {type(value).__name__}")


_encode = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=True,
    allow_nan=False,
    default=_plain,
).encode


def stable_hash(*parts: Any) -> str:
    """Hash JSON-like values to 32 hexadecimal digits, equal on every machine.

    Mappings are hashed by sorted key; floats by their shortest decimal form.

    Raises:
        TypeError: for a value that JSON cannot express.
        ValueError: for NaN or infinity, which have no JSON form.
    """
    return hashlib.sha256(_encode(parts).encode()).hexdigest()[:_ID_HEX]


def seed_for(run_seed: int, sample: str, draw: int, purpose: str) -> int:
    """The seed of one random draw, in [0, 2**63).

    Args:
        run_seed: The seed the user gave for the whole run.
        sample: The id of what the draw belongs to (a sample, a group, a batch).
        draw: Which of several draws for the same sample.
        purpose: What the number is for, e.g. "decode" or "bootstrap".
    """
    return int(stable_hash("seed/1", run_seed, sample, draw, purpose), 16) >> 65
