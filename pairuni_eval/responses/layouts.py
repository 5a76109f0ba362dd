"""The names of the formats of recorded answers, apart from what reads them, for `--help`."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """The layouts that can be read."""

    PAIRUNI = "pairuni"
    LMMS_EVAL = "lmms-eval"
    VLMEVALKIT = "vlmevalkit"
