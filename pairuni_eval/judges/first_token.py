"""What a judge's first token might have been, as the text of a reply.

A JSON object of probabilities by the token's text, {"Yes": 0.93, "No": 0.05}. Texts that occur
twice, which are tokens of several spellings in bytes, are one. So a recorded reply has the form of
one that came, and the scores keep what was read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping


def token_probabilities(first_token: Iterable[tuple[str, float]]) -> str:
    """The reply that says what the first token might have been.

    Args:
        first_token: Texts with the natural logs of their probabilities.
    """
    found: dict[str, float] = {}
    for text, log in first_token:
        found[text] = found.get(text, 0.0) + math.exp(log)
    return json.dumps(found, ensure_ascii=False)


def read_token_probabilities(reply: str) -> Mapping[str, float] | None:
    """The probabilities in such a reply; None if it is none."""
    try:
        found = json.loads(reply)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not found:
        return None
    fits = all(
        isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one <= 1 + 1e-6
        for one in found.values()
    )
    return found if fits else None
