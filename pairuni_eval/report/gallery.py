"""What a report shows of the outputs themselves: drawn images, edits, questions.

The choice is deterministic and spread: outputs are ordered by a hash of their sample, then taken in
turn from every group and from right, wrong and ungraded ones. Pictures are copied under their
content id with an extension from their first bytes; one that is lost or broken is said to be so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from pairuni_eval.analysis.tables import Tables
from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import writing
from pairuni_eval.records import Capability, Status
from pairuni_eval.report.text import shorten
from pairuni_eval.seeds import stable_hash
from pairuni_eval.store.read import StoredRun, decode_cell

AT_MOST = 12  # exhibits per benchmark
_SMALL = 160  # pixels: below this a picture is enlarged without smoothing
_LONGEST = 700  # characters of a question or an answer
_BINARY = ("right", "wrong")
_FINER = ("upper", "lower")
_GOLD_KEYS = ("answer", "gold", "label", "target")
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
)


class Shown(NamedTuple):
    """A picture of the report; `file` is None where it is lost or broken."""

    file: str | None
    width: int = 0
    height: int = 0
    alt: str = ""

    @property
    def small(self) -> bool:
        """Whether it is enlarged pixel by pixel."""
        return max(self.width, self.height) <= _SMALL


class Exhibit(NamedTuple):
    """One output with what was asked.

    Attributes:
        group: The group it was chosen for, empty without groups.
        verdict: "right", "wrong", a score, or why there is none.
        tone: "right", "wrong", "upper", "lower" or "none", for the choice and the style.
        note: What the scorer or judge said.
        before: The pictures of the request.
        after: The picture the model gave; None for a text answer.
        gold: The right answer, if the reference holds one.
    """

    key: str
    group: str
    question: str
    verdict: str
    tone: str
    note: str
    before: tuple[Shown, ...]
    after: Shown | None
    answer: str | None
    gold: str | None


class Album:
    """Copies pictures of a run beside the report, each once.

    Args:
        run: Where they come from.
        out: The report's folder.
    """

    def __init__(self, run: StoredRun, out: Path) -> None:
        self._run = run
        self._folder = out / "images"
        self._shown: dict[str, Shown] = {}

    @property
    def files(self) -> set[str]:
        """The names of the files that were copied."""
        return {Path(one.file).name for one in self._shown.values() if one.file}

    def show(self, image: str, alt: str) -> Shown:
        """The picture with this id, copied on first use."""
        if image not in self._shown:
            self._shown[image] = self._copy(image)
        return self._shown[image]._replace(alt=alt)

    def _copy(self, image: str) -> Shown:
        path = self._run.image_path(image)
        data = path.read_bytes() if path.is_file() else b""
        extension = _extension(data)
        size = _size(path) if extension else None
        if extension is None or size is None:
            return Shown(None)
        name = f"{image}.{extension}"
        with writing(str(self._folder / name)):
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_bytes(data)
        return Shown(f"images/{name}", *size)


def _extension(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for start, name in _MAGIC if data.startswith(start)), None)


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture that decodes whole, else None."""
    try:
        with Image.open(path) as image:
            image.load()
            return image.size
    except (OSError, ValueError, SyntaxError):  # what Pillow raises for broken files
        return None


def exhibits(tables: Tables, benchmark: str, album: Album) -> tuple[Exhibit, ...]:
    """The outputs of a benchmark that are shown under its default protocol."""
    protocol = tables.protocols(benchmark)[0]
    rule = tables.spec(benchmark, protocol)
    headline = rule.metric(rule.headline)
    frame = tables.joined(benchmark, protocol, tables.verdict_metric(benchmark, protocol))
    frame = frame.assign(
        group=_groups(frame, headline), tone=_tones(frame, tables, benchmark, protocol)
    )
    binary = _is_binary(frame["value"])
    drawn = tables.card(benchmark).capability is not Capability.UNDERSTAND
    return tuple(
        _exhibit({str(name): cell for name, cell in row.items()}, album, binary=binary, drawn=drawn)
        for row in choose(frame).to_dict(orient="records")
    )


def _groups(frame: pd.DataFrame, headline: MetricSpec) -> pd.Series:
    column = f"tag.{headline.by}"
    return frame[column] if column in frame else pd.Series("", index=frame.index)


def _tones(frame: pd.DataFrame, tables: Tables, benchmark: str, protocol: str) -> list[str]:
    """Right or wrong; on a finer scale the upper or lower half of the range; none without value."""
    value = frame["value"]
    if tables.verdict_metric(benchmark, protocol) == "said_yes" and "tag.label" in frame:
        good, words = (value >= 0.5) == (frame["tag.label"].str.lower() == "yes"), _BINARY
    elif _is_binary(value):
        good, words = value == 1.0, _BINARY
    else:
        good, words = value > (value.min() + value.max()) / 2, _FINER
    return list(np.where(value.isna(), "none", np.where(good, *words)))


def _is_binary(value: pd.Series) -> bool:
    return bool(value.dropna().isin([0.0, 1.0]).all())


def choose(frame: pd.DataFrame, *, at_most: int = AT_MOST) -> pd.DataFrame:
    """Rows spread over `group` and `tone`, in an order that depends on their samples alone."""
    keys = [
        stable_hash("gallery", sample, int(draw))
        for sample, draw in zip(frame["sample"], frame["draw"], strict=True)
    ]
    ordered = frame.assign(hash=keys).sort_values("hash")
    turns = _in_turn([_over_groups(part) for _, part in ordered.groupby("tone", sort=True)])
    return ordered.loc[turns[:at_most]]


def _over_groups(frame: pd.DataFrame) -> list[Any]:
    """The places of a frame's rows, one group after the other in turn; rarest group first."""
    parts = [list(part.index) for _, part in frame.groupby("group", sort=True)]
    return _in_turn(sorted(parts, key=len))


def _in_turn(lists: Sequence[Sequence[Any]]) -> list[Any]:
    """The first of each list, then the second of each, and so on."""
    return [place for turn in zip_longest(*lists) for place in turn if place is not None]


def _verdict(row: dict[str, Any], *, binary: bool) -> str:
    if row["status"] == Status.SCORED:
        return str(row["tone"]) if binary else f"score {row['value']:.4g}"
    reason = _text(row["skipped"]) or _text(row["error"])
    if row["status"] == Status.SKIPPED:
        reason = reason or _text(row["verdict"])
    return shorten(f"{row['status']}: {reason}" if reason else str(row["status"]), 200)


def _exhibit(row: dict[str, Any], album: Album, *, binary: bool, drawn: bool) -> Exhibit:
    asked, given = decode_cell(row["request"]), decode_cell(row["parts"])
    question = shorten(_joined(asked), _LONGEST)
    pictures = [part["image"] for part in given if part["kind"] == "image"]
    answer = _joined(given)
    return Exhibit(
        key=shorten(row["key"], 80),
        group=shorten(_text(row["group"]), 80),
        question=question,
        verdict=_verdict(row, binary=binary),
        tone=str(row["tone"]),
        note=shorten(_text(row["verdict"]), 200),
        before=_before(asked, album, question),
        after=album.show(pictures[0], f"Given for: {question}") if pictures else None,
        answer=shorten(answer, _LONGEST) if answer or not drawn else None,
        gold=None if drawn else _gold(decode_cell(row["reference"])),
    )


def _before(asked: Sequence[dict[str, Any]], album: Album, question: str) -> tuple[Shown, ...]:
    images = [part["image"] for part in asked if part["kind"] == "image"]
    return tuple(album.show(image, f"Image of: {question}") for image in images)


def _joined(parts: Sequence[dict[str, Any]]) -> str:
    return " ".join(str(part["text"]) for part in parts if part["kind"] == "text")


def _text(value: Any) -> str:
    """A cell's text; empty for a missing one."""
    return value if isinstance(value, str) else ""


def _gold(reference: dict[str, Any]) -> str | None:
    """The right answer where the reference keeps it under a usual name."""
    found = next((reference[key] for key in _GOLD_KEYS if key in reference), None)
    if isinstance(found, list):
        return shorten(", ".join(map(str, found)), 300)
    return shorten(str(found), 300) if isinstance(found, str | int | float) else None
