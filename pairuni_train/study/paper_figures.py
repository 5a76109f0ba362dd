"""Figures for papers: the charts of a page once more, drawn by matplotlib on white.

Goes in: charts as `report.charts` makes them. Comes out: one picture with a panel for each, as PDF,
SVG or PNG. Lines differ in dashes as well as in color (Okabe and Ito 2008, safe for color-blind
eyes). Equal charts give equal files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pairuni_eval.toolkit.report import IntervalChart, LineChart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _LINES, _ROW, _COLUMNS = 7.3, 2.6, 0.2, 3  # inches; panels in a row
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#555555")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), "-.", (0, (3, 1, 1, 1)), (0, (1, 3)))
_FAINT, _GRID = "#888888", "#dddddd"
# No clock in any file, and no name of a machine.
_METADATA = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}


def draw_charts(charts: Sequence[LineChart | IntervalChart], path: Path) -> None:
    """Write all charts as one picture; the name's ending is its format."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = min(len(charts), _COLUMNS)
    lines = [list(charts[start : start + columns]) for start in range(0, len(charts), columns)]
    heights = [max(map(_height, line)) for line in lines]
    with rc_context({"svg.hashsalt": path.stem, "pdf.fonttype": 42, "font.size": 8}):
        size = (_WIDTH, sum(heights))
        figure = Figure(figsize=size, layout="constrained", facecolor="#ffffff")
        grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
        for axes in grid.flat[len(charts) :]:
            axes.set_axis_off()
        for axes, chart in zip(grid.flat, charts, strict=False):
            axes.set_title(chart.title, loc="left", fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
            if isinstance(chart, LineChart):
                _draw_lines(axes, chart)
            else:
                _draw_intervals(axes, chart)
        _name_colors(figure)
        figure.savefig(path, dpi=200, metadata=_METADATA[path.suffix[1:]])


def _height(chart: LineChart | IntervalChart) -> float:
    if isinstance(chart, LineChart):
        return _LINES
    return 0.8 + _ROW * sum(max(1, len(row.marks)) for row in chart.rows)


def _draw_lines(axes: Axes, chart: LineChart) -> None:
    for one in chart.series:
        color = _COLORS[one.arm % len(_COLORS)]
        if one.low is not None and one.high is not None:
            axes.fill_between(one.x, one.low, one.high, color=color, alpha=0.18, lw=0)
        dashes = _DASHES[one.arm % len(_DASHES)]
        axes.plot(one.x, one.y, color=color, lw=1.6, linestyle=dashes, label=one.name)
    for level in chart.levels:
        axes.axhline(level.value, color=_FAINT, lw=0.8, linestyle=":")
        edge = axes.get_yaxis_transform()
        axes.text(0.01, level.value, level.name, transform=edge, va="bottom", size=7)
    axes.set_xlabel("training step")
    axes.grid(axis="y", color=_GRID, lw=0.6)
    axes.locator_params(axis="x", nbins=6)


def _draw_intervals(axes: Axes, chart: IntervalChart) -> None:
    """A line for each mark, the labels beside the middle of their marks."""
    line, middles = 0, []
    for row in chart.rows:
        middles.append(line + max(0, len(row.marks) - 1) / 2)
        for height, mark in enumerate(row.marks, start=line):
            one, color = mark.span, _COLORS[mark.span.arm % len(_COLORS)]
            axes.plot(one.each, [height] * len(one.each), "|", color=_FAINT)
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [height, height], color=color, lw=1.6)
            label = None if one.name == row.label else one.name
            axes.plot([one.value], [height], "o", color=color, markersize=4, label=label)
        line += max(1, len(row.marks))
    axes.set_yticks(middles, [row.label for row in chart.rows])
    axes.set_ylim(line - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=5)
    if chart.zero is not None:
        axes.axvline(0.0, color=_FAINT, lw=0.8, zorder=0)


def _name_colors(figure: Figure) -> None:
    """Below all panels, the name of every color and dash once; no names where rows have them."""
    named = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if named:
        place = {"loc": "outside lower center", "ncols": min(len(named), 4), "frameon": False}
        figure.legend(named.values(), named, **place)
