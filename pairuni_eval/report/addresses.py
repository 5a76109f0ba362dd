"""Addresses inside a report: what follows the "#" for a sample, a group or a filter.

    #sample=tiny-mmmu/q0001&draw=2
    #benchmark=tiny-pope&group=category:%20adversarial&filter=worse&against=GRPO

`browse.js` reads and writes the same. Benchmarks, baselines, keys and groups go by their names and
not by numbers, so that an address means the same on a page that is built again.
"""

from __future__ import annotations

from urllib.parse import quote

from pairuni_eval.foreign_text import clean
from pairuni_eval.report.text import shorten

LONGEST = 80  # characters of a key or a group's name
SEVERAL = " · draw "  # between a key and the number of a draw
_OPEN = "/:,()"  # signs of a name that stay as they are


def shown_key(key: str, draw: int | None = None) -> str:
    """A sample as the page names it; `draw`, from 0, where it has several."""
    cut = shorten(key, LONGEST)
    return cut if draw is None else f"{cut}{SEVERAL}{draw + 1}"


def shown_group(tag: str, name: str) -> str:
    """A group as the page names it, e.g. "category: counting"."""
    return f"{clean(tag)}: {shorten(name, LONGEST)}"


def of_sample(benchmark: str, key: str, draw: int | None = None) -> str:
    """The address of a sample with all of its draws, or of one draw, which counts from 0."""
    return _address(
        sample=f"{benchmark}/{shown_key(key)}", draw=None if draw is None else str(draw + 1)
    )


def of_group(
    benchmark: str, group: str, *, filter: str | None = None, against: str | None = None
) -> str:
    """The address of the rows of a group.

    Args:
        benchmark: Its name.
        group: As `shown_group` has it; "" for the whole benchmark.
        filter: right, wrong, none, differ; with a baseline better, worse, both or neither.
        against: The baseline's name.
    """
    return _address(benchmark=benchmark, group=group or None, filter=filter, against=against)


def _address(**parts: str | None) -> str:
    return "&".join(
        f"{name}={quote(value, safe=_OPEN, errors='replace')}"
        for name, value in parts.items()
        if value is not None
    )
