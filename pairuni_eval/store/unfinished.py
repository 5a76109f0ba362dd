"""A run that has not ended, opened for reading all the same: what is there so far.

Its tables come from the append-only rows instead of parquet. Nothing is changed: a torn last line
is left out here and cut off by the command that continues the run. An output that is not graded yet
reads as skipped for that reason, so that no number takes it for missing or wrong.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError
from pairuni_eval.records import Output, Sample, Score
from pairuni_eval.store import layout
from pairuni_eval.store.packed import unpacked
from pairuni_eval.store.read import StoredRun, read_run_card

if TYPE_CHECKING:
    import pandas as pd

NOT_GRADED = "not graded yet"
_RECORDS: dict[str, type[msgspec.Struct]] = {"samples": Sample, "outputs": Output, "scores": Score}
_REAL_COLUMNS = ("value",)


class UnfinishedRun(StoredRun):
    """A run folder without its COMPLETE marker.

    Args:
        folder: The run folder.

    Raises:
        UserError: if it is no run folder, or no output is graded yet.
    """

    unfinished = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card = read_run_card(folder)
        if self.scores.empty:
            raise UserError(
                f"The run in {folder} is not complete, and none of its {len(self.outputs)} outputs "
                "is graded yet.",
                hint=f"Continue it: {self.card.command} {as_typed('--out', folder)}",
            )

    @cached_property
    def outputs(self) -> pd.DataFrame:
        """See `StoredRun.outputs`; those without a score are skipped as `NOT_GRADED`."""
        found = self._table("outputs")
        graded = found["id"].isin(self.scores["output"])
        return found.assign(skipped=found["skipped"].where(graded, NOT_GRADED))

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        rows = [row for path in self._files(name) for row in _rows(path)]
        columns = _RECORDS[name].__struct_fields__ if name in _RECORDS else None
        frame = pd.DataFrame(rows, columns=columns)
        return frame.astype({key: "float64" for key in _REAL_COLUMNS if key in frame})

    def _files(self, name: str) -> list[Path]:
        rows = self.folder / layout.ROWS
        return sorted([*rows.glob(f"{name}.jsonl"), *rows.glob(f"{name}-rank*.jsonl")])


def _rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file as cells; structured ones as JSON text, as in parquet."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    try:
        rows = msgspec.json.Decoder(dict[str, Any]).decode_lines(whole)
    except msgspec.DecodeError as failure:
        raise UserError(
            f"{path}: cannot be read: {failure}.",
            hint="Continue the run first; it says which line to delete.",
        ) from failure
    return [{key: _cell(value) for key, value in row.items()} for row in rows]


def _cell(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else value


def open_run(folder: Path) -> StoredRun:
    """A run for reading: a run folder, complete or not, or a run packed into a file.

    Raises:
        UserError: if it is no run, or holds nothing to read yet.
    """
    folder = unpacked(folder)
    if (folder / layout.COMPLETE).is_file() or not (folder / layout.RUN_FILE).is_file():
        return StoredRun(folder)
    return UnfinishedRun(folder)
