"""Which evaluation units a pair set has shown to the model, and the headline without them.

Goes in: a stored run, the prints of a pair set (runs of words, image hashes; see `contamination`)
and, where an encoder has looked, the nearest pair of each image (`neighbors`). An item of a
benchmark is flagged
    image      if its image, or a near copy, is that of an understanding half
    text       if it has no image and shares its words with a question or a prompt
    neighbor   if the features of its image have a cosine above 0.95 with those of such a half
Words alone do not flag an item that has an image, since wordings are common; they are counted.
Images of generation halves serve for pairing and are never trained on, so they flag nothing. The
answer instructions of the benchmarks are left out of all texts. A unit is flagged if one of its
items is.

Both headlines stand side by side with intervals; that they agree does not show that nothing leaked.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pairuni_eval.analysis.aggregate import make_aggregate
from pairuni_eval.analysis.contamination import near_copies, ngrams13, perceptual_hash
from pairuni_eval.analysis.intervals import Estimate, estimate
from pairuni_eval.analysis.neighbors import NEAR, Neighbor, Neighbors
from pairuni_eval.analysis.tables import Tables, rows_of
from pairuni_eval.analysis.verdict import printed
from pairuni_eval.cards import MetricSpec
from pairuni_eval.data_folder import DataFolder
from pairuni_eval.errors import DatasetError, UserError
from pairuni_eval.image_cell import encoded_image
from pairuni_eval.pictures import read_rgb
from pairuni_eval.places import is_file, is_folder
from pairuni_eval.prompts import LETTER_SUFFIX, WORD_SUFFIX, YES_NO_REQUEST
from pairuni_eval.store.read import decode_cell

_COLUMNS = ("id", "question", "prompt", "understanding_image")
_ROWS = 64  # pairs read together: what is in memory at once


class Prints(NamedTuple):
    """What a pair set can be recognized by.

    Attributes:
        grams: The first pair that has a run of words.
        hashes: (P,) perceptual hashes of the understanding images.
        owners: The pair of each hash.
        pairs: Rows of the set.
        broken: Images that could not be decoded; they can be compared with nothing.
    """

    grams: Mapping[str, str]
    hashes: npt.NDArray[np.uint64]
    owners: tuple[str, ...]
    pairs: int
    broken: int


class Flag(NamedTuple):
    """An evaluation item that the pair set has shown.

    Attributes:
        sample: The sample's uid.
        key: The dataset's own id of it.
        how: "image", "text" or "neighbor".
        pair: The id of a pair that has it.
        cosine: Of the features of a neighbor; None otherwise.
    """

    sample: str
    key: str
    unit: str
    how: str
    pair: str
    cosine: float | None = None


class Leak(NamedTuple):
    """What a pair set shares with one benchmark of a run.

    Attributes:
        items: Samples that were looked at.
        words: Samples that share words with the set, flagged or not.
        unseen: Samples whose image is not in the run folder, or broken.
        unsought: Samples with an image that no encoder has looked at.
        units: Units of the benchmark in this run.
        flagged: Units with a flagged item.
        flags: Every flagged item, in the run's order.
        everything: The headline over all units.
        clean: The headline without the flagged units; no value if none is left.
    """

    benchmark: str
    title: str
    protocol: str
    spec: MetricSpec
    items: int
    words: int
    unseen: int
    unsought: int
    units: int
    flagged: int
    flags: tuple[Flag, ...]
    everything: Estimate
    clean: Estimate

    @property
    def by(self) -> Mapping[str, int]:
        """Flagged items by how they were found."""
        return Counter(flag.how for flag in self.flags)

    @property
    def alike(self) -> int:
        """Units that are flagged by features alone: much like what was seen, not a copy."""
        return self.flagged - len({flag.unit for flag in self.flags if flag.how != "neighbor"})

    @property
    def sentence(self) -> str:
        """E.g. "MME: 12 of 1187 units are in the pair set; 1444.0 with them, 1439.2 without."."""
        if self.flagged == 0:
            return f"{self.title}: none of {self.units} units was found in the pair set."
        found = f"{self.title}: {self.flagged} of {self.units} units were found in the pair set"
        if self.clean.value is None:
            return f"{found}; without them nothing is left."
        return f"{found}; {_shown(self.everything, self.spec)} with them, " + (
            f"{_shown(self.clean, self.spec)} without."
        )


def _shown(number: Estimate, spec: MetricSpec) -> str:
    value = printed(number.value, spec)
    if number.interval is None:
        return value
    return f"{value} [{printed(number.interval.low, spec)}, {printed(number.interval.high, spec)}]"


def read_prints(path: Path) -> Prints:
    """The prints of a pair set, read row by row.

    Args:
        path: A parquet file with the columns id, question, prompt and understanding_image, the
            last as the hub stores images: {"bytes", "path"}.

    Raises:
        UserError: if the file is not there, is no parquet file or lacks a column.
    """
    grams: dict[str, str] = {}
    hashes, owners, pairs, broken = [], [], 0, 0
    for row in _pairs(path):
        pairs += 1
        owner = str(row["id"])
        for text in (row["question"], row["prompt"]):
            for gram in ngrams13(_plain(str(text or ""))):
                grams.setdefault(gram, owner)
        try:
            image = encoded_image(row["understanding_image"], DataFolder.around(path))
            if not image:
                continue
            hashes.append(_hash(image))
            owners.append(owner)
        except DatasetError:
            broken += 1
    return Prints(grams, np.array(hashes, dtype=np.uint64), tuple(owners), pairs, broken)


def _pairs(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if is_folder(path):
        sets = ", ".join(sorted(one.name for one in path.glob("*.parquet")))
        raise UserError(
            f"{path} is a folder, not a pair set.",
            hint=f"Name the one of the training: {sets}" if sets else "It holds no parquet file.",
        )
    if not is_file(path):
        raise UserError(
            f"There is no pair set {path}.",
            hint="Make one: pairuni-train pairs build --help",
        )
    try:
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream)
            lacking = [name for name in _COLUMNS if name not in file.schema_arrow.names]
            if lacking:
                raise UserError(f"{path}: it is no pair set: column '{lacking[0]}' is missing.")
            for block in file.iter_batches(batch_size=_ROWS, columns=list(_COLUMNS)):
                yield from block.to_pylist()
    except (pa.ArrowException, OSError) as failure:
        raise UserError(f"{path}: not a readable parquet file: {failure}.") from failure


def _plain(text: str) -> str:
    """A text without the instruction that says how to answer."""
    for instruction in (LETTER_SUFFIX, WORD_SUFFIX, YES_NO_REQUEST.strip()):
        text = text.replace(instruction, "")
    return text


def _hash(data: bytes) -> int:
    return perceptual_hash(read_rgb(io.BytesIO(data), DatasetError))


def leaks(tables: Tables, prints: Prints, neighbors: Neighbors | None = None) -> tuple[Leak, ...]:
    """What a pair set shares with each benchmark of a run.

    Args:
        tables: The run's tables.
        prints: The pair set's prints.
        neighbors: The nearest pair of each image, where an encoder has looked.
    """
    nearest = neighbors.nearest if neighbors is not None else {}
    looks = _Looks(tables, prints, nearest)
    return tuple(_leak(tables, name, looks) for name in tables.run.card.benchmarks)


def _leak(tables: Tables, benchmark: str, looks: _Looks) -> Leak:
    samples = tables.run.samples
    mine = samples[samples["benchmark"] == benchmark]
    seen = _look_through(mine, looks)
    flagged = {flag.unit for flag in seen.flags}
    card, protocol = tables.card(benchmark), tables.protocols(benchmark)[0]
    rule = tables.spec(benchmark, protocol)
    spec = rule.metric(rule.headline)
    frame = tables.joined(benchmark, protocol, spec.of)
    return Leak(
        benchmark=benchmark,
        title=card.title,
        protocol=protocol,
        spec=spec,
        items=len(mine),
        words=seen.words,
        unseen=seen.unseen,
        unsought=seen.unsought,
        units=int(mine["unit"].nunique()),
        flagged=len(flagged),
        flags=seen.flags,
        everything=_headline(frame, spec),
        clean=_headline(frame[~frame["unit"].isin(flagged)], spec),
    )


def _headline(frame: pd.DataFrame, spec: MetricSpec) -> Estimate:
    rows = rows_of(frame, spec)
    return estimate(make_aggregate(spec, rows), rows)


class _Seen(NamedTuple):
    """What a look through a benchmark's items found; the counts are those of `Leak`."""

    flags: tuple[Flag, ...]
    words: int
    unseen: int
    unsought: int


def _look_through(samples: pd.DataFrame, looks: _Looks) -> _Seen:
    flags, words, unseen, unsought = [], 0, 0, 0
    for row in samples.itertuples():
        parts = decode_cell(str(row.parts))
        text = " ".join(part["text"] for part in parts if "text" in part)
        images = [part["image"] for part in parts if "image" in part]
        said = looks.words(text)
        shown = [looks.image(image) for image in images]
        near = [looks.neighbor(image) for image in images]
        words += said is not None
        unseen += None in shown
        unsought += None in near
        found = _found(said, shown, near)
        if found is not None:
            flags.append(Flag(str(row.uid), str(row.key), str(row.unit), *found))
    return _Seen(tuple(flags), words, unseen, unsought)


def _found(
    said: str | None, shown: Sequence[str | None], near: Sequence[Neighbor | None]
) -> tuple[str, str, float | None] | None:
    """How an item is flagged, by which pair and at which cosine; None if it is not."""
    if pair := next((owner for owner in shown if owner), ""):
        return "image", pair, None
    if said is not None and not shown:
        return "text", said, None
    close = [one for one in near if one is not None and one.cosine > NEAR]
    if close:
        return "neighbor", *max(close, key=lambda one: one.cosine)
    return None


class _Looks:
    """Finds items in a pair set; every image is hashed once.

    Args:
        tables: The run that holds the images.
        prints: The pair set.
        nearest: The nearest pair by image, where an encoder has looked.
    """

    def __init__(self, tables: Tables, prints: Prints, nearest: Mapping[str, Neighbor]) -> None:
        self._run = tables.run
        self._prints = prints
        self._nearest = nearest
        self._seen: dict[str, str | None] = {}

    def neighbor(self, image: str) -> Neighbor | None:
        """The nearest pair by features; None where no encoder has looked."""
        return self._nearest.get(image)

    def words(self, text: str) -> str | None:
        """A pair that shares words with a text, or None."""
        grams = (self._prints.grams.get(gram) for gram in sorted(ngrams13(_plain(text))))
        return next((owner for owner in grams if owner is not None), None)

    def image(self, image: str) -> str | None:
        """A pair that has an image or a near copy, "" if none has, None if it cannot be seen."""
        if image not in self._seen:
            self._seen[image] = self._look(image)
        return self._seen[image]

    def _look(self, image: str) -> str | None:
        try:
            data = self._run.pictures.data(image)
            found = np.flatnonzero(near_copies(_hash(data), self._prints.hashes))
        except DatasetError:
            return None
        return self._prints.owners[found[0]] if len(found) else ""
