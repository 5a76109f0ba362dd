"""The picture of reward curves: a panel for each task, a line and a band for each arm.

Lines are named where they end, and differ in dashes as well as in color (Okabe and Ito 2008, safe
for color-blind eyes). The ground is white whatever the page's is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pairuni_eval.report.charts import apart
from pairuni_train.experiments.curves import CurveFigure, Panel
from pairuni_train.experiments.drawing import COLORS, DASHES, FAINT, INK, WIDTH, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 3.5
_LINE = 14.0  # points between two names, the distance that `apart` keeps


def draw_curves(figure: CurveFigure, path: Path) -> None:
    """Write the picture as SVG."""
    canvas = new_figure(WIDTH, _HEIGHT)
    grid = canvas.subplots(1, len(figure.panels), squeeze=False)[0]
    names = [arm.name for arm in reversed(figure.experiment.arms)]  # the method is blue and solid
    for axes, panel in zip(grid, figure.panels, strict=True):
        _draw(axes, panel, figure, names)
    canvas.supxlabel(
        f"Step. Lines: mean over seeds of a moving mean over {figure.window} steps; bands: lowest "
        "to highest seed.",
        fontsize=8,
        color=INK,
    )
    save(canvas, path)


def _draw(axes: Axes, panel: Panel, figure: CurveFigure, names: list[str]) -> None:
    """One task."""
    steps = range(figure.steps)
    for one in panel.arms:
        place = names.index(one.arm)
        color = COLORS[place % len(COLORS)]
        axes.fill_between(steps, one.curve.low, one.curve.high, color=color, alpha=0.18, lw=0)
        axes.plot(steps, one.curve.mean, color=color, lw=1.8, linestyle=DASHES[place % len(DASHES)])
    axes.set_title(
        f"{'tiny ' if figure.tiny else ''}{panel.title} reward", loc="left", fontsize=10, color=INK
    )
    axes.axvspan(figure.steps - figure.part - 0.5, figure.steps - 0.5, color="#000000", alpha=0.05)
    axes.text(
        figure.steps - figure.part / 2,
        0.02,
        "end",
        transform=axes.get_xaxis_transform(),
        ha="center",
        fontsize=8,
        color=FAINT,
    )
    axes.set_xlim(0, max(1, figure.steps - 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", lw=0.6)
    _name_ends(axes, panel, names)


def _name_ends(axes: Axes, panel: Panel, names: list[str]) -> None:
    """Each arm's name beside the end of its line, none on top of another."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    tall = _HEIGHT * 72 * 0.7  # points of an axis, about
    named = [one for one in panel.arms if one.end.value is not None]
    ends = [(high - one.curve.mean[-1]) / (high - low) * tall for one in named]
    for one, end in zip(named, apart(ends), strict=True):
        axes.annotate(
            one.arm,
            xy=(1.0, 1 - end / tall),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=COLORS[names.index(one.arm) % len(COLORS)],
        )
