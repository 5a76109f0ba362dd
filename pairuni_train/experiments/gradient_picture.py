"""The picture of a figure of gradients: all shared parameters above, block by block below.

Above, a row for each scenario: every batch as a tick, the median with its interval, and beside it
the numbers without which a cosine cannot be read. Below, the same medians by block, a small panel
for each scenario, all on one scale. The scenarios in question are blue, the ground is white.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pairuni_eval.analysis.gradient_rows import ALL
from pairuni_eval.analysis.interference import Interference, Scenario, Summary, cosines, shown
from pairuni_train.experiments.drawing import COLORS, FAINT, INK, WIDTH, new_figure, save
from pairuni_train.experiments.gradients import GradientFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

_ROW, _BLOCK = 0.36, 0.22  # inches


class _Column(NamedTuple):
    """A column of numbers: its left edge in widths of the axes, its heading, its text."""

    left: float
    heading: str
    text: Callable[[Interference], str]


def draw_gradients(figure: GradientFigure, path: Path) -> None:
    """Write the picture as SVG."""
    count, blocks = len(figure.scenarios), len(figure.blocks)
    heights = [_ROW * count + 1.0, _BLOCK * blocks + 1.0]
    canvas = new_figure(WIDTH, sum(heights))
    top, bottom = canvas.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    for part in (top, bottom):
        part.set_facecolor("#ffffff")
    _head(top, "All shared parameters")
    _head(bottom, "By block: median cosine")
    scale, numbers = top.subplots(1, 2, sharey=True, squeeze=False, width_ratios=(1, 1.1))[0]
    _draw_scenarios(scale, figure)
    _write_numbers(numbers, figure)
    panels = bottom.subplots(1, count, sharex=True, sharey=True, squeeze=False)[0]
    for axes, one in zip(panels, figure.scenarios, strict=True):
        _draw_blocks(axes, one, _color(one.name, figure))
    panels[0].set_yticks(range(blocks), [name.replace("_", " ") for name in figure.blocks])
    panels[0].invert_yaxis()
    save(canvas, path)


def _head(part: SubFigure, words: str) -> None:
    part.suptitle(words, x=0.01, ha="left", fontsize=10, color=INK)


def _color(name: str, figure: GradientFigure) -> str:
    return COLORS[0] if name in figure.experiment.against else INK


def _draw_scenarios(axes: Axes, figure: GradientFigure) -> None:
    """A row for each scenario, over all shared parameters."""
    for row, scenario in enumerate(figure.scenarios):
        one, color = scenario.overall, _color(scenario.name, figure)
        batches = cosines(figure.table, scenario.name, ALL, preconditioned=False)["cosine"]
        axes.plot(batches, [row] * len(batches), "|", color="#bbbbbb", markersize=10)
        _mark(axes, one.cosine, row, color)
    names = [one.name for one in figure.scenarios]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.locator_params(axis="x", nbins=5)
    tiny = "tiny: " if figure.tiny else ""
    axes.set_xlabel(f"{tiny}cosine of the two tasks' gradients; a tick is a batch", fontsize=8)
    _dress(axes)


def _write_numbers(axes: Axes, figure: GradientFigure) -> None:
    """The numbers of each scenario, in the lines of its row."""
    axes.set_axis_off()
    for column in _COLUMNS:
        _write(axes, column.left, -0.75, column.heading, FAINT)
        for row, scenario in enumerate(figure.scenarios):
            color = _color(scenario.name, figure)
            _write(axes, column.left, row, column.text(scenario.overall), color)


def _write(axes: Axes, left: float, row: float, words: str, color: str) -> None:
    """Words in the line of a row, `left` in widths of the axes."""
    across = axes.get_yaxis_transform()
    axes.text(left, row, words, transform=across, va="center", fontsize=8, color=color)


def _draw_blocks(axes: Axes, scenario: Scenario, color: str) -> None:
    """The medians of one scenario by block."""
    for row, one in enumerate(scenario.blocks):
        _mark(axes, one.cosine, row, color, size=3.5)
    axes.set_title(scenario.name, fontsize=9, color=color)
    axes.locator_params(axis="x", nbins=3)
    _dress(axes)


def _mark(axes: Axes, number: Summary, row: int, color: str, size: float = 6) -> None:
    """A number and its interval."""
    if number.value is None:
        return
    if number.interval is not None:
        axes.plot(list(number.interval), [row] * 2, color=color, lw=2, solid_capstyle="butt")
    axes.plot([number.value], [row], "o", color=color, markersize=size)


def _dress(axes: Axes) -> None:
    axes.axvline(0.0, color=FAINT, lw=0.8, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(labelsize=8)


def _cosine(one: Interference) -> str:
    return shown(one.cosine).replace("-", "\N{MINUS SIGN}")


def _conflict(one: Interference) -> str:
    return "none" if one.conflict.value is None else f"{100 * one.conflict.value:.0f} %"


def _live(one: Interference) -> str:
    return f"{100 * one.und_live:.0f} / {100 * one.gen_live:.0f} %"


def _ceiling(one: Interference) -> str:
    return "none" if one.ceiling.value is None else f"{one.ceiling.value:.2f}"


_COLUMNS = (
    _Column(0.0, "median cosine", _cosine),
    _Column(0.48, "in conflict", _conflict),
    _Column(0.70, "ceiling", _ceiling),
    _Column(0.86, "live U / G", _live),
)
