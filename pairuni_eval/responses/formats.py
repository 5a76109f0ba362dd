"""One door for every format of recorded answers: which one a file is, and its rows as ours."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pairuni_eval.responses import lmms_eval, vlmevalkit
from pairuni_eval.responses.foreign import match_rows
from pairuni_eval.responses.roster import Roster, Settled
from pairuni_eval.responses.rows import lines_of, read_responses


class Format(StrEnum):
    """The layouts that can be read."""

    PAIRUNI = "pairuni"
    LMMS_EVAL = "lmms-eval"
    VLMEVALKIT = "vlmevalkit"


def detect(path: Path) -> Format:
    """The format of a file, by its suffix or its first line.

    Raises:
        UserError: if there is no such file, or nothing in it.
    """
    if path.suffix in vlmevalkit.SUFFIXES:
        return Format.VLMEVALKIT
    _, line = next(iter(lines_of(path)))
    return Format.LMMS_EVAL if lmms_eval.is_sample(line) else Format.PAIRUNI


def read_settled(path: Path, layout: Format | None, roster: Roster) -> Settled:
    """The recorded outputs of a file under the keys of a benchmark's samples.

    Args:
        path: The file.
        layout: Its format; None finds out.
        roster: The samples.

    Raises:
        UserError: for a file that cannot be read, or rows that are no samples of the benchmark.
    """
    found = layout or detect(path)
    if found is Format.PAIRUNI:
        return roster.settle(str(path), read_responses(path))
    rows = lmms_eval.read(path) if found is Format.LMMS_EVAL else vlmevalkit.read(path)
    settled = match_rows(str(path), rows, roster)
    return Settled(settled.responses, (f"{path.name}: {found} format", *settled.notes))
