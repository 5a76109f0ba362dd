"""A slope chart: where every benchmark stood before and stands after, on one scale.

Goes in: shares of each metric's range. Comes out: records with ready coordinates, as in `charts`;
labels keep their distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_LINE_GAP = 14.0  # between labels that would touch
_LEFT, _RIGHT = 58.0, 214.0
_HEAD, _ROW, _LEAST = 30.0, 24.0, 130.0


class Ends(NamedTuple):
    """One line of a slope chart: where it stands before and after, from 0 to 1 of its range.

    Attributes:
        tone: The verdict word with dashes for blanks, for color and dashes.
    """

    name: str
    tone: str
    before: float
    after: float
    before_text: str
    after_text: str


class Slope(NamedTuple):
    """A line of a slope chart with its coordinates; labels keep their distance."""

    ends: Ends
    y_before: float
    y_after: float
    label_before: float
    label_after: float


class SlopeChart(NamedTuple):
    """Before and after, one line for each benchmark."""

    before: str
    after: str
    label: str
    height: float
    left: float
    right: float
    slopes: tuple[Slope, ...]


def slope_chart(before: str, after: str, lines: Sequence[Ends]) -> SlopeChart | None:
    """A slope for each benchmark on one scale, the share of each metric's range; None below two."""
    if len(lines) < 2:
        return None
    inner = max(_LEAST, _ROW * len(lines))
    values = [value for one in lines for value in (one.before, one.after)]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return _HEAD + inner * (1 - (value - low) / span)

    befores, afters = [place(o.before) for o in lines], [place(o.after) for o in lines]
    label_befores, label_afters = apart(befores, _HEAD), apart(afters, _HEAD)
    columns = (lines, befores, afters, label_befores, label_afters)
    slopes = [Slope(*parts) for parts in zip(*columns, strict=True)]
    said = ", ".join(f"{o.name} {o.before_text} to {o.after_text}" for o in lines)
    lowest = max(*label_befores, *label_afters, _HEAD + inner)
    return SlopeChart(
        before=before,
        after=after,
        label=f"From {before} to {after}: {said}",
        height=lowest + 12,
        left=_LEFT,
        right=_RIGHT,
        slopes=tuple(slopes),
    )


class _Block(NamedTuple):
    """Labels that stand together: the middle of their marks, and which they are."""

    middle: float
    members: list[int]

    def first(self, least: float) -> float:
        """Where the first of them stands, not above `least`."""
        return max(least, self.middle - _LINE_GAP * (len(self.members) - 1) / 2)


def apart(places: Sequence[float], least: float = 0.0) -> list[float]:
    """Places of labels near their marks, in the same order, none closer than a line's height.

    Labels that would touch are spread evenly around their common middle, none above `least`.
    """
    blocks: list[_Block] = []
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        blocks.append(_Block(places[i], [i]))
        while len(blocks) > 1 and _touch(blocks[-2], blocks[-1], least):
            one, two = blocks[-2:]
            members = one.members + two.members
            middle = sum(places[member] for member in members) / len(members)
            blocks[-2:] = [_Block(middle, members)]
    found = [0.0] * len(places)
    for block in blocks:
        for n, i in enumerate(block.members):
            found[i] = block.first(least) + _LINE_GAP * n
    return found


def _touch(upper: _Block, lower: _Block, least: float) -> bool:
    end = upper.first(least) + _LINE_GAP * (len(upper.members) - 1)
    return lower.first(least) - end < _LINE_GAP
