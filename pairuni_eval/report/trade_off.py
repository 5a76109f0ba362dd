"""The trade-off picture: understanding across, generation upward, a path for every arm.

Goes in: the points of every path in per cent of a range, each with half the width of an interval in
both directions; no interval is drawn beyond the range. Comes out: a record with ready coordinates,
which a macro of `charts.html.j2` sets as inline SVG. A point is on the Pareto front if no other
point is at least as high in both directions and higher in one: by the numbers alone, which no test
has looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pairuni_eval.report.charts import ChartScale, Tick, legible, ticks

_BOTTOM, _HEIGHT = 166.0, 202.0


class PathPoint(NamedTuple):
    """A point of a path, in per cent.

    Attributes:
        across, upward: Where it stands.
        reach: Half of the interval in both directions; None where there is none.
    """

    step: int
    across: float
    upward: float
    reach: tuple[float, float] | None = None


class PathOfArm(NamedTuple):
    """The points of an arm in the order of their steps."""

    name: str
    arm: int
    points: tuple[PathPoint, ...]


class DrawnPoint(NamedTuple):
    """A point with its coordinates.

    Attributes:
        cross: The lines of its intervals, "" for none.
        front: Whether it is on the Pareto front.
        label: The step, where it is printed.
    """

    step: int
    x: float
    y: float
    cross: str
    front: bool
    label: str


class DrawnPath(NamedTuple):
    """A path with its coordinates."""

    name: str
    arm: int
    line: str
    marks: tuple[DrawnPoint, ...]


class TradeOff(NamedTuple):
    """The picture.

    Attributes:
        label: What a screen reader says.
        across: What stands below it.
    """

    title: str
    label: str
    height: float
    bottom: float
    across: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    paths: tuple[DrawnPath, ...]


def trade_off(title: str, across: str, paths: Sequence[PathOfArm]) -> TradeOff | None:
    """The picture of some paths; None where no path has two points.

    Args:
        title: What is drawn, with the vertical axis.
        across: What the horizontal axis is.
        paths: A path for each arm.
    """
    if not any(len(path.points) > 1 for path in paths):
        return None
    points = [point for path in paths for point in path.points]
    wide, high = zip(*(_span(point) for point in points), strict=True)
    x_marks, y_marks = ticks(*_ends(wide)), ticks(*_ends(high))
    place, front = ChartScale(x_marks, y_marks), pareto_front(points)
    return TradeOff(
        title=title,
        label=f"{title}: {'; '.join(map(_in_words, paths))}",
        height=_HEIGHT,
        bottom=_BOTTOM,
        across=across,
        x_ticks=legible([Tick(place.x(mark), f"{mark:g}") for mark in x_marks]),
        y_ticks=tuple(Tick(place.y(mark), f"{mark:g}") for mark in y_marks),
        paths=tuple(_drawn(path, place, front) for path in paths),
    )


def pareto_front(points: Sequence[PathPoint]) -> frozenset[PathPoint]:
    """The points that no other one is above in one direction and not below in the other."""
    return frozenset(
        one
        for one in points
        if not any(
            other.across >= one.across
            and other.upward >= one.upward
            and (other.across, other.upward) != (one.across, one.upward)
            for other in points
        )
    )


def _span(point: PathPoint) -> tuple[tuple[float, float], tuple[float, float]]:
    """Both ends of the intervals across and upward, within the range."""
    across, upward = (
        (max(0.0, at - half), min(100.0, at + half))
        for at, half in zip((point.across, point.upward), point.reach or (0.0, 0.0), strict=True)
    )
    return across, upward


def _ends(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in spans), max(high for _, high in spans)


def _in_words(path: PathOfArm) -> str:
    first, last = path.points[0], path.points[-1]
    return (
        f"{path.name} from {first.across:.3g} and {first.upward:.3g} at step {first.step} "
        f"to {last.across:.3g} and {last.upward:.3g} at step {last.step}"
    )


def _drawn(path: PathOfArm, place: ChartScale, front: frozenset[PathPoint]) -> DrawnPath:
    columns = ([p.across for p in path.points], [p.upward for p in path.points])
    x, y = (np.array(column, dtype=np.float64) for column in columns)
    last = path.points[-1]
    return DrawnPath(
        path.name,
        path.arm,
        place.path(x, y),
        tuple(
            DrawnPoint(
                step=point.step,
                x=place.x(point.across),
                y=place.y(point.upward),
                cross=_cross(point, place),
                front=point in front,
                label=f"{point.step}" if point is last else "",
            )
            for point in path.points
        ),
    )


def _cross(point: PathPoint, place: ChartScale) -> str:
    if point.reach is None:
        return ""
    (left, right), (low, top) = _span(point)
    x, y = place.x(point.across), place.y(point.upward)
    level = f"M{place.x(left):.1f} {y:.1f}H{place.x(right):.1f}"
    return f"{level}M{x:.1f} {place.y(low):.1f}V{place.y(top):.1f}"
