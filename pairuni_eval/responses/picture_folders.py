"""Pictures that were made elsewhere, in the folders that the benchmarks' own scripts write.

| Benchmark     | Folder                                                             |
|---------------|--------------------------------------------------------------------|
| GenEval       | 00000/samples/0000.png ..., with the prompt in 00000/metadata.jsonl |
| GEdit-Bench   | fullset/TASK/en/KEY.png (or cn)                                    |
| HPSv2         | STYLE/00000.jpg                                                    |
| UniGenBench++ | INDEX_DRAW.png: 0_0.png to 0_3.png, 1_0.png ...                    |
| WISE, ImgEdit | ID.png, the prompt_id of WISE or the key of basic_edit.json        |

A picture's place gives the id of its sample and the draw. Where the folder says what was asked
(metadata.jsonl), that goes along, so that pictures of another order are no answers. A file that
belongs to no layout is counted in a note. Departures from the official scripts: a picture may be
.png, .jpg, .jpeg or .webp everywhere, and GenEval's pictures are draws by their own number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.places import is_file, is_folder
from pairuni_eval.responses.rows import MatchedResponses, Response
from pairuni_eval.responses.sample_index import SampleIndex
from pairuni_eval.user_text import json_lines

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_NUMBER = re.compile(r"\d+", re.ASCII)
_NUMBER_AND_DRAW = re.compile(r"(\d+)_(\d+)", re.ASCII)
_STYLES = ("anime", "concept-art", "paintings", "photo")  # of HPSv2
_LANGUAGES = {"en": "gedit", "cn": "gedit-cn"}  # of GEdit-Bench, and whose pictures they are
_SOURCE = "_SRCIMG"  # how GEdit-Bench's scripts end the name of a source picture
_LAYOUTS = (
    "Folders are read as benchmarks' own scripts write them: GenEval's 00000/samples/0000.png "
    "beside 00000/metadata.jsonl, GEdit-Bench's fullset/TASK/en/KEY.png, HPSv2's STYLE/00000.jpg, "
    "UniGenBench++'s INDEX_DRAW.png, WISE's and ImgEdit's ID.png"
)
_HINT = 'Or write a file beside the pictures, one line a picture: {"id": "...", "image": "..."}'


class _Found(NamedTuple):
    """A picture, and whose it is; fields as in `Response`."""

    path: Path
    id: str
    draw: int = 0
    benchmark: str | None = None
    asked: str | None = None


class _Layout(NamedTuple):
    """How one benchmark's scripts name pictures.

    Attributes:
        pictures: The pictures of a folder; none if it is of another layout.
        companions: Names of the scripts' own files that are no pictures of samples.
    """

    pictures: Callable[[Path], Iterable[_Found]]
    companions: tuple[str, ...] = ()


def read_folder(folder: Path) -> MatchedResponses:
    """Every picture of a folder, in order of its path.

    Raises:
        UserError: for a folder of none of the layouts, and two pictures of one sample and draw.
    """
    try:
        for layout in _KNOWN:
            pictures = sorted(layout.pictures(folder))
            if pictures:
                return MatchedResponses(
                    tuple(_responses(folder, pictures)), _notes(folder, pictures, layout)
                )
        held = sorted(path.name for path in folder.iterdir())[:5]
    except OSError as failure:
        raise UserError(f"{folder} cannot be read: {failure}.", hint=_HINT) from failure
    raise UserError(
        f"{folder} is a folder of no layout that is read; it holds: "
        f"{', '.join(held) or 'nothing'}. {_LAYOUTS}.",
        hint=_HINT,
    )


def match_folder(folder: Path, index: SampleIndex) -> MatchedResponses:
    """The pictures of a folder that are of samples; the others are counted in a note.

    Raises:
        UserError: as `read_folder`, and if no picture is of a sample.
    """
    read = read_folder(folder)
    mine = [row for row in read.responses if row.benchmark in (None, index.benchmark)]
    known = [row for row in mine if index.find(row.id) and row.draw < index.draws]
    if not known:
        samples = index.in_order(1)
        raise UserError(
            f"{folder}: none of its {len(read.responses)} pictures is of a sample of "
            f"'{index.benchmark}'; the first is of '{read.responses[0].id}', and the samples "
            f"begin with '{next(iter(samples), '')}'.",
            hint="Name the benchmark that they were made for with --benchmark.",
        )
    matched = index.match(str(folder), known)
    more = len(read.responses) - len(known)
    others = (f"Pictures of no sample of '{index.benchmark}', which are not read: {more}",)
    return MatchedResponses(matched.responses, (*read.notes, *others * (more > 0), *matched.notes))


def _responses(folder: Path, pictures: Sequence[_Found]) -> Iterator[Response]:
    first: dict[tuple[str | None, str, int], Path] = {}
    for number, one in enumerate(pictures, start=1):
        former = first.setdefault((one.benchmark, one.id, one.draw), one.path)
        if former != one.path:
            raise UserError(
                f"{folder}: {former.relative_to(folder)} and {one.path.relative_to(folder)} are "
                f"both draw {one.draw} of id '{one.id}'.",
                hint="Keep one of them.",
            )
        yield Response(
            id=one.id,
            line=number,
            image=one.path,
            draw=one.draw,
            benchmark=one.benchmark,
            asked=one.asked,
        )


def _notes(folder: Path, pictures: Sequence[_Found], layout: _Layout) -> tuple[str, ...]:
    """What is to be said of files that are no pictures of samples."""
    taken = {one.path for one in pictures}
    extra = [
        path
        for path in sorted(folder.rglob("*"))
        if path not in taken
        and not path.name.startswith(".")
        and is_file(path)
        and not any(path.match(name) for name in layout.companions)
    ]
    if not extra:
        return ()
    shown = extra[0].relative_to(folder)
    return (f"Files of {folder} that are no pictures of samples: {len(extra)} (first: {shown})",)


def _pictures_in(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.suffix.lower() in _PICTURES and not path.name.startswith(".") and is_file(path):
            yield path


def _folders_in(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.iterdir() if is_folder(path))


def _geneval(folder: Path) -> Iterator[_Found]:
    for prompt in _folders_in(folder):
        samples = prompt / "samples"
        if not (_NUMBER.fullmatch(prompt.name) and is_folder(samples)):
            continue
        asked = _prompt(prompt / "metadata.jsonl")
        for path in _pictures_in(samples):
            if _NUMBER.fullmatch(path.stem):
                yield _Found(path, prompt.name.zfill(5), int(path.stem), asked=asked)


def _prompt(path: Path) -> str | None:
    """The prompt of a folder's metadata; None where it cannot be read."""
    if not is_file(path):
        return None
    try:
        _, row = next(iter(json_lines(path)), (0, None))
    except UserError:
        return None
    prompt = row.get("prompt") if isinstance(row, dict) else None
    return prompt if isinstance(prompt, str) else None


def _gedit(folder: Path) -> Iterator[_Found]:
    within = folder / "fullset"
    for task in _folders_in(within if is_folder(within) else folder):
        for language, benchmark in _LANGUAGES.items():
            if is_folder(task / language):
                for path in _pictures_in(task / language):
                    if not path.stem.endswith(_SOURCE):
                        yield _Found(path, path.stem, benchmark=benchmark)


def _hpsv2(folder: Path) -> Iterator[_Found]:
    for style in _STYLES:
        if is_folder(folder / style):
            for path in _pictures_in(folder / style):
                if _NUMBER.fullmatch(path.stem):
                    yield _Found(path, f"{style}/{path.stem.zfill(5)}", benchmark="hpsv2")


def _by_index_and_draw(folder: Path) -> Iterator[_Found]:
    """Only where every picture is named so: an id of another benchmark may look like it."""
    named = {path: _NUMBER_AND_DRAW.fullmatch(path.stem) for path in _pictures_in(folder)}
    if all(named.values()):
        for path, found in named.items():
            assert found is not None
            yield _Found(path, found[1], int(found[2]))


def _by_id(folder: Path) -> Iterator[_Found]:
    yield from (_Found(path, path.stem) for path in _pictures_in(folder))


_KNOWN = (
    _Layout(_geneval, ("metadata.jsonl", "grid.png")),
    _Layout(_gedit, (f"*{_SOURCE}.*",)),
    _Layout(_hpsv2),
    _Layout(_by_index_and_draw),
    _Layout(_by_id),
)
