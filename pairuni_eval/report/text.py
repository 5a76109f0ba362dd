"""Numbers and foreign text as a report prints them.

Numbers follow the metric's card (scale and decimals). Text that comes from a model, a dataset or a
judge is cleaned of control and direction characters and escaped at the door: by jinja2's
autoescape in HTML, by `MarkdownText` in Markdown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from pairuni_eval.cards import MetricSpec
from pairuni_eval.foreign_text import clean
from pairuni_eval.stats.intervals import Interval
from pairuni_eval.stats.verdict import plain, signed_plain

NOTHING = "–"
_TAG = re.compile(r"<(?! )")  # before a blank it opens nothing: "p < .001"
_PUNCTUATION = re.compile(r"([\\`*_\[\]#|~$])")


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis and the full length where something is cut."""
    cleaned = clean(text)
    if len(cleaned) <= limit:
        return cleaned
    return f"{cleaned[:limit].rstrip()} … ({len(cleaned)} characters)"


def number(value: float | None, spec: MetricSpec) -> str:
    """A value as its card prints it, without a unit."""
    return NOTHING if value is None else _minus(plain(value, spec))


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def unit(spec: MetricSpec) -> str:
    """The unit beside a value: per cent where a share is printed times 100."""
    return "%" if spec.scale == 100 else ""


def printed(value: float | None, spec: MetricSpec) -> str:
    """A value with its unit."""
    return f"{number(value, spec)} {unit(spec)}".rstrip() if value is not None else NOTHING


def signed(value: float | None, spec: MetricSpec) -> str:
    """A difference as its card prints the metric, always with a sign."""
    return NOTHING if value is None else _minus(signed_plain(value, spec))


def interval(bounds: Interval | None, spec: MetricSpec) -> str:
    """A 95 % interval in brackets, or a dash."""
    if bounds is None:
        return NOTHING
    return f"[{number(bounds.low, spec)}, {number(bounds.high, spec)}]"


def p_value(p: float | None) -> str:
    """A p value with three decimals."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def arrows(text: str) -> str:
    """A sentence's "->" as an arrow."""
    return text.replace("->", "\N{RIGHTWARDS ARROW}")


def typeset(text: str) -> str:
    """A sentence with true arrows and minus signs, and per cent kept beside its number."""
    signed_text = re.sub(r"(?<![\w.-])-(?=\.?\d)", "\N{MINUS SIGN}", arrows(text))
    return signed_text.replace(" %", "\N{NO-BREAK SPACE}%")


def rounded(value: float) -> str:
    """A number without a card: three decimals, or three digits where it is large."""
    if not math.isfinite(value):
        return NOTHING
    shown = (
        f"{round(value, 3) + 0.0:.3f}"
        if abs(value) < 10
        else f"{value:,.{1 if abs(value) < 100 else 0}f}"
    )
    return _minus(shown)


def listed(words: Sequence[str]) -> str:
    """E.g. "A, B and C"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def times(shares: Sequence[float]) -> str:
    """How many times, e.g. "1.3 to 40 times"."""
    low, high = (_two_digits(choose(shares)) for choose in (min, max))
    return f"{low} times" if low == high else f"{low} to {high} times"


def _two_digits(share: float) -> str:
    return f"{share:.1f}" if share < 10 else f"{float(f'{share:.2g}'):,.0f}"


class MarkdownText(str):
    """Text that is Markdown already and is not escaped again."""

    __slots__ = ()


def escape_markdown(value: Any) -> str:
    """Text as literal Markdown on one line: no markup, HTML, table cell, link or mention."""
    if isinstance(value, MarkdownText):
        return value
    text = escape_within(value)
    return re.sub(r"^(\d+(?=[.)])|(?=[-+=]))", r"\1\\", text)  # no list, no heading's underline


def escape_within(value: Any) -> MarkdownText:
    """The same for text that begins no line, such as a number in a table."""
    text = " ".join(clean(str(value)).replace("&", "&amp;").replace(">", "&gt;").split())
    text = _TAG.sub("&lt;", text)
    text = _PUNCTUATION.sub(r"\\\1", text)
    text = text.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")
    return MarkdownText(text)


def coded(text: str) -> MarkdownText:
    """A command inside a line, with more backticks around it than any run of them inside."""
    cleaned = " ".join(clean(text).split())
    longest = max((len(run) for run in re.findall(r"`+", cleaned)), default=0)
    ticks, blank = "`" * (longest + 1), " " if longest else ""
    return MarkdownText(f"{ticks}{blank}{cleaned}{blank}{ticks}")


def fenced(text: str) -> MarkdownText:
    """A code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return MarkdownText(f"{fence}\n{clean(text)}\n{fence}")
