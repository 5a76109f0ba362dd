"""The picture of a data card as SVG: similarities, and rows by kind and source.

Drawn with our own few shapes: the text is a function of the counts alone, so a card is equal byte
for byte wherever it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from xml.sax.saxutils import escape

from pairuni_train.pair_data.stats import BINS, Stats

_WIDTH, _ROW, _TOP = 860, 17, 34
_PLOT = (46, 330)  # left and right edge of the histogram
_BARS = (560, 800)  # of the bars; their names stand left of them
_HEIGHT = 220  # at least
_MOST = 30  # bars
_BLUE, _GREEN, _ORANGE = "#4878a8", "#6aa56a", "#c08040"
_STYLE = (
    "text{font:11px sans-serif;fill:#333} .title{font-weight:bold;font-size:12px} "
    ".axis{stroke:#999} .end{text-anchor:end} .middle{text-anchor:middle}"
)


class _CountBar(NamedTuple):
    name: str
    rows: int
    color: str


def plot_card(stats: Stats) -> str:
    """The SVG of a pair set."""
    bars = list(_bars(stats))
    height = max(_HEIGHT, _TOP + _ROW * len(bars) + 12)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'viewBox="0 0 {_WIDTH} {height}">',
            f"<style>{_STYLE}</style>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            *_histogram(stats),
            *_bar_chart(bars),
            "</svg>\n",
        ]
    )


def _histogram(stats: Stats) -> Iterator[str]:
    left, right = _PLOT
    base, step = _HEIGHT - 34, (right - left) / BINS
    yield _text(left, 18, "similarity of the two images", "title")
    if not stats.similarities:
        yield _text((left + right) // 2, 110, "no pair of two compared images", "middle")
        return
    top = max(stats.histogram)
    for place, count in enumerate(stats.histogram):
        tall = (base - _TOP) * count / top
        yield (
            f'<rect x="{left + place * step:.1f}" y="{base - tall:.1f}" width="{step - 1:.1f}" '
            f'height="{tall:.1f}" fill="{_BLUE}"><title>{place / BINS:.2f} to '
            f"{(place + 1) / BINS:.2f}: {count}</title></rect>"
        )
    yield f'<line class="axis" x1="{left}" y1="{base}" x2="{right}" y2="{base}"/>'
    for tick in range(0, 11, 2):
        x = left + (right - left) * tick // 10
        yield _text(x, base + 15, f"{tick / 10:g}", "middle")
    yield _text((left + right) // 2, base + 30, "cosine", "middle")
    yield _text(left - 4, _TOP + 8, str(top), "end")
    yield _text(left - 4, base, "0", "end")


def _bar_chart(bars: list[_CountBar]) -> Iterator[str]:
    left, right = _BARS
    yield _text(left, 18, "rows by kind, halves by source", "title")
    top = max((bar.rows for bar in bars), default=1)
    for place, bar in enumerate(bars):
        y, wide = _TOP + _ROW * place, (right - left) * bar.rows / top
        yield _text(left - 6, y + 11, bar.name, "end")
        yield (
            f'<rect x="{left}" y="{y}" width="{wide:.1f}" height="{_ROW - 4}" fill="{bar.color}"/>'
        )
        yield _text(left + round(wide) + 5, y + 11, str(bar.rows), "")


def _bars(stats: Stats) -> Iterator[_CountBar]:
    found = [
        *(_CountBar(f"{name} rows", count, _BLUE) for name, count in stats.kinds.items()),
        *(_CountBar(f"U {name}", count, _GREEN) for name, count in stats.understanding.items()),
        *(_CountBar(f"G {name}", count, _ORANGE) for name, count in stats.generation.items()),
    ]
    yield from found[:_MOST]
    if len(found) > _MOST:
        yield _CountBar(
            f"{len(found) - _MOST} more", sum(bar.rows for bar in found[_MOST:]), "#999"
        )


def _text(x: int, y: int, words: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(words)}</text>'
