"""Small figures as inline SVG, drawn with coordinates in per cent.

A strip is one line of a dot-and-interval plot, so that a table column reads as a figure at any
width: of levels on the metric's own range, or of differences around 0. Colors come from the page's
style (`currentColor` and classes), which serves light, dark and print. The text is a function of
the numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from pairuni_eval.report.charts import ticks
from pairuni_eval.report.text import interval, signed
from pairuni_eval.stats.difference import Difference
from pairuni_eval.stats.intervals import Estimate
from pairuni_eval.stats.verdict import Word

_TICKS = (0, 25, 50, 75, 100)
_LEAST = 0.01  # of the range: strips of differences reach at least this far
# A shape for each word beside its color, around a point and 9 wide.
_SHAPES = {
    Word.BETTER: "M0 -5L5 4H-5Z",
    Word.WORSE: "M0 5L5 -4H-5Z",
    Word.TIED: "M-4 -4H4V4H-4Z",
    Word.CANNOT_TELL: "M-4.2 0A4.2 4.2 0 1 0 4.2 0A4.2 4.2 0 1 0 -4.2 0Z",
}


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


def _whisker(low: float, high: float) -> Markup:
    line = Markup('<line class="whisker" x1="{:.2f}%" x2="{:.2f}%" y1="50%" y2="50%"/>')
    return line.format(low, high)


def _other(other: Other, number: Estimate) -> Markup:
    if other.value is None:
        return Markup("")
    return Markup(
        '<circle class="other" cx="{:.2f}%" cy="50%" r="4"><title>{}</title></circle>'
    ).format(_place(other.value, number), other.name)


def strip(
    number: Estimate, label: str, others: Sequence[Other] = (), *, grid: bool = True
) -> Markup:
    """A dot with its interval on the metric's range; empty without a value or a range.

    Args:
        number: The estimate; its bounds are the ends of the strip.
        label: What a screen reader says.
        others: Baseline values, drawn as open circles.
        grid: Whether it has lines of its own at the quarters; a table of many strips draws them
            by its style.
    """
    if number.value is None or number.bounds is None:
        return Markup("")
    dot = Markup('<circle class="dot" cx="{:.2f}%" cy="50%" r="4.5"/>').format(
        _place(number.value, number)
    )
    marks = Markup("").join(_other(other, number) for other in others)
    ends = [_place(end, number) for end in number.interval or ()]
    return Markup('<svg class="strip" role="img" aria-label="{}">{}{}{}{}</svg>').format(
        label, _grid() if grid else "", _whisker(*ends) if ends else "", marks, dot
    )


def axis() -> Markup:
    """The head of a column of strips: nothing, half and full marks of the metric's range."""
    return _axis("0", "½", "full")


def axis_around(half: float) -> Markup:
    """The head of a column of differences: both ends, in per cent of the metric's range, and 0."""
    end = f"{100 * half:g}\N{NO-BREAK SPACE}%"
    return _axis(f"\N{MINUS SIGN}{end}", "0", f"+{end}")


def _axis(left: str, middle: str, right: str) -> Markup:
    places = ((0, "start", left), (50, "middle", middle), (100, "end", right))
    words = (
        Markup('<text x="{}%" y="70%" text-anchor="{}">{}</text>').format(*place)
        for place in places
    )
    return Markup('<svg class="axis" aria-hidden="true">{}</svg>').format(Markup("").join(words))


def reach(rows: Sequence[Difference | None]) -> float:
    """How far strips of these differences reach to both sides of 0, as a share of the range.

    A round number that holds every interval; at most 1, the whole range.
    """
    ends = [abs(end) for row in rows if row is not None for end in _ends(row)]
    return min(1.0, ticks(0.0, max([_LEAST, *ends]))[-1])


def _ends(row: Difference) -> tuple[float, ...]:
    """The difference and the interval beside its word, as shares of the range if it is known."""
    if not row.span or row.value is None or row.reason is not None:
        return ()
    return tuple(end / row.span for end in (row.value, *(row.beside or ())))


def around(row: Difference, half: float, name: str) -> Markup:
    """A difference around 0: its mark, the interval beside its word, the band that counts as none.

    Args:
        row: Ours - theirs; right of the middle is more for us.
        half: Where the strip ends, as a share of the metric's range; see `reach`.
        name: What is compared, for a screen reader.
    """
    ends = _ends(row)
    if not ends:
        return Markup("")
    places = [50 * (1 + min(1.0, max(-1.0, end / half))) for end in ends]
    tone = str(row.word).replace(" ", "-")
    band, whisker = Markup(""), Markup("")
    if row.margin and row.span:
        wide = min(50.0, 50 * row.margin / row.span / half)
        band = Markup('<rect class="band" x="{:.2f}%" width="{:.2f}%" y="0" height="100%"/>')
        band = band.format(50 - wide, 2 * wide)
    if row.beside is not None:
        whisker = _whisker(*places[1:])
    label = f"{name}: {signed(row.value, row.spec)} {interval(row.beside, row.spec)}, {row.word}"
    return Markup(
        '<svg class="strip around {}" role="img" aria-label="{}">{}'
        '<line class="zero" x1="50%" x2="50%" y1="0" y2="100%"/>{}'
        '<svg x="{:.2f}%" y="50%" overflow="visible"><path class="point" d="{}"/></svg></svg>'
    ).format(tone, label, band, whisker, places[0], _SHAPES[row.word])
