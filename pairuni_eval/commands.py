"""Commands as they are printed: what stands there can be typed again as it stands."""

from __future__ import annotations

import shlex


def as_typed(*words: object) -> str:
    """Words as a shell takes them, quoted where a blank or a sign in them needs it."""
    return shlex.join(str(word) for word in words)
