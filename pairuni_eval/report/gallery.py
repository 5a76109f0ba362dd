"""What a report shows of the outputs themselves: drawn images, edits, questions.

The choice is deterministic and spread: outputs are ordered by a hash of their sample, then taken in
turn from every group and from right, wrong and ungraded ones. Small pictures stand inside the page;
others are copied under their content id with an extension from their first bytes. One that is lost,
changed since it was stored, or broken is said to be so and is not shown.
"""

from __future__ import annotations

import base64
import filecmp
import io
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import msgspec
import numpy as np
import pandas as pd
from PIL import Image

from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import DatasetError, writing
from pairuni_eval.pictures import upright_size
from pairuni_eval.records import Capability, Status
from pairuni_eval.report.addresses import of_sample, shown_key
from pairuni_eval.report.text import shorten
from pairuni_eval.seeds import stable_hash
from pairuni_eval.stats.aggregate import names_in
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.layout import image_path
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.read import StoredRun, decode_cell

AT_MOST = 12  # items per benchmark
PICTURES = 6_000  # pictures per report
_SMALL = 160  # pixels: below this a picture is enlarged without smoothing
_PACKED = 4_096  # bytes: a small picture of at most as many stands inside the page,
_IN_PAGE = 6_000_000  # as long as all of them together have at most as many
FOLDER = "images"  # of a page, beside it
_LONGEST = 700  # characters of a question or an answer
_COPIED = re.compile(r"[0-9a-f]{64}\.[a-z]{3,4}|sheet-.+\.png")  # what a page writes there
_BINARY = ("right", "wrong")
_FINER = ("upper", "lower")
_ABSENT = "does not have it"
_GOLD_KEYS = ("answer", "gold", "label", "target")
# What a PNG carries that says it lies on its side; Pillow decodes all of it to look behind the end.
_TURNING = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_SIGNATURE, _FRAME = 8, 12  # bytes before the first chunk of a PNG, and around the data of each
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
)


class CopiedImage(NamedTuple):
    """A picture of the report.

    Attributes:
        file: Its address: that of its file, or the picture itself; None where it is lost, changed
            or broken.
    """

    file: str | None
    width: int = 0
    height: int = 0
    alt: str = ""

    @property
    def small(self) -> bool:
        """Whether it is enlarged pixel by pixel."""
        return max(self.width, self.height) <= _SMALL

    @property
    def packed(self) -> bool:
        """Whether it stands inside the page, so that there is no file of it."""
        return self.file is not None and self.file.startswith("data:")


class GivenOutput(NamedTuple):
    """What a run gave for a sample and draw.

    Attributes:
        verdict: "right", "wrong", a score, or why there is none.
        tone: "right", "wrong", "upper", "lower" or "none", for the choice and the style.
        picture: The picture the model gave; None for a text answer.
        answer: The text it gave; None for a picture without words.
    """

    name: str
    verdict: str
    tone: str
    picture: CopiedImage | None
    answer: str | None


class GalleryItem(NamedTuple):
    """A request with what each run gave for it, from equal seeds where the runs' are equal.

    Attributes:
        address: Where the page's browser shows it.
        group: The groups it belongs to, empty without any.
        before: The pictures of the request.
        gold: The right answer, if the reference holds one.
        given: What the run gave, then every baseline.
    """

    key: str
    address: str
    group: str
    question: str
    before: tuple[CopiedImage, ...]
    gold: str | None
    given: tuple[GivenOutput, ...]


class PictureSource(Protocol):
    """A folder with pictures: a run, or a training that kept some of its rollouts."""

    @property
    def folder(self) -> Path:
        """Where `images/` lies."""
        ...

    @property
    def pictures(self) -> Pictures:
        """The pictures, each compared with its id before it is given out."""
        ...


class ImageCopier:
    """Brings pictures of runs into the report, each once: into the page or beside it.

    A picture is looked at when it is asked for, or ahead of that beside other work; its file is
    copied while the report goes on, and is there when the context ends. One that lies there already
    whole is not written again, so that a report that is built anew is quick.

    Args:
        out: The report's folder.
        at_most: How many pictures may be copied; any further one counts as left out.
    """

    def __init__(self, out: Path, *, at_most: int = PICTURES) -> None:
        self._folder = out / FOLDER
        self._shown: dict[str, CopiedImage] = {}
        self._lost: set[tuple[Path, str]] = set()
        self.at_most = self._room = at_most
        self._in_page = _IN_PAGE
        self._writer = ThreadPoolExecutor(max_workers=1)  # a disk gains nothing by a second one
        self._copies: list[Future[None]] = []
        self._lookers = ThreadPoolExecutor()
        self._ahead: dict[str, tuple[PictureSource, Future[_Looked | None]]] = {}

    def __enter__(self) -> Self:
        """Take pictures until the context ends."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until every file is written.

        Raises:
            UserError: if one cannot be.
        """
        self._lookers.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for copy in self._copies:
                copy.result()

    @property
    def full(self) -> bool:
        """Whether no further picture is copied."""
        return self._room <= 0

    @property
    def files(self) -> set[str]:
        """The names of the files that were copied."""
        shown = self._shown.values()
        return {Path(one.file).name for one in shown if one.file and not one.packed}

    def look_ahead(self, run: StoredRun) -> None:
        """Begin to look at the pictures that a run names, if all of them may be copied."""
        images = [image for image in run.named_pictures if image not in self._ahead]
        if len(images) <= self._room - len(self._ahead):
            self._ahead |= {image: (run, self._look(run, image)) for image in images}

    def bring(self, run: PictureSource, images: Iterable[str]) -> None:
        """Copy many pictures of a run: several are looked at side by side."""
        fresh = [one for one in dict.fromkeys(images) if self._wants(run, one)][: self._room]
        looks = [self._look(run, image) for image in fresh]
        for image, look in zip(fresh, looks, strict=True):
            self._take(run, image, look.result())

    def show(self, run: PictureSource, image: str, alt: str) -> CopiedImage:
        """The picture of a run with this id, copied on first use."""
        if self._wants(run, image) and not self.full:
            self._take(run, image, self._look(run, image).result())
        return self._shown.get(image, CopiedImage(None))._replace(alt=alt)

    def _look(self, run: PictureSource, image: str) -> Future[_Looked | None]:
        """What is found in a picture, begun ahead or now."""
        of, look = self._ahead.get(image, (None, None))
        if look is not None and of is run:
            return look
        return self._lookers.submit(_look, run, image)

    def _wants(self, run: PictureSource, image: str) -> bool:
        return image not in self._shown and (run.folder, image) not in self._lost

    def _take(self, run: PictureSource, image: str, found: _Looked | None) -> None:
        self._room -= 1
        if found is None:  # another run may have it whole
            self._lost.add((run.folder, image))
            return
        self._shown[image] = shown = self._place(image, found)
        if not shown.packed:
            target = self._folder / f"{image}.{found.extension}"
            source = image_path(run.folder, image)
            self._copies.append(self._writer.submit(_copy, source, target))

    def _place(self, image: str, found: _Looked) -> CopiedImage:
        data, extension, size = found
        if data is not None and max(size) <= _SMALL and len(data) <= self._in_page:
            self._in_page -= len(data)
            kind = {"jpg": "jpeg"}.get(extension, extension)
            packed = base64.b64encode(data).decode("ascii")
            return CopiedImage(f"data:image/{kind};base64,{packed}", *size)
        return CopiedImage(f"{FOLDER}/{image}.{extension}", *size)


def drop_stale(folder: Path, wanted: set[str]) -> None:
    """Remove pictures that an earlier page left in the folder of pictures."""
    for path in folder.glob("*") if folder.is_dir() else ():
        if _COPIED.fullmatch(path.name) and path.name not in wanted:
            path.unlink()


def _copy(source: Path, target: Path) -> None:
    """Copy a file unless it lies there whole."""
    with writing(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or not filecmp.cmp(source, target, shallow=False):
            shutil.copyfile(source, target)


class _Looked(NamedTuple):
    """A picture that is whole: its bytes if few, the extension of its format, width and height."""

    data: bytes | None
    extension: str
    size: tuple[int, int]


def _look(run: PictureSource, image: str) -> _Looked | None:
    """Read a picture of a run; None if it is lost, changed or broken."""
    try:
        data = run.pictures.data(image)
    except DatasetError:
        return None
    extension = _extension(data)
    size = _size(data) if extension else None
    if extension is None or size is None:
        return None
    return _Looked(data if len(data) <= _PACKED else None, extension, size)


def _extension(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for start, name in _MAGIC if data.startswith(start)), None)


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height, as browsers show it, of a picture that is whole, else None.

    PNG has checksums, which are cheaper than decoding; of JPEG every eighth pixel is decoded.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "PNG":
                image.verify()
                if not _may_turn(data):
                    return image.size
            else:
                image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
                image.load()
        with Image.open(io.BytesIO(data)) as image:
            return upright_size(image)
    except (OSError, ValueError, SyntaxError):  # what Pillow raises for broken files
        return None


def _may_turn(png: bytes) -> bool:
    """Whether a whole PNG holds, beside its pixels, what may say that it lies on its side."""
    start = _SIGNATURE
    while start < len(png):
        end = start + _FRAME + int.from_bytes(png[start : start + 4], "big")
        if png[start + 4 : start + 8] != b"IDAT":
            chunk = png[start:end]
            if any(mark in chunk for mark in _TURNING):
                return True
        start = end
    return False


def gallery_items(
    tables: Tables, benchmark: str, copier: ImageCopier, others: Mapping[str, Tables]
) -> tuple[GalleryItem, ...]:
    """The outputs of a benchmark that are shown under its default protocol.

    Args:
        tables: The run.
        benchmark: One of its benchmarks.
        copier: Takes the pictures.
        others: The baselines, whose outputs stand beside.
    """
    frame = verdicts(tables, benchmark)
    chosen = choose_rows(frame)
    found = {
        name: _rows_by_place(frame_of, chosen)
        for name, other in others.items()
        if (frame_of := verdicts_under(tables, other, benchmark)) is not None
    }
    drawn = tables.card(benchmark).capability is not Capability.UNDERSTAND
    several = bool((frame["draw"] > 0).any())
    made = []
    for row in _records(chosen):
        place = (row["sample"], row["draw"])
        given = [_given(tables.run.card.name, row, tables.run, copier, drawn=drawn)]
        for name, other in others.items():
            theirs = found.get(name, {}).get(place)
            given.append(
                GivenOutput(name, _ABSENT, "none", None, None)
                if theirs is None
                else _given(name, theirs, other.run, copier, drawn=drawn)
            )
        address = of_sample(benchmark, row["key"], row["draw"] if several else None)
        made.append(_gallery_item(row, address, tables.run, copier, tuple(given), drawn=drawn))
    return tuple(made)


def verdicts(tables: Tables, benchmark: str, protocol: str | None = None) -> pd.DataFrame:
    """The joined rows of a benchmark's verdict with `good`, `tone`, `binary` and `group`.

    `good` is 1 for right and 0 for wrong, or the score on a finer scale; NaN without a value.
    """
    protocol = protocol or tables.protocols(benchmark)[0]
    rule = tables.spec(benchmark, protocol)
    frame = tables.joined(benchmark, protocol, tables.verdict_metric(benchmark, protocol))
    good = _good(frame, tables, benchmark, protocol)
    binary = bool(good.dropna().isin([0.0, 1.0]).all())
    return frame.assign(
        group=_groups(frame, rule.metric(rule.headline)),
        good=good,
        binary=binary,
        tone=_tones(good, _BINARY if binary else _FINER),
    )


def verdicts_under(tables: Tables, other: Tables, benchmark: str) -> pd.DataFrame | None:
    """The verdicts of another run under the default protocol of this one; None if it has none."""
    protocol = tables.protocols(benchmark)[0]
    shared = benchmark in other.run.card.benchmarks and protocol in other.graded_under(benchmark)
    return verdicts(other, benchmark, protocol) if shared else None


def _groups(frame: pd.DataFrame, headline: MetricSpec) -> pd.Series:
    column = f"tag.{headline.by}"
    return frame[column].astype(object) if column in frame else pd.Series("", index=frame.index)


def _good(frame: pd.DataFrame, tables: Tables, benchmark: str, protocol: str) -> pd.Series:
    """The verdict's value; where it is what was said, whether that is the label."""
    value = frame["value"]
    if tables.verdict_metric(benchmark, protocol) != "said_yes" or "tag.label" not in frame:
        return value
    agrees = (value >= 0.5) == (frame["tag.label"].str.lower() == "yes")
    return agrees.astype("float64").where(value.notna())


def _tones(good: pd.Series, words: tuple[str, str]) -> list[str]:
    """Right or wrong; on a finer scale the upper or lower half of the range; none without value."""
    middle = (good.min() + good.max()) / 2 if words is _FINER else 0.5
    return list(np.where(good.isna(), "none", np.where(good > middle, *words)))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): cell for key, cell in row.items()} for row in frame.to_dict("records")]


def _rows_by_place(
    frame: pd.DataFrame, chosen: pd.DataFrame
) -> dict[tuple[str, int], dict[str, Any]]:
    """The rows of a frame whose samples were chosen, by sample and draw."""
    mine = frame[frame["sample"].isin(chosen["sample"])]
    return {(row["sample"], row["draw"]): row for row in _records(mine)}


def choose_rows(frame: pd.DataFrame, *, at_most: int = AT_MOST) -> pd.DataFrame:
    """Rows spread over `group` and `tone`, in an order that depends on their samples alone."""
    samples = frame["sample"].to_numpy(dtype=object)
    keys = [
        stable_hash("gallery", sample, draw)
        for sample, draw in zip(samples, frame["draw"].tolist(), strict=True)
    ]
    ordered = frame[["group", "tone"]].assign(hash=keys).sort_values("hash")
    turns = _in_turn([_over_groups(part) for _, part in ordered.groupby("tone", sort=True)])
    return frame.loc[turns[:at_most]]


def _over_groups(frame: pd.DataFrame) -> list[Any]:
    """The places of a frame's rows, one group after the other in turn; rarest group first."""
    parts = [list(part.index) for _, part in frame.groupby("group", sort=True)]
    return _in_turn(sorted(parts, key=len))


def _in_turn(lists: Sequence[Sequence[Any]]) -> list[Any]:
    """The first of each list, then the second of each, and so on."""
    return [place for turn in zip_longest(*lists) for place in turn if place is not None]


def _verdict(row: dict[str, Any]) -> str:
    if row["status"] == Status.SCORED and np.isfinite(row["good"]):
        return str(row["tone"]) if row["binary"] else f"score {row['good']:.4g}"
    reason = _text(row["skipped"]) or _text(row["error"]) or _text(row["refused"])
    if row["status"] == Status.SKIPPED:
        reason = reason or _text(row["verdict"])
    return shorten(f"{row['status']}: {reason}" if reason else str(row["status"]), 200)


def _gallery_item(
    row: dict[str, Any],
    address: str,
    run: StoredRun,
    copier: ImageCopier,
    given: tuple[GivenOutput, ...],
    *,
    drawn: bool,
) -> GalleryItem:
    asked = shown_parts(row["request"])
    question = shorten(joined_text(asked), _LONGEST)
    group = ", ".join(names_in(_text(row["group"]))).replace("_", " ")
    return GalleryItem(
        key=shown_key(row["key"]),
        address=address,
        group=shorten(group, 80),
        question=question,
        before=_before(asked, run, copier, question),
        gold=None if drawn else gold_of(decode_cell(row["reference"])),
        given=given,
    )


def _given(
    name: str, row: dict[str, Any], run: StoredRun, copier: ImageCopier, *, drawn: bool
) -> GivenOutput:
    question = shorten(joined_text(shown_parts(row["request"])), _LONGEST)
    parts = shown_parts(row["parts"])
    pictures = named_images(parts)
    text = joined_text(parts)
    alt = f"Given for: {question} (by {name})"
    return GivenOutput(
        name=name,
        verdict=_verdict(row),
        tone=str(row["tone"]),
        picture=copier.show(run, pictures[0], alt) if pictures else None,
        answer=shorten(text, _LONGEST) if text or not drawn else None,
    )


def _before(
    asked: Sequence[ShownPart], run: StoredRun, copier: ImageCopier, question: str
) -> tuple[CopiedImage, ...]:
    alt = f"Image of: {question}"
    return tuple(copier.show(run, image, alt) for image in named_images(asked))


class ShownPart(msgspec.Struct, gc=False):
    """A part of a request or an output, read in a quarter of the time that a checked one takes.

    Attributes:
        text: Empty for a picture.
        image: The picture's id; empty for a text.
    """

    kind: str
    text: str = ""
    image: str = ""


shown_parts = msgspec.json.Decoder(tuple[ShownPart, ...]).decode


def joined_text(parts: Sequence[ShownPart]) -> str:
    """The text parts of a request or an output, joined by blanks."""
    return " ".join([part.text for part in parts if part.kind == "text"])


def named_images(parts: Sequence[ShownPart]) -> list[str]:
    """The pictures among the parts of a request or an output."""
    return [part.image for part in parts if part.kind == "image"]


def _text(value: Any) -> str:
    """A cell's text; empty for a missing one."""
    return value if isinstance(value, str) else ""


def gold_of(reference: dict[str, Any]) -> str | None:
    """The right answer where the reference keeps it under a usual name."""
    found = next((reference[key] for key in _GOLD_KEYS if key in reference), None)
    if isinstance(found, list):
        return shorten(", ".join(map(str, found)), 300)
    return shorten(str(found), 300) if isinstance(found, str | int | float) else None
