"""A partial run, which has not ended, opened for reading: what is there so far.

Its tables come from the append-only rows instead of parquet. Nothing is changed: a torn last line
and a damaged one are left out here, and taken out by the command that continues the run. An output
that is not graded yet reads as skipped for that reason, so that no number takes it for missing or
wrong.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pairuni_eval.errors import UserError
from pairuni_eval.places import is_file
from pairuni_eval.store import layout
from pairuni_eval.store.archive import unpacked
from pairuni_eval.store.rank_rows import READING, RankRows
from pairuni_eval.store.read import Soundness, StoredRun, read_run_card
from pairuni_eval.store.rows import Recovered, read_rows
from pairuni_eval.store.seal import Seal
from pairuni_eval.store.tables import KINDS, columns, identity_of

if TYPE_CHECKING:
    import pandas as pd

NOT_GRADED = "not graded yet"
_REAL_COLUMNS = ("value",)


class PartialRun(StoredRun):
    """A run folder without its COMPLETE marker.

    Args:
        folder: The run folder.

    Raises:
        UserError: if it is not a run folder, or no output is graded yet.
    """

    unfinished = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.card = read_run_card(folder)
        self.seal = Seal(rows={}, sha256={})
        self.cards = self._read_cards()
        self._dropped = self._unchecked = 0
        if self.scores.empty:
            raise UserError(
                f"The run in {folder} is not complete, and none of its {len(self.outputs)} outputs "
                "is graded yet.",
                hint=self.way_back,
            )

    @cached_property
    def way_back(self) -> str:
        """See `StoredRun.way_back`."""
        return f"Continue it: {self.again}"

    @cached_property
    def outputs(self) -> pd.DataFrame:
        """See `StoredRun.outputs`; those without a score are skipped as `NOT_GRADED`."""
        found = self._table("outputs")
        graded = found["id"].isin(self.scores["output"])
        return found.assign(skipped=found["skipped"].where(graded, NOT_GRADED))

    @property
    def unchecked(self) -> bool:
        """Whether some of the rows so far carry no check."""
        return self._unchecked > 0

    @cached_property
    def soundness(self) -> Soundness:
        """See `StoredRun.soundness`."""
        found = super().soundness
        return found._replace(unchecked=self.unchecked, dropped=self._dropped)

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        kind = KINDS[name]
        found = self._read(name, kind)
        self._dropped += len(found.damaged)
        self._unchecked += found.unchecked
        frame = pd.DataFrame(columns(found.rows), columns=kind.__struct_fields__)
        return frame.astype({key: "float64" for key in _REAL_COLUMNS if key in frame})

    def _read(self, name: str, kind: type[msgspec.Struct]) -> Recovered[msgspec.Struct]:
        address = self.card.rows_address
        if name != "samples":
            return RankRows(self.folder, name, kind, address=address, share=READING).recover()
        path = self.folder / layout.ROWS / "samples.jsonl"
        if not path.is_file():
            return Recovered([])
        return read_rows(path, kind, identity_of(kind), address=address)


def open_run(folder: Path) -> StoredRun:
    """A run for reading: a run folder, complete or not, or a run packed into a file.

    Raises:
        UserError: if it is not a run, or holds nothing to read yet.
    """
    folder = unpacked(folder)
    if is_file(folder / layout.COMPLETE) or not is_file(folder / layout.RUN_FILE):
        return StoredRun(folder)
    return PartialRun(folder)
