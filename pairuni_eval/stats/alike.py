"""A check whether all outputs of a benchmark are one and the same, which says little of a model.

A model that is broken often fails so: the same picture for every prompt, an empty answer to every
question. Said is only what is certain: that the outputs are the same, not why. Outputs that are
missing count for nothing here, for they are counted elsewhere.
"""

from __future__ import annotations

from typing import NamedTuple

from pairuni_eval.stats.tables import Tables, given
from pairuni_eval.store.read import decode_cell

LEAST_OUTPUTS = 8
LEAST_SAMPLES = 2


class Alike(NamedTuple):
    """Outputs that are all the same.

    Attributes:
        outputs: How many there are.
        text: What all of them say; None where they are pictures.
    """

    outputs: int
    text: str | None


def alike(tables: Tables, benchmark: str) -> Alike | None:
    """What all outputs of a benchmark have in common, if they are all the same.

    None if they differ, or are fewer than `LEAST_OUTPUTS` or of fewer than `LEAST_SAMPLES` samples,
    which may be alike by chance. Answers of blanks alone are all empty.
    """
    frame = tables.outputs(benchmark)
    there = frame[given(frame) & frame["parts"].notna()]
    if len(there) < LEAST_OUTPUTS or there["sample"].nunique() < LEAST_SAMPLES:
        return None
    cells = there["parts"].unique()
    # Of outputs that differ the first few are enough.
    if len({_content(cell) for cell in cells[:LEAST_OUTPUTS]}) > 1:
        return None
    contents = {_content(cell) for cell in cells}
    if len(contents) > 1:
        return None
    kind, content = contents.pop()
    return Alike(len(there), content if kind == "text" else None)


def _content(cell: str) -> tuple[str, str]:
    """Kind and content of an output: its pictures, else its text without blanks around it."""
    parts = decode_cell(cell)
    pictures = [part["image"] for part in parts if part["kind"] == "image"]
    if pictures:
        return "image", " ".join(pictures)
    return "text", "".join(part["text"] for part in parts if part["kind"] == "text").strip()
