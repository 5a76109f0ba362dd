"""The layouts of recorded answers by name, apart from what reads them: `--help` lists them."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """The layouts that can be read."""

    PAIRUNI = "pairuni"
    LMMS_EVAL = "lmms-eval"
    VLMEVALKIT = "vlmevalkit"
