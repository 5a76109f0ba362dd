"""Generation settings of lmms-eval and what they mean for our models; used on both sides.

Departures from lmms-eval's settings as they are written:
    top_p, top_k    count only where tokens are drawn at random (pope_pop asks for top_p 0 and no
                    sampling)
    until           the stop at a blank line is left out, as in lmms-eval's own wrappers of chat
                    models: lmms-eval adds it to every task that names no stop
    max_new_tokens  1024 where a task names none, as in lmms-eval's own wrappers
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairuni_eval.api import Decoding

_DEFAULT_TOKENS = 1024
_BLANK_LINE = "\n\n"


def decoding_of(settings: Mapping[str, Any]) -> Decoding:
    """The decoding that `generation_kwargs` ask for.

    Raises:
        ValueError, TypeError: if a number in them is none.
    """
    temperature = settings.get("temperature")
    drawn = settings.get("do_sample", bool(temperature))
    warmth = (1.0 if temperature is None else float(temperature)) if drawn else 0.0
    longest = settings.get("max_new_tokens") or settings.get("max_gen_toks") or _DEFAULT_TOKENS
    if warmth == 0.0:
        return Decoding(max_tokens=int(longest))
    return Decoding(
        temperature=warmth,
        top_k=int(settings.get("top_k") or 0),
        top_p=float(settings.get("top_p") or 1.0),
        max_tokens=int(longest),
    )


def stops_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts at which an answer ends."""
    until = settings.get("until") or ()
    stops = (until,) if isinstance(until, str) else tuple(until)
    return tuple(stop for stop in stops if stop and stop != _BLANK_LINE)


def cut(text: str, stops: tuple[str, ...]) -> str:
    """The text up to the first of the stops."""
    for stop in stops:
        text = text.partition(stop)[0]
    return text
