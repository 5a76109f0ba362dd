"""Small figures as inline SVG, drawn with coordinates in per cent.

A strip is one line of a dot-and-interval plot on the metric's own range, so that a table column
reads as a figure at any width. Colours come from the page's style (`currentColor` and classes),
which serves light, dark and print. The text is a function of the numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from pairuni_eval.analysis.intervals import Estimate

_TICKS = (0, 25, 50, 75, 100)


class Other(NamedTuple):
    """A second mark on a strip: a baseline's value."""

    name: str
    value: float | None


def _place(value: float, number: Estimate) -> float:
    """Where a value lies on its range, in per cent."""
    assert number.bounds is not None
    low, high = number.bounds
    return 100 * min(1.0, max(0.0, (value - low) / (high - low)))


def _grid() -> Markup:
    lines = (f'<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="100%"/>' for x in _TICKS)
    return Markup("").join(Markup(line) for line in lines)


def _whisker(number: Estimate) -> Markup:
    if number.interval is None:
        return Markup("")
    low, high = (_place(end, number) for end in number.interval)
    return Markup('<line class="whisker" x1="{:.2f}%" x2="{:.2f}%" y1="50%" y2="50%"/>').format(
        low, high
    )


def _other(other: Other, number: Estimate) -> Markup:
    if other.value is None:
        return Markup("")
    return Markup(
        '<circle class="other" cx="{:.2f}%" cy="50%" r="4"><title>{}</title></circle>'
    ).format(_place(other.value, number), other.name)


def strip(number: Estimate, label: str, others: Sequence[Other] = ()) -> Markup:
    """A dot with its interval on the metric's range; empty without a value or a range.

    Args:
        number: The estimate; its bounds are the ends of the strip.
        label: What a screen reader says.
        others: Baseline values, drawn as open circles.
    """
    if number.value is None or number.bounds is None:
        return Markup("")
    dot = Markup('<circle class="dot" cx="{:.2f}%" cy="50%" r="4.5"/>').format(
        _place(number.value, number)
    )
    marks = Markup("").join(_other(other, number) for other in others)
    return Markup('<svg class="strip" role="img" aria-label="{}">{}{}{}{}</svg>').format(
        label, _grid(), _whisker(number), marks, dot
    )


def axis() -> Markup:
    """The head of a column of strips: nothing, half and full marks of the metric's range."""
    places = ((0, "start", "0"), (50, "middle", "½"), (100, "end", "full"))
    words = (
        Markup('<text x="{}%" y="70%" text-anchor="{}">{}</text>').format(*place)
        for place in places
    )
    return Markup('<svg class="axis" aria-hidden="true">{}</svg>').format(Markup("").join(words))
