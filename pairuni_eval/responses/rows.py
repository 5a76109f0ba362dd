"""The rows of a responses file: answers or images that were made elsewhere.

A file holds JSON lines::

    {"id": "validation_Art_1", "text": "B"}
    {"id": "00012", "image": "images/00012-3.png", "draw": 3}

`id` is the dataset's own id of the sample; the path of an image is relative to the file. `draw`
(default 0) tells several outputs of one sample apart, and `benchmark` is needed only in a file that
serves several. Other keys are ignored. A `null` says that nothing was answered: the row is missing,
which is not the same as an empty answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from pairuni_eval.errors import UserError, nearest

_CONTENT = ("text", "image")
_MARK = b"\xef\xbb\xbf"  # what some editors put in front of UTF-8


class Response(NamedTuple):
    """One recorded output.

    Attributes:
        id: The dataset's own id of the sample.
        line: Line of the file it stands on, from 1.
        text: The answer; None with no image either means that nothing was answered.
        image: Where the image lies.
        draw: Which of several outputs of the sample, from 0.
        benchmark: The benchmark it is for; None for whichever asks.
    """

    id: str
    line: int
    text: str | None = None
    image: Path | None = None
    draw: int = 0
    benchmark: str | None = None


class _Line(msgspec.Struct, frozen=True):
    id: str | int
    text: str | UnsetType | None = UNSET
    image: str | UnsetType | None = UNSET
    draw: Annotated[int, msgspec.Meta(ge=0)] = 0
    benchmark: str | None = None


_decoder = msgspec.json.Decoder(_Line)


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that hold something, with their numbers from 1.

    Raises:
        UserError: if there is no such file, or nothing in it.
    """
    if not path.is_file():
        raise UserError(f"There is no responses file {path}.", hint="--responses FILE.jsonl")
    empty = True
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            held = (line.removeprefix(_MARK) if number == 1 else line).strip()
            if held:
                empty = False
                yield number, held
    if empty:
        raise UserError(f"{path} holds no rows.", hint='One a line: {"id": "...", "text": "..."}')


def read_responses(path: Path) -> list[Response]:
    """All rows of a responses file, in order.

    Raises:
        UserError: naming the line, for a row in another form or a sample and draw that occur twice.
    """
    rows = [_response(path, number, line) for number, line in lines_of(path)]
    _refuse_repeats(path, rows)
    return rows


def digest(path: Path, rows: Iterable[Response]) -> str:
    """SHA-256 over a responses file and the images that its rows name, where they are there."""
    total = hashlib.sha256(path.read_bytes())
    for row in rows:
        if row.image is not None and row.image.is_file():
            with row.image.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _response(path: Path, number: int, line: bytes) -> Response:
    try:
        row = _decoder.decode(line)
    except msgspec.DecodeError as failure:
        raise UserError(
            f"{path}, line {number}: {failure}.", hint='A row is {"id": "...", "text": "..."}'
        ) from failure
    if row.text is UNSET and row.image is UNSET:
        raise _no_content(path, number, msgspec.json.decode(line))
    return Response(
        id=str(row.id),
        line=number,
        text=None if row.text is UNSET else row.text,
        image=path.parent / row.image if isinstance(row.image, str) else None,
        draw=row.draw,
        benchmark=row.benchmark,
    )


def _no_content(path: Path, number: int, row: dict[str, Any]) -> UserError:
    guess = next((key for key in row if nearest(key, _CONTENT) and key != "id"), None)
    offer = f" Is it '{guess}'?" if guess else ""
    return UserError(
        f"{path}, line {number}: neither 'text' nor 'image'.{offer} It has: {', '.join(row)}.",
        hint="Rename the key that holds the answer to 'text'.",
    )


def _refuse_repeats(path: Path, rows: Iterable[Response]) -> None:
    first: dict[tuple[str | None, str, int], int] = {}
    for row in rows:
        line = first.setdefault((row.benchmark, row.id, row.draw), row.line)
        if line != row.line:
            raise UserError(
                f"{path}: id '{row.id}', draw {row.draw} stands on lines {line} and {row.line}.",
                hint='Several outputs of one sample are told apart by "draw": 0, 1, 2, ...',
            )
