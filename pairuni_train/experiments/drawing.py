"""How the pictures of experiments look: one width, colors for every eye, a white ground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 7.3  # inches, which a browser shows as 700 pixels
INK = "#222222"
FAINT = "#888888"
# Okabe and Ito 2008: blue, vermilion, green, purple, orange, sky blue.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), "-.")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure on white."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="#ffffff")


def save(figure: Figure, path: Path) -> None:
    """Write it as SVG; equal figures give equal files."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path, metadata={"Date": None})
