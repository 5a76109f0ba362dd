"""The rows of a responses file: answers or images that were made elsewhere.

A file holds JSON lines::

    {"id": "validation_Art_1", "text": "B"}
    {"id": "00012", "image": "images/00012-3.png", "draw": 3}

or the same keys in another kind of file that `records` reads. `id` is the dataset's own id of the
sample; the path of an image is relative to the file and stays below its folder. `draw` (default 0)
tells several outputs of one sample apart, and `benchmark` is needed only in a file that serves
several. Other keys are ignored. A `null` says that nothing was answered: the row is missing, which
is not the same as an empty answer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from pairuni_eval.errors import UserError, nearest
from pairuni_eval.places import is_folder
from pairuni_eval.responses.records import Record, Records, read_records

_CONTENT = ("text", "image")
# What other tools call the two keys.
_TEXTS = ("prediction", "response", "answer", "output", "pred", "generated_text", "caption")
_IDS = ("question_id", "index", "sample_id", "prompt_id", "key", "uid", "qid", "pid")
_FORM = 'A row is {"id": "...", "text": "..."}'


class Response(NamedTuple):
    """One recorded output.

    Attributes:
        id: The dataset's own id of the sample.
        line: Line of the file it stands on, from 1.
        text: The answer; None with no image either means that nothing was answered.
        image: Where the image lies.
        draw: Which of several outputs of the sample, from 0.
        benchmark: The benchmark it is for; None for whichever asks.
        fault: Why there is no image where one was named.
        asked: What it was made for, where its source says so.
    """

    id: str
    line: int
    text: str | None = None
    image: Path | None = None
    draw: int = 0
    benchmark: str | None = None
    fault: str | None = None
    asked: str | None = None


class MatchedResponses(NamedTuple):
    """Recorded outputs, and what is to be said about how they were read."""

    responses: tuple[Response, ...]
    notes: tuple[str, ...]


class _ResponseLine(msgspec.Struct, frozen=True):
    id: str | int
    text: str | UnsetType | None = UNSET
    image: str | UnsetType | None = UNSET
    draw: Annotated[int, msgspec.Meta(ge=0)] = 0
    benchmark: str | None = None


def read_responses(path: Path) -> MatchedResponses:
    """All rows of a responses file, in order.

    Raises:
        UserError: naming the line, for a row in another form, or a sample and draw with two
            different answers.
    """
    return responses_of(path, read_records(path))


def responses_of(path: Path, records: Records) -> MatchedResponses:
    """The rows of a file that has been read; as `read_responses`."""
    tidy = _from_cells if records.tabular else _as_it_is
    rows = [_response(path, record.line, tidy(record)) for record in records.rows]
    once = _once(path, rows)
    return MatchedResponses(once, repeated(len(rows) - len(once)))


def repeated(rows: int) -> tuple[str, ...]:
    """What is said of rows that say again what an earlier one says, as ranks that pad write."""
    return (f"Rows that repeat an earlier one word for word and count once: {rows}",) * (rows > 0)


def digest(path: Path, rows: Iterable[Response]) -> str:
    """SHA-256 over a responses file and the images that its rows name, where they are there.

    A folder of pictures has no file that says whose they are: there ids and draws count.
    """
    folder = is_folder(path)
    total = hashlib.sha256(b"" if folder else path.read_bytes())
    for row in rows:
        if folder:
            total.update(f"{row.benchmark}\n{row.id}\n{row.draw}\n{row.asked}\n".encode())
        if row.image is not None and _is_file(row.image):
            with row.image.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def image_beside(path: Path, named: str) -> Path | None:
    """The image that a row names, below the folder of its file; None if it leads out of there.

    Links that lie in the folder are the user's own and may lead anywhere. Separators of Windows
    mean what they mean there, unless a file is really called so.
    """
    folder = _lexical(path.parent)
    spelled = named.replace("\\", "/")
    for name in dict.fromkeys((named, spelled)):
        place = _lexical(path.parent / name)
        inside = place.is_relative_to(folder) and "\0" not in name
        if inside and (name == spelled or _is_file(place)):
            return path.parent / place.relative_to(folder)
    return None


def _lexical(path: Path) -> Path:
    """The absolute path without `..`; links stay what they are."""
    return Path(os.path.normpath(path.absolute()))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _as_it_is(record: Record) -> dict[str, Any]:
    return record.row


def _from_cells(record: Record) -> dict[str, Any]:
    """The row of a table: an empty cell says nothing, unless the answer belonged there."""
    row: dict[str, Any] = {
        key: value for key, value in record.row.items() if value is not None or key in _CONTENT
    }
    draw = row.get("draw")
    return row | {"draw": int(draw)} if draw is not None and draw.isdecimal() else row


def _response(path: Path, number: int, row: Mapping[str, Any]) -> Response:
    try:
        line = msgspec.convert(row, _ResponseLine)
    except msgspec.ValidationError as failure:
        offer = _offer(row, "id", _IDS) if "id" not in row else ""
        raise UserError(f"{path}, line {number}: {failure}.{offer}", hint=_FORM) from failure
    if line.text is UNSET and line.image is UNSET:
        raise UserError(
            f"{path}, line {number}: neither 'text' nor 'image'.{_offer(row, 'text', _TEXTS)} "
            f"It has: {', '.join(row)}.",
            hint="Rename the key that holds the answer to 'text'.",
        )
    image = image_beside(path, line.image) if isinstance(line.image, str) else None
    lost = isinstance(line.image, str) and image is None
    return Response(
        id=str(line.id),
        line=number,
        text=None if line.text is UNSET else line.text,
        image=image,
        draw=line.draw,
        benchmark=line.benchmark,
        fault="the path of the image leads out of the folder of the file" if lost else None,
    )


def _offer(row: Mapping[str, Any], wanted: str, known: Iterable[str]) -> str:
    """The key of a row that may be the one that is missing, as a question."""
    names = (wanted,) if wanted == "id" else _CONTENT
    guess = next((key for key in known if key in row), None) or next(
        (key for key in row if nearest(key, names) and key != "id"), None
    )
    return f" Is it '{guess}'? Rename it to '{wanted}'." if guess else ""


def _once(path: Path, rows: Iterable[Response]) -> tuple[Response, ...]:
    """The rows without those that say again what an earlier one says.

    Raises:
        UserError: for two rows of one sample and draw that say different things.
    """
    first: dict[tuple[str | None, str, int], Response] = {}
    for row in rows:
        former = first.setdefault((row.benchmark, row.id, row.draw), row)
        if (former.text, former.image, former.fault) != (row.text, row.image, row.fault):
            raise UserError(
                f"{path}: id '{row.id}', draw {row.draw} stands on lines {former.line} and "
                f"{row.line}, with different answers.",
                hint='Several outputs of one sample are told apart by "draw": 0, 1, 2, ...',
            )
    return tuple(first.values())
