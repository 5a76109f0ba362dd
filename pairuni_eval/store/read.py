"""A reader of finished run folders, on which statistics and report stand.

Tables come back as data frames with the columns of the records. `parts`, `reference` and `tags`
are decoded on demand, because most readers need none of them. Whatever is read is compared first
with what COMPLETE says of it, once for each `StoredRun`; what differs is refused with the way back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from pairuni_eval import __version__
from pairuni_eval.cache import is_unpacked
from pairuni_eval.cards import Card, card_problem
from pairuni_eval.commands import as_typed, is_command
from pairuni_eval.errors import UserError, nearest
from pairuni_eval.judges.usage import UsageRow, standing
from pairuni_eval.places import is_file, is_folder
from pairuni_eval.records import RECORD_FORMAT, ExternalMetric, RunCard
from pairuni_eval.store import layout
from pairuni_eval.store.documents import (
    Document,
    check_digest,
    parse_document,
    read_bytes,
    read_document,
)
from pairuni_eval.store.pictures import MISSING, Pictures
from pairuni_eval.store.rows import read_rows
from pairuni_eval.store.seal import read_seal, table_bytes
from pairuni_eval.store.tables import KINDS, read_frame, read_records

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Row = TypeVar("Row", bound=msgspec.Struct)
_NAMED = 5  # runs that an error names
_COPY = "Copy the run folder again, or delete it and repeat the command that made it."


def _what_to_name(folder: Path) -> str:
    """What somebody may have meant who names a folder that is not a run."""
    there = is_folder(folder)
    found = folder.glob("checkpoint-*") if there else ()
    checkpoints = sorted(found, key=lambda path: (len(path.name), path.name))
    if checkpoints:
        words = ("pairuni-eval", "run", "--checkpoint", checkpoints[-1])
        return f"Training wrote it; measure it: {as_typed(*words)}"
    around = folder if there else folder.parent
    cards = around.glob(f"*/{layout.RUN_FILE}") if is_folder(around) else ()
    runs = sorted(path.parent.name for path in cards)
    if there and runs:
        more = ", ..." if len(runs) > _NAMED else ""
        return f"Name one of the runs in it: {', '.join(runs[:_NAMED])}{more}"
    guess = nearest(folder.name, runs)
    if guess:
        return f"Did you mean {folder.parent / guess}?"
    return "A run folder is what `pairuni-eval run --out FOLDER` writes."


def read_run_card(run: Path) -> RunCard:
    """The card of a run folder.

    Raises:
        UserError: if it is not a run folder, or was written in another record format.
    """
    return _run_card(run, _run_bytes(run)).value


def _run_bytes(run: Path) -> bytes:
    path = run / layout.RUN_FILE
    if not is_file(path):
        message = f"{run} is not a run folder: it has no {layout.RUN_FILE}."
        raise UserError(message, hint=_what_to_name(run))
    return path.read_bytes()


def _run_card(run: Path, data: bytes) -> Document[RunCard]:
    path = run / layout.RUN_FILE
    found = parse_document(path, data, dict[str, Any], hint=_COPY).value.get("format")
    if found != RECORD_FORMAT:
        raise UserError(
            f"{path}: written in format '{found}'; this is pairuni {__version__}, "
            f"which reads '{RECORD_FORMAT}'.",
            hint="Choose another folder with --out, or use the version that wrote it.",
        )
    card = parse_document(path, data, RunCard, hint=_COPY)
    for name, asked in card.value.benchmarks.items():
        if not layout.names_a_card(name):
            message = f"{path}: benchmarks: '{name}' cannot be the name of a benchmark."
            raise UserError(message, hint=_COPY)
        if not asked.protocols:
            message = f"{path}: benchmarks.{name}.protocols: there is none."
            raise UserError(message, hint=_COPY)
    return card


class Soundness(NamedTuple):
    """What is known of a run's stored files beyond its numbers.

    Attributes:
        missing: Pictures that samples or outputs name and the folder lacks; a packed run leaves
            pictures out on purpose, which do not count.
        changed: Pictures that are not what was stored.
        unchecked: Whether some of its rows carried no check while the run went on.
        dropped: Rows that fail their check; only a run that goes on may have some.
    """

    missing: int
    changed: int
    unchecked: bool
    dropped: int = 0


class StoredRun:
    """A run folder, opened for reading.

    Args:
        folder: The run folder.

    Attributes:
        notes: What is to be said about how it was read.
        address: What names it wherever the package is installed, for a run that a suite ships.

    Raises:
        UserError: if it is not a run folder, the run is not complete, or a file of it is changed.
    """

    unfinished = False
    address: str | None = None

    @property
    def printed_name(self) -> str:
        """What a page calls it: the name that a suite ships it by, or its own."""
        return self.address.rpartition("/")[2] if self.address else self.card.name

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        data = _run_bytes(folder)
        card = _run_card(folder, data)
        self.card = card.value
        if not (folder / layout.COMPLETE).is_file():
            raise UserError(
                f"The run in {folder} is not complete.", hint=f"Continue it: {self.again}"
            )
        self.seal = read_seal(folder, hint=self.way_back)
        path = folder / layout.RUN_FILE
        expected = self.seal.files.get(layout.RUN_FILE)
        check_digest(path, data, expected, hint=_COPY)
        self._note(path, card)
        self.cards = self._read_cards()

    @property
    def again(self) -> str:
        """The command that continues the run, or words for one that nobody should type."""
        return self._repeated(self.folder)

    def _repeated(self, out: Path) -> str:
        if not is_command(self.card.command):
            return f"its {layout.RUN_FILE} does not hold a command of pairuni-eval to be repeated."
        return f"{self.card.command} {as_typed('--out', out)}"

    @cached_property
    def packed(self) -> bool:
        """Whether the folder was unpacked from a packed run."""
        return is_unpacked(self.folder)

    @cached_property
    def way_back(self) -> str:
        """What to do about a file that is missing or changed."""
        if self.packed:
            return f"Delete {self.folder}: it is unpacked anew when the run is named again."
        if self.card.code != __version__:  # which is not continued by this one
            other = self.folder.with_name(f"{self.folder.name}-again")
            return f"Copy the run folder again; or measure into another: {self._repeated(other)}"
        return (
            f"Copy the run folder again; or delete {self.folder / layout.COMPLETE} and measure "
            f"again: {self.again}"
        )

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per sample: uid, benchmark, key, capability, parts, reference, unit, tags."""
        return self._table("samples")

    @cached_property
    def outputs(self) -> pd.DataFrame:
        """A row for each output: id, sample, draw, seed, decoding, parts, tokens, why not."""
        return self._table("outputs")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per score: output, protocol, metric, value, status, scorer, judge, verdict."""
        return self._table("scores")

    @cached_property
    def external_metrics(self) -> list[ExternalMetric]:
        """What other toolkits computed over the whole run; empty for most runs."""
        path = self.folder / layout.EXTERNAL_METRICS
        if not path.is_file() and layout.EXTERNAL_METRICS not in self.seal.files:
            return []
        return self._document(layout.EXTERNAL_METRICS, list[ExternalMetric])

    @cached_property
    def opinions(self) -> pd.DataFrame:
        """As `scores`, by the second judge; no rows where there is none."""
        path = self.folder / f"{layout.OPINIONS}.parquet"
        if not path.is_file() and layout.OPINIONS not in self.seal.sha256:
            return self.scores.iloc[:0]
        return self._table(layout.OPINIONS)

    @cached_property
    def judge_usage(self) -> list[UsageRow]:
        """What the judges were asked and what it cost."""
        return read_usage(self.folder)

    @cached_property
    def pictures(self) -> Pictures:
        """The pictures, each compared with its id before it is given out."""
        return Pictures(self.folder, self.seal.pictures)

    @cached_property
    def soundness(self) -> Soundness:
        """What is known of the stored files; looks at every picture of the run."""
        troubles = [self.pictures.trouble(image) for image in sorted(self.named_pictures)]
        missing = sum(one == MISSING for one in troubles)
        changed = len([one for one in troubles if one is not None]) - missing
        return Soundness(0 if self.packed else missing, changed, self.unchecked)

    @property
    def unchecked(self) -> bool:
        """Whether some rows carried no check while the run went on, or nobody counted them."""
        return self.seal.unchecked != 0

    def image_path(self, image: str) -> Path:
        """The file that holds a picture."""
        return layout.image_path(self.folder, image)

    def verify(self) -> None:
        """Compare every table and all of the run's own JSON with COMPLETE.

        Raises:
            UserError: for the first file that is missing or changed.
        """
        self.verify_tables()
        for name, digest in self.seal.files.items():
            if not (self.packed and name == layout.PLAN_FILE):
                read_bytes(self.folder / name, digest, hint=self.way_back)

    def verify_tables(self) -> None:
        """As `verify`, of the tables alone."""
        for name in self.seal.sha256:
            table_bytes(self.folder, name, self.seal, hint=self.way_back)

    def records(self, name: str, kind: type[Row]) -> list[Row]:
        """A table as records; empty if the run has none of that name.

        Raises:
            UserError: if it is changed.
        """
        if name not in self.seal.sha256:
            return []
        data = table_bytes(self.folder, name, self.seal, hint=self.way_back)
        rows, path = self.seal.rows.get(name, 0), self.folder / f"{name}.parquet"
        return read_records(path, data, kind, rows=rows, hint=self.way_back)

    @cached_property
    def named_pictures(self) -> tuple[str, ...]:
        """The ids of all pictures that samples and outputs name, each once."""
        return tuple(dict.fromkeys(self._images()))

    def _images(self) -> Iterator[str]:
        for frame in (self.samples, self.outputs):
            cells = frame["parts"]
            for cell in cells[cells.str.contains('"image"', regex=False)].unique():
                yield from (part.image for part in _named(cell) if part.image)

    def _read_cards(self) -> dict[str, Card]:
        """The cards of the run's benchmarks as they were, in run order."""
        found = {}
        for name, asked in self.card.benchmarks.items():
            place = f"{layout.CARDS}/{name}.json"
            card = found[name] = self._document(place, Card)
            lacking = [p for p in asked.protocols if p.rpartition("@")[2] not in card.protocols]
            problem = card_problem(card)
            if problem is None and lacking:
                problem = f"protocols: it has no '{lacking[0]}', which {layout.RUN_FILE} names"
            if problem:
                raise UserError(f"{self.folder / place}: {problem}.", hint=self.way_back)
        return found

    def _document(self, name: str, kind: type[T]) -> T:
        path, digest = self.folder / name, self.seal.files.get(name)
        document = read_document(path, kind, hint=self.way_back, digest=digest)
        self._note(path, document)
        return document.value

    def _note(self, path: Path, document: Document[Any]) -> None:
        note = document.note(path)
        if note is not None:
            self.notes.append(note)

    def _table(self, name: str) -> pd.DataFrame:
        data = table_bytes(self.folder, name, self.seal, hint=self.way_back)
        rows = self.seal.rows.get(name, 0)
        path = self.folder / f"{name}.parquet"
        return read_frame(path, data, KINDS[name], rows=rows, hint=self.way_back)


class _Named(msgspec.Struct, gc=False):
    """Of a part, what alone is read here: a tenth of the time of `decode_cell`."""

    image: str = ""


_named = msgspec.json.Decoder(tuple[_Named, ...]).decode


def read_usage(run: Path) -> list[UsageRow]:
    """What a run's judges were asked, the standing rows in the order of grading; may be empty.

    Raises:
        UserError: for a line that is damaged.
    """
    path = run / layout.JUDGE / layout.USAGE
    if not path.is_file():
        return []
    found = read_rows(path, UsageRow)
    if found.damaged:
        raise UserError(
            f"{path}, line {found.damaged[0]}: it is damaged.",
            hint="Delete that line: the scores stand, what the judge cost is not known whole then.",
        )
    return standing(found.rows)


def decode_cell(text: str) -> Any:
    """The value behind a JSON text column (parts, reference, tags)."""
    return json.loads(text)
