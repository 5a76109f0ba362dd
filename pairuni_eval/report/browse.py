"""What the page's own browser of outputs reads: every row of a run, with the baselines beside it.

Goes in: the tables of a run and of its baselines. Comes out: one JSON object in columns, where
every text and every picture stands once and rows name them by number. The texts follow it as they
are, which a browser reads several times as fast as JSON. All of it is packed by gzip and written in
base 64: a browser reads a fifth of the characters, and none of them can end the element that holds
them. The script that unpacks it sets text as text, never as markup.
"""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
from markupsafe import Markup

from pairuni_eval.records import Capability
from pairuni_eval.report.addresses import shown_group, shown_key
from pairuni_eval.report.copied_images import ImageCopier
from pairuni_eval.report.gallery import (
    gold_of,
    joined_text,
    named_images,
    shown_parts,
    verdicts,
    verdicts_under,
)
from pairuni_eval.report.text import shorten
from pairuni_eval.seeds import stable_hash
from pairuni_eval.stats.aggregate import names_in
from pairuni_eval.stats.tables import Tables

ROWS = 60_000  # at most in a page
_CHARACTERS = 24_000_000  # of questions and answers in a page, at most
_LONGEST, _SHORTEST, _NOTE = 700, 60, 200  # characters of one text
_BETWEEN = "\x7f"  # texts: a control character, which `foreign_text.clean` leaves in none of them
_PACKING = 4  # gzip: a third level more would take three times as long for a tenth less
_GROUPS = 60  # a tag with more values is not a filter
_TAG = "tag."
NO_ROW = -1  # in `given`, `picture`, `status`: the baseline lacks the row


class Browser(NamedTuple):
    """The rows for the page.

    Attributes:
        data: The packed rows, safe inside a script element.
        rows: How many rows it holds.
        left_out: How many it does not hold, chosen by hash.
        without_picture: Pictures that were not copied because there are too many.
        longest: Characters at which a question or an answer is cut.
        other_seeds: Baselines whose outputs were drawn from other seeds.
    """

    data: Markup
    rows: int
    left_out: int
    without_picture: int
    longest: int
    other_seeds: tuple[str, ...]


class _Numbers(dict[Any, int]):
    """Different values in order of appearance, each with its number."""

    def __missing__(self, value: Any) -> int:
        number = self[value] = len(self)
        return number


class _RowColumns(msgspec.Struct):
    """The columns of the rows; numbers stand for texts if not for what is named here.

    Attributes:
        names, titles: By benchmark, its own name and the one that is read.
        middle: By benchmark, the value above which an output counts as right.
        group_lists: Different lists of texts such as "category: counting".
        picture_lists: Different lists of pictures of a request.
        groups, shown: By row, the number of such a list.
        given, picture, value, status, note: By run, then by row.
    """

    runs: list[str]
    pictures: list[tuple[str, int, int]]
    group_lists: list[tuple[int, ...]]
    picture_lists: list[tuple[int, ...]]
    names: list[str]
    titles: list[str]
    kinds: list[str]
    tiny: list[bool]
    binary: list[bool]
    middle: list[float]
    benchmark: list[int]
    key: list[int]
    asked: list[int]
    gold: list[int]
    shown: list[int]
    groups: list[int]
    given: list[list[int]]
    picture: list[list[int]]
    value: list[list[float | None]]
    status: list[list[int]]
    note: list[list[int]]


class _Writer:
    """Collects the columns benchmark by benchmark."""

    def __init__(self, runs: Sequence[str], longest: int, copier: ImageCopier) -> None:
        self._texts, self._pictures = _Numbers(), _Numbers()
        self._group_lists, self._picture_lists = _Numbers(), _Numbers()
        self._longest, self._copier = longest, copier
        self._nothing = self._texts[""]
        self._numbers: dict[tuple[Path, str], int] = {}
        self.without_picture = 0
        lists: dict[str, Any] = {name: [] for name in _RowColumns.__struct_fields__}
        for name in ("given", "picture", "value", "status", "note"):
            lists[name] = [[] for _ in runs]
        self.columns = _RowColumns(**(lists | {"runs": list(runs)}))

    def add(self, tables: Tables, benchmark: str, frames: Sequence[_Frame], *, tiny: bool) -> None:
        """Add the rows of a benchmark; the first frame is the run's own."""
        columns, card = self.columns, tables.card(benchmark)
        number, own = len(columns.titles), frames[0].rows
        columns.names.append(card.name)
        columns.titles.append(card.title)
        columns.kinds.append(str(card.capability))
        columns.tiny.append(tiny)
        columns.binary.append(bool(own["binary"].all()))
        columns.middle.append(_middle(own))
        columns.benchmark += [number] * len(own)
        columns.key += [self._texts[key] for key in _keys(own)]
        self._ask(frames[0], drawn=card.capability is not Capability.UNDERSTAND)
        columns.groups += [
            self._group_lists[tuple([self._texts[name] for name in names])]
            for names in _group_names(own)
        ]
        for place, frame in enumerate(frames):
            self._answer(place, frame)

    def finish(self) -> Markup:
        """The columns, with what their numbers stand for, as a page holds them."""
        self.columns.pictures = list(self._pictures)
        self.columns.group_lists = list(self._group_lists)
        self.columns.picture_lists = list(self._picture_lists)
        return packed_rows(self.columns, list(self._texts))

    def _text(self, text: str, longest: int) -> int:
        if len(text) > longest or not text.isprintable():  # else `shorten` leaves it as it is
            text = shorten(text, longest)
        return self._texts[text]

    def _ask(self, own: _Frame, *, drawn: bool) -> None:
        requests = list(map(shown_parts, own.rows["request"].tolist()))
        pictures = [tuple(named_images(asked)) for asked in requests]
        self._copier.bring(own.tables.run, chain.from_iterable(pictures))
        references = own.rows["reference"].tolist()
        for asked, images, reference in zip(requests, pictures, references, strict=True):
            self.columns.asked.append(self._text(joined_text(asked), self._longest))
            shown = tuple([self._picture(own, image) for image in images])
            self.columns.shown.append(self._picture_lists[shown])
            gold = None if drawn else gold_of(msgspec.json.decode(reference))
            self.columns.gold.append(self._texts[gold] if gold else self._nothing)

    def _answer(self, place: int, frame: _Frame) -> None:
        columns, rows = self.columns, frame.rows
        cells = rows["parts"].tolist()
        outputs = [shown_parts(cell) if isinstance(cell, str) else None for cell in cells]
        pictures = [next(iter(named_images(parts or ())), None) for parts in outputs]
        self._copier.bring(frame.tables.run, [image for image in pictures if image])
        for parts, image in zip(outputs, pictures, strict=True):
            text = NO_ROW if parts is None else self._text(joined_text(parts), self._longest)
            columns.given[place].append(text)
            columns.picture[place].append(self._picture(frame, image) if image else NO_ROW)
        columns.value[place] += [
            round(value, 4) if math.isfinite(value) else None for value in rows["good"].tolist()
        ]
        columns.status[place] += [
            self._texts[status] if isinstance(status, str) else NO_ROW
            for status in rows["status"].tolist()
        ]
        notes = list(_notes(rows))
        numbers = {note: self._text(note, _NOTE) for note in dict.fromkeys(notes)}
        columns.note[place] += [numbers[note] for note in notes]

    def _picture(self, frame: _Frame, image: str) -> int:
        """The number of a run's picture, asked of the copier until it has it."""
        place = (frame.tables.run.folder, image)
        if place not in self._numbers:
            shown = self._copier.show(frame.tables.run, image, "")
            if shown.file is None:
                self.without_picture += self._copier.full
                return self._pictures["", 0, 0]
            self._numbers[place] = self._pictures[shown.file, shown.width, shown.height]
        return self._numbers[place]


class _Frame(NamedTuple):
    """The verdicts of one run on a benchmark, in the order of the reported run's rows."""

    tables: Tables
    rows: pd.DataFrame


def browser(
    tables: Tables, others: Mapping[str, Tables], copier: ImageCopier, tiny: Mapping[str, bool]
) -> Browser:
    """Every row of a run with what the baselines gave for it.

    Args:
        tables: The run.
        others: The baselines by name.
        copier: Takes the pictures.
        tiny: By benchmark, in the order of the report, whether its numbers are tiny.
    """
    total = sum(len(tables.outputs(name)) for name in tiny)
    runs = [tables.run.card.name, *others]
    longest = _longest(min(total, ROWS) * len(runs))
    writer = _Writer(runs, longest, copier)
    other_seeds: set[str] = set()
    for name, is_tiny in tiny.items():
        own = _kept(verdicts(tables, name), min(1.0, ROWS / max(1, total)))
        frames = [_Frame(tables, own)]
        for other_name, other in others.items():
            frame = _aligned(own, verdicts_under(tables, other, name))
            frames.append(_Frame(other, frame))
            if not _same_seeds(own, frame):
                other_seeds.add(other_name)
        writer.add(tables, name, frames, tiny=is_tiny)
    rows = len(writer.columns.benchmark)
    return Browser(
        data=writer.finish(),
        rows=rows,
        left_out=total - rows,
        without_picture=writer.without_picture,
        longest=longest,
        other_seeds=tuple(name for name in others if name in other_seeds),
    )


def packed_rows(columns: Any, texts: Sequence[str]) -> Markup:
    """A line of JSON, then texts: safe inside an element of a page, and equal for equal rows."""
    data = msgspec.json.encode(columns) + b"\n" + _BETWEEN.join(texts).encode()
    return Markup(base64.b64encode(gzip.compress(data, _PACKING, mtime=0)).decode("ascii"))


def _longest(answers: int) -> int:
    """How long a text may be so that all of them fit into a page."""
    return max(_SHORTEST, min(_LONGEST, _CHARACTERS // max(1, 2 * answers)))


def _kept(frame: pd.DataFrame, share: float) -> pd.DataFrame:
    """The rows of a share of the samples, chosen by hash."""
    if share >= 1.0:
        return frame
    below = int(share * 16**8)
    keep = {uid for uid in set(frame["sample"]) if int(stable_hash("browser", uid)[:8], 16) < below}
    return frame[frame["sample"].isin(keep)]


def _aligned(own: pd.DataFrame, other: pd.DataFrame | None) -> pd.DataFrame:
    """Another run's rows in the order of the run's own; empty cells where it lacks one."""
    needed = ["sample", "draw", "parts", "good", "status", "verdict", "skipped", "error", "seed"]
    if other is None:
        return pd.DataFrame(index=own.index, columns=needed[2:]).assign(good=np.nan)
    places = own[["sample", "draw"]]
    return places.merge(other[needed], on=["sample", "draw"], how="left", validate="one_to_one")


def _same_seeds(own: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether every row that both have was drawn from the same seed."""
    mine, theirs = own["seed"].to_numpy(), other["seed"].to_numpy()
    both = pd.notna(theirs)
    return bool((mine[both] == theirs[both].astype(mine.dtype)).all())


def _keys(frame: pd.DataFrame) -> Iterator[str]:
    """The dataset's own ids, with the draw where there are several."""
    several = bool((frame["draw"] > 0).any())
    for key, draw in zip(frame["key"].tolist(), frame["draw"].tolist(), strict=True):
        yield shown_key(key, draw if several else None)


def _middle(frame: pd.DataFrame) -> float:
    good = frame["good"]
    if frame["binary"].all() or good.isna().all():
        return 0.5
    return float((good.min() + good.max()) / 2)


def _group_names(frame: pd.DataFrame) -> Iterator[list[str]]:
    """By row, the groups it belongs to, for every tag that has not too many."""
    columns = []
    for column in (name for name in frame.columns if name.startswith(_TAG)):
        column_cells = frame[column].tolist()
        cells = {
            cell: [shown_group(column.removeprefix(_TAG), name) for name in names_in(cell)]
            for cell in dict.fromkeys(column_cells)
            if cell
        }
        if len({name for names in cells.values() for name in names}) <= _GROUPS:
            columns.append([cells.get(cell, []) for cell in column_cells])
    if not columns:
        yield from ([] for _ in range(len(frame)))
    for names in zip(*columns, strict=True):
        yield [name for one in names for name in one]


def _notes(rows: pd.DataFrame) -> Iterator[str]:
    """What the scorer said, or why there is no output."""
    columns = (rows[name].tolist() for name in ("skipped", "error", "verdict"))
    for words in zip(*columns, strict=True):
        yield next((word for word in words if isinstance(word, str)), "")
