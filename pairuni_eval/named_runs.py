"""The runs that somebody names: a folder, a packed run, or a baseline that a suite ships."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairuni_eval.store.read import StoredRun


def located(run: str | Path) -> Path:
    """The run folder behind a folder, a packed run or suite:SUITE/NAME.

    Raises:
        UserError: for an unknown suite or baseline, and for a file that is not a packed run.
    """
    from pairuni_eval.catalog import shipped_baseline
    from pairuni_eval.store.archive import unpacked

    return unpacked(shipped_baseline(str(run)) or Path(run))


def opened(run: str | Path) -> StoredRun:
    """A run for reading, complete or not, that knows its address if a suite ships it.

    Raises:
        UserError: as `located`, and if it is not a run or holds nothing to read yet.
    """
    from pairuni_eval.catalog import shipped_baseline
    from pairuni_eval.store.partial_run import open_run

    found = open_run(located(run))
    if shipped_baseline(str(run)) is not None:
        found.address = str(run)
    return found
