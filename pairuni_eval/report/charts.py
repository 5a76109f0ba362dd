"""Coordinates of the marks of a chart: numbers to places, nothing else.

Goes in: series of numbers. Comes out: records with ready coordinates, which the macros of
`charts.html.j2` set as inline SVG. Colors are classes of the page's style, so that one chart serves
light, dark and print; lines differ in dashes as well as in color. All of it is a function of the
numbers alone.

Units are those of the view box: a chart is 340 wide, which is about a phone's width in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_LEFT, _RIGHT, _TOP = 46.0, 332.0, 10.0
_BOTTOM, _HEIGHT = 166.0, 200.0
_TICKS = 4  # about so many on an axis
_POINTS = 240  # of a line; more are averaged in bins
_SMOOTH = 12  # a window is a twelfth of the line
_CHARACTER = 6.3  # wide, of a label
_SPAN_LEFT, _SPAN_TOP, _SPAN_STEP, _SPAN_GAP = 118.0, 6.0, 9.0, 8.0


class Tick(NamedTuple):
    """A mark of an axis: where it stands and what it says."""

    place: float
    label: str


class Series(NamedTuple):
    """One line to draw: its name, its style and its points in the data's units.

    Attributes:
        arm: Number of its color and dashes; the first is the reported run.
        x: (N,) increasing.
        y: (N,) NaN where there is none.
        low, high: (N,) the ends of a band around the line, or None.
    """

    name: str
    arm: int
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None


class Level(NamedTuple):
    """A horizontal line across a chart, e.g. the highest value that there can be."""

    name: str
    value: float
    place: float


class DrawnLine(NamedTuple):
    """A line with its coordinates: smoothed, as measured, and the band around it ("" if none).

    Attributes:
        spots: Where the numbers stand, if each is marked.
    """

    name: str
    arm: int
    line: str
    faint: str
    band: str
    spots: tuple[tuple[float, float], ...] = ()


class LineChart(NamedTuple):
    """Lines over training steps.

    Attributes:
        label: What a screen reader says.
        smoothed: Points that a moving mean takes together; 1 is none.
        series: What was drawn, in the data's units.
        zero: Where the line of zero stands, if it is inside.
    """

    title: str
    label: str
    height: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[DrawnLine, ...]
    smoothed: int
    series: tuple[Series, ...]
    zero: float | None = None
    levels: tuple[Level, ...] = ()


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Round numbers from about `low` to about `high`, at a step of 1, 2 or 5 times a power of ten.

    The first is at or below `low`, the last at or above `high`.
    """
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(n * step, 12) for n in range(first, last + 1))


def legible(marks: Sequence[Tick]) -> tuple[Tick, ...]:
    """The marks of a horizontal axis; one whose label would touch that before it has none.

    Labels stand in the middle of their marks; that of the last ends there.
    """
    made, end = [], -math.inf
    for mark in marks:
        wide = _CHARACTER * len(mark.label)
        left = mark.place - (wide if mark is marks[-1] else wide / 2)
        shown = left >= end + _CHARACTER
        made.append(mark if shown else mark._replace(label=""))
        end = left + wide if shown else end
    return tuple(made)


def smooth(values: Array, window: int) -> Array:
    """Centered moving mean over the values that exist; the ends take what there is."""
    window = min(window, len(values))  # a longer one would make more points than there are
    if window <= 1:
        return values
    known = np.isfinite(values)
    kernel = np.ones(window)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(np.float64), kernel, mode="same")
    return np.where(known, total / np.maximum(count, 1.0), np.nan)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    smoothing: bool = True,
    within: Sequence[float] = (),
    levels: Mapping[str, float] = MappingProxyType({}),
    across: Sequence[float] = (),
    spots: bool = False,
) -> LineChart | None:
    """Lines over steps with a smoothed and a faint version of each; None without any number.

    Args:
        title: What is drawn.
        series: The lines.
        smoothing: False draws the lines as measured.
        within: Values that the vertical axis must show.
        levels: Values that get a line across the chart, by their names.
        across: Steps that the horizontal axis must show, for charts that stand above one another.
        spots: Whether every number gets a mark, as few numbers need.
    """
    shown = [one for one in series if np.isfinite(one.y).any()]
    if not shown:
        return None
    ends = [float(end) for one in shown for end in (one.x.min(), one.x.max())]
    x_marks = ticks(min([*across, *ends]), max([*across, *ends]))
    y_marks = ticks(*_reach(shown, [*within, *levels.values()]))
    longest = max(len(one.x) for one in shown)
    window = max(1, longest // _SMOOTH) if smoothing else 1
    place = ChartScale(x_marks, y_marks)
    return LineChart(
        title=title,
        label=f"{title} over training steps: {', '.join(_in_words(one) for one in shown)}",
        height=_HEIGHT,
        x_ticks=legible([Tick(place.x(mark), f"{mark:g}") for mark in x_marks]),
        y_ticks=tuple(Tick(place.y(mark), f"{mark:g}") for mark in y_marks),
        lines=tuple(place.drawn(one, window, spots=spots) for one in shown),
        smoothed=window,
        series=tuple(shown),
        zero=place.y(0.0) if y_marks[0] < 0 < y_marks[-1] else None,
        levels=tuple(Level(name, value, place.y(value)) for name, value in levels.items()),
    )


def _reach(series: Sequence[Series], within: Sequence[float]) -> tuple[float, float]:
    """The lowest and highest number that is drawn."""
    columns = [part for one in series for part in (one.y, one.low, one.high) if part is not None]
    known = np.concatenate([*columns, np.asarray(within, dtype=np.float64)])
    known = known[np.isfinite(known)]
    return float(known.min()), float(known.max())


def _in_words(one: Series) -> str:
    known = one.y[np.isfinite(one.y)]
    return f"{one.name} from {known[0]:.3g} to {known[-1]:.3g}"


class ChartScale:
    """Turns the data's units into those of the view box.

    Args:
        x_marks, y_marks: The marks of both axes; the first and the last are their ends.
    """

    def __init__(self, x_marks: Sequence[float], y_marks: Sequence[float]) -> None:
        self._x, self._y = (x_marks[0], x_marks[-1]), (y_marks[0], y_marks[-1])

    def x(self, value: float) -> float:
        """Where a value stands on the horizontal axis."""
        low, high = self._x
        return _LEFT + (_RIGHT - _LEFT) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Where a value stands on the vertical axis."""
        low, high = self._y
        return _BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low)

    def drawn(self, one: Series, window: int, *, spots: bool = False) -> DrawnLine:
        """A line with its coordinates; see `line_chart`."""
        x, y = _binned(one.x), _binned(one.y)
        low, high = (None if part is None else _binned(part) for part in (one.low, one.high))
        return DrawnLine(
            name=one.name,
            arm=one.arm,
            line=self.path(x, _binned(smooth(one.y, window))),
            faint=self.path(x, y) if window > 1 else "",
            band="" if low is None or high is None else self._band(x, low, high),
            spots=tuple(
                (self.x(a), self.y(b))
                for a, b in zip(x, y, strict=True)
                if spots and np.isfinite(b)
            ),
        )

    def path(self, x: Array, y: Array) -> str:
        """An SVG path that is interrupted where a number is missing."""
        words, pen_down = [], False
        for a, b in zip(x, y, strict=True):
            if np.isfinite(b):
                words.append(f"{'L' if pen_down else 'M'}{self.x(a):.1f} {self.y(b):.1f}")
            pen_down = bool(np.isfinite(b))
        return "".join(words)

    def _band(self, x: Array, low: Array, high: Array) -> str:
        there = np.isfinite(low) & np.isfinite(high)
        if there.sum() < 2:
            return ""
        x, low, high = x[there], low[there], high[there]
        corners = [*zip(x, high, strict=True), *zip(x[::-1], low[::-1], strict=True)]
        return "M" + "L".join(f"{self.x(a):.1f} {self.y(b):.1f}" for a, b in corners) + "Z"


def _binned(values: Array) -> Array:
    """At most `_POINTS` numbers: the means of equal bins; a bin without a number is NaN."""
    if len(values) <= _POINTS:
        return values
    parts = np.array_split(values, _POINTS)
    return np.array(
        [part[np.isfinite(part)].mean() if np.isfinite(part).any() else np.nan for part in parts]
    )


class Span(NamedTuple):
    """A number of one arm with its interval, in the data's units.

    Attributes:
        each: What the number sums up, e.g. that of each seed; small ticks.
    """

    name: str
    arm: int
    value: float
    low: float | None
    high: float | None
    each: tuple[float, ...] = ()


class SpanMark(NamedTuple):
    """A span with its coordinates."""

    span: Span
    x: float
    x_low: float
    x_high: float
    y: float
    x_each: tuple[float, ...] = ()


class SpanRow(NamedTuple):
    """A label and its marks."""

    label: str
    y: float
    marks: tuple[SpanMark, ...]


class IntervalChart(NamedTuple):
    """Numbers with intervals, a row for each label and a mark for each arm.

    Attributes:
        zero: Where the line of zero stands, if it is inside.
    """

    title: str
    label: str
    height: float
    bottom: float
    zero: float | None
    ticks: tuple[Tick, ...]
    rows: tuple[SpanRow, ...]


def interval_chart(
    title: str, rows: Sequence[tuple[str, Sequence[Span]]], *, within: Sequence[float] = (0.0,)
) -> IntervalChart | None:
    """Dots with intervals on one axis; None without a number.

    Args:
        title: What is drawn.
        rows: Labels with their numbers, from above.
        within: Values that the axis must show.
    """
    spans = [span for _, held in rows for span in held]
    if not spans:
        return None
    drawn_ends = ((one.value, one.low, one.high, *one.each) for one in spans)
    ends = [end for those in drawn_ends for end in those if end is not None]
    marks = ticks(min([*within, *ends]), max([*within, *ends]))

    def place(value: float) -> float:
        share = (value - marks[0]) / (marks[-1] - marks[0])
        return _SPAN_LEFT + (_RIGHT - _SPAN_LEFT) * share

    drawn, top = [], _SPAN_TOP
    for label, held in rows:
        drawn.append(_span_row(label, held, top, place))
        top += _SPAN_STEP * max(1, len(held)) + _SPAN_GAP
    said = "; ".join(f"{label}: {_said(held)}" for label, held in rows)
    return IntervalChart(
        title=title,
        label=f"{title}: {said}",
        height=top + 18,
        bottom=top,
        zero=place(0.0) if marks[0] <= 0 <= marks[-1] else None,
        ticks=legible([Tick(place(mark), f"{mark:g}") for mark in marks]),
        rows=tuple(drawn),
    )


def _span_row(
    label: str, held: Sequence[Span], top: float, place: Callable[[float], float]
) -> SpanRow:
    marks = tuple(
        SpanMark(
            span=one,
            x=place(one.value),
            x_low=place(one.value if one.low is None else one.low),
            x_high=place(one.value if one.high is None else one.high),
            y=top + _SPAN_STEP * (n + 0.5),
            x_each=tuple(map(place, one.each)),
        )
        for n, one in enumerate(held)
    )
    return SpanRow(label, top + _SPAN_STEP * max(1, len(held)) / 2, marks)


def _said(held: Sequence[Span]) -> str:
    return ", ".join(f"{one.name} {one.value:.3g}" for one in held)
