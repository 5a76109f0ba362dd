"""Reading a finished run folder: what analysis and report stand on.

Tables come back as data frames with the columns of the records. `parts`, `reference` and `tags`
are decoded on demand, because most readers need none of them.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from pairuni_eval import __version__
from pairuni_eval.cards import Card
from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError, nearest
from pairuni_eval.judges.bills import Bill, standing
from pairuni_eval.records import RECORD_FORMAT, Figure, RunCard
from pairuni_eval.store import layout

if TYPE_CHECKING:
    import pandas as pd

Row = TypeVar("Row", bound=msgspec.Struct)
_NAMED = 5  # runs that an error names
_STRUCTURED = ("parts", "reference", "tags")


def _what_to_name(folder: Path) -> str:
    """What somebody may have meant who names a folder that is no run."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: (len(path.name), path.name))
    if checkpoints:
        words = ("pairuni-eval", "run", "--checkpoint", checkpoints[-1])
        return f"Training wrote it; measure it: {as_typed(*words)}"
    around = folder if folder.is_dir() else folder.parent
    runs = sorted(path.parent.name for path in around.glob(f"*/{layout.RUN_FILE}"))
    if folder.is_dir() and runs:
        more = ", ..." if len(runs) > _NAMED else ""
        return f"Name one of the runs in it: {', '.join(runs[:_NAMED])}{more}"
    guess = nearest(folder.name, runs)
    if guess:
        return f"Did you mean {folder.parent / guess}?"
    return "A run folder is what `pairuni-eval run --out FOLDER` writes."


def read_run_card(run: Path) -> RunCard:
    """The card of a run folder.

    Raises:
        UserError: if it is no run folder, or was written in another record format.
    """
    path = run / layout.RUN_FILE
    if not path.is_file():
        message = f"{run} is not a run folder: it has no {layout.RUN_FILE}."
        raise UserError(message, hint=_what_to_name(run))
    data = path.read_bytes()
    try:
        plain = msgspec.json.decode(data)
        found = plain.get("format") if isinstance(plain, dict) else None
        if found != RECORD_FORMAT:
            raise UserError(
                f"{path}: written in format '{found}'; this is pairuni {__version__}, "
                f"which reads '{RECORD_FORMAT}'.",
                hint="Choose another folder with --out, or use the version that wrote it.",
            )
        return msgspec.json.decode(data, type=RunCard)
    except msgspec.DecodeError as failure:
        raise UserError(f"{path}: cannot be read: {failure}.") from failure


class StoredRun:
    """A run folder, opened for reading.

    Args:
        folder: The run folder.

    Raises:
        UserError: if it is no run folder or the run is not complete.
    """

    unfinished = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card = read_run_card(folder)
        if not (folder / layout.COMPLETE).is_file():
            raise UserError(
                f"The run in {folder} is not complete.",
                hint=f"Continue it: {self.card.command} {as_typed('--out', folder)}",
            )

    @cached_property
    def cards(self) -> dict[str, Card]:
        """The cards of the run's benchmarks as they were, in run order."""
        return {
            name: msgspec.json.decode(
                (self.folder / layout.CARDS / f"{name}.json").read_bytes(), type=Card
            )
            for name in self.card.benchmarks
        }

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per sample: uid, benchmark, key, capability, parts, reference, unit, tags."""
        return self._table("samples")

    @cached_property
    def outputs(self) -> pd.DataFrame:
        """One row per output: id, sample, draw, seed, decoding, parts, tokens, error, skipped."""
        return self._table("outputs")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per score: output, protocol, metric, value, status, scorer, judge, verdict."""
        return self._table("scores")

    @cached_property
    def figures(self) -> list[Figure]:
        """What other toolkits computed over the whole run; empty for most runs."""
        path = self.folder / layout.FIGURES
        if not path.is_file():
            return []
        return msgspec.json.decode(path.read_bytes(), type=list[Figure])

    @cached_property
    def opinions(self) -> pd.DataFrame:
        """As `scores`, by the second judge; no rows where there is none."""
        if not (self.folder / f"{layout.OPINIONS}.parquet").is_file():
            return self.scores.iloc[:0]
        return self._table(layout.OPINIONS)

    @cached_property
    def bills(self) -> list[Bill]:
        """What the judges were asked and what it cost."""
        return read_bills(self.folder)

    def image_path(self, image: str) -> Path:
        """The file that holds a picture."""
        return layout.image_path(self.folder, image)

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd
        import pyarrow as pa

        path = self.folder / f"{name}.parquet"
        try:
            return pd.read_parquet(path)
        except (pa.ArrowException, OSError) as failure:
            raise UserError(
                f"{path}: cannot be read, though the run is marked complete: {failure}.",
                hint="Copy the run folder again; or delete COMPLETE and repeat its command.",
            ) from failure


def read_records(run: Path, name: str, kind: type[Row]) -> list[Row]:
    """A compacted table as records: "samples", "outputs" or "scores"; empty if there is none."""
    import pyarrow.parquet as pq

    path = run / f"{name}.parquet"
    if not path.is_file():
        return []
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row.update({key: msgspec.json.decode(row[key]) for key in _STRUCTURED if key in row})
    return msgspec.convert(rows, list[kind])  # type: ignore[valid-type]


def read_bills(run: Path) -> list[Bill]:
    """The standing bills of a run's judges, in the order of grading; empty if there are none."""
    path = run / layout.JUDGE / layout.BILLS
    if not path.is_file():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")  # a torn line is no bill
    try:
        return standing(msgspec.json.Decoder(Bill).decode_lines(whole))
    except msgspec.DecodeError as failure:
        raise UserError(
            f"{path}: cannot be read: {failure}.",
            hint="Delete the file: the scores stand, what the judge cost is not known then.",
        ) from failure


def decode_cell(text: str) -> Any:
    """The value behind a JSON text column (parts, reference, tags)."""
    return json.loads(text)
