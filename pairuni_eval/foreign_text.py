"""Text that somebody else wrote, made safe to print: a run's, a model's, a dataset's, a judge's.

Control characters can move a terminal's cursor, ring its bell or hide what stands there, and those
of direction turn words around. They are made visible as a box.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_BREAKS = re.compile(r"[\t\n\u2028\u2029]")
_BOX = "\N{REPLACEMENT CHARACTER}"


def clean(text: str) -> str:
    """The text with control and direction-changing characters made visible as a box."""
    if text.isprintable():  # none of them is, nor a line break
        return text
    return _CONTROL.sub(_BOX, text.replace("\r\n", "\n"))


def on_one_line(text: str) -> str:
    """As `clean`, with line breaks and tabs made visible as well."""
    return _BREAKS.sub(_BOX, clean(text))


def under(title: str, text: str) -> str:
    """A text behind its title; its further lines are indented, so that none passes for another."""
    return f"{title}{clean(text)}".replace("\n", "\n" + " " * len(title))
