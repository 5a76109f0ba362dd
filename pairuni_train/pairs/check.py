"""Is a pair set sound, and does it hold what a benchmark asks?

Unsound rows, duplicates and broken images are found in the set alone. Leakage is looked for item by
item of the benchmarks: an item's words in a question or a prompt of the set (13 words in a row, or
a shorter text whole; the benchmarks' answer instructions left out), its image as a near copy among
the images of the understanding halves. Words and image of one item in one half are a leak; words
alone may be a common wording, as all questions of the tiny world are. For an item without an image,
a prompt, the words are all there is.

A benchmark whose data are not at hand is named, not passed over.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairuni_eval.analysis.contamination import WORDS, near_copies, ngrams13, perceptual_hash
from pairuni_eval.errors import DatasetError, UserError
from pairuni_eval.prompts import LETTER_SUFFIX, WORD_SUFFIX, YES_NO_REQUEST
from pairuni_eval.records import Item
from pairuni_train.pairs.dataset import examine_pairs
from pairuni_train.pairs.embed import decode
from pairuni_train.pairs.record import Pair

_LISTED = 5  # of each kind of trouble


class Leakage(NamedTuple):
    """What a set shares with one benchmark.

    Attributes:
        items: Items that were looked at.
        words: Items of whose words a half has 13 in a row, or all.
        images: Items whose image a half has, or a near copy of it.
        leaks: Items of which a half has both; without an image, the words.
        examples: Keys of the first leaks.
        missing: Why the benchmark could not be looked at; empty if it was.
    """

    benchmark: str
    items: int = 0
    words: int = 0
    images: int = 0
    leaks: int = 0
    examples: tuple[str, ...] = ()
    missing: str = ""


class Findings(NamedTuple):
    """What is wrong with a pair set.

    Attributes:
        rows: Rows of the file.
        unsound: Why rows cannot be read.
        broken: Images that cannot be decoded, by row and half.
        repeated_ids: Ids that several rows have.
        repeated_questions: Questions that are asked about the same image more than once.
        repeated_prompts: Rows whose prompt an earlier row has; no fault where prompts are few.
    """

    rows: int
    unsound: tuple[str, ...]
    broken: tuple[str, ...]
    repeated_ids: int
    repeated_questions: int
    repeated_prompts: int
    leakage: tuple[Leakage, ...]

    @property
    def anything(self) -> bool:
        """Whether something is wrong; repeated prompts alone are not."""
        leaks = any(found.leaks or found.missing for found in self.leakage)
        faults = (self.unsound, self.broken, self.repeated_ids, self.repeated_questions)
        return leaks or any(map(bool, faults))


class _Contents:
    """What is remembered of a set while its rows go by: no image stays in memory."""

    def __init__(self) -> None:
        self.unsound: list[str] = []
        self.broken: list[str] = []
        self.rows = 0
        self.ids: Counter[str] = Counter()
        self.questions: Counter[tuple[str, str]] = Counter()
        self.prompts: Counter[str] = Counter()
        self.by_gram: dict[str, set[int]] = {}  # places of understanding halves; -1 for prompts
        self._hashes: list[int] = []

    def add(self, found: Pair | UserError) -> None:
        """Take in one row."""
        self.rows += 1
        if isinstance(found, UserError):
            self.unsound.append(found.message)
            return
        self.ids[found.id] += 1
        if found.understanding is not None:
            self._add_understanding(found)
        if found.generation is not None:
            self.prompts[found.generation.prompt] += 1
            self._remember(found.generation.prompt, -1)
            if found.generation.image is not None:
                self._hash(found.generation.image, f"{found.id}, generation")

    def _add_understanding(self, pair: Pair) -> None:
        half = pair.understanding
        assert half is not None
        image = hashlib.sha256(half.image).hexdigest()
        self.questions[half.question, image] += 1
        found = self._hash(half.image, f"{pair.id}, understanding")
        self._remember(half.question, len(self._hashes) if found is not None else -1)
        if found is not None:
            self._hashes.append(found)

    def _hash(self, image: bytes, where: str) -> int | None:
        try:
            return perceptual_hash(decode(image))
        except DatasetError as failure:
            self.broken.append(f"{where}: {failure}")
            return None

    def _remember(self, text: str, place: int) -> None:
        for gram in ngrams13(_plain(text)):
            self.by_gram.setdefault(gram, set()).add(place)

    @property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """The perceptual hash of every image of an understanding half."""
        return np.asarray(self._hashes, dtype=np.uint64)


def check_pairs(path: Path, *, against: str | None, data: Path | None) -> Findings:
    """Look through a pair set.

    Args:
        path: The set.
        against: A suite or benchmarks, comma-separated.
        data: Folder with the benchmarks' files.

    Raises:
        UserError: if the file is no pair set, or a name is unknown.
    """
    names = _benchmarks(against) if against else []
    contents = _Contents()
    for found in examine_pairs(path):
        contents.add(found)
    return Findings(
        rows=contents.rows,
        unsound=tuple(contents.unsound),
        broken=tuple(contents.broken),
        repeated_ids=_repeated(contents.ids.values()),
        repeated_questions=_repeated(contents.questions.values()),
        repeated_prompts=_repeated(contents.prompts.values()),
        leakage=tuple(_leakage(name, contents, data) for name in names),
    )


def report(found: Findings, path: Path) -> str:
    """The findings for people."""
    lines = [f"{path}: {found.rows} rows"]
    lines += _listed("unsound rows", found.unsound)
    lines += _listed("broken images", found.broken)
    lines.append(f"{found.repeated_ids:>7}  repeated ids")
    lines.append(f"{found.repeated_questions:>7}  repeated questions about the same image")
    lines.append(f"{found.repeated_prompts:>7}  repeated prompts")
    if found.leakage:
        lines.append(
            f"\nItems of each benchmark that the set shares words with ({WORDS} in a row, or a "
            "shorter text whole),\nimages with (near copies), and both: a leak. A prompt has no "
            "image, so its words are the leak."
        )
        lines.append(f"{'benchmark':<16}{'items':>7}{'words':>7}{'images':>8}{'leaks':>7}")
    for one in found.leakage:
        lines += _leakage_lines(one)
    return "\n".join(lines)


def _leakage_lines(one: Leakage) -> list[str]:
    if one.missing:
        return [f"{one.benchmark:<16} not looked at: {one.missing}"]
    counts = f"{one.items:>7}{one.words:>7}{one.images:>8}{one.leaks:>7}"
    examples = f"   e.g. {', '.join(one.examples)}" if one.examples else ""
    return [f"{one.benchmark:<16}{counts}{examples}"]


def _listed(title: str, troubles: Sequence[str]) -> list[str]:
    more = [f"         ... and {len(troubles) - _LISTED} more"] if len(troubles) > _LISTED else []
    return [
        f"{len(troubles):>7}  {title}",
        *(f"         {trouble}" for trouble in troubles[:_LISTED]),
        *more,
    ]


def _repeated(counts: Iterable[int]) -> int:
    return sum(count - 1 for count in counts)


def _plain(text: str) -> str:
    """A text without the instruction that says how to answer."""
    for instruction in (LETTER_SUFFIX, WORD_SUFFIX, YES_NO_REQUEST.strip()):
        text = text.replace(instruction, "")
    return text


def _benchmarks(against: str) -> list[str]:
    from pairuni_eval import catalog

    if against in catalog.suites():
        return list(catalog.find_suite(against).benchmarks)
    names = [name.strip() for name in against.split(",") if name.strip()]
    return [catalog.find_card(name).name for name in names]


def _leakage(name: str, contents: _Contents, data: Path | None) -> Leakage:
    try:
        return _compared(name, list(_items(name, data)), contents)
    except UserError as missing:  # this benchmark's data; the others are looked at
        return Leakage(name, missing=missing.message)


def _items(name: str, data: Path | None) -> Iterator[Item]:
    from pairuni_eval.catalog import load_benchmark
    from pairuni_eval.data import Data

    benchmark = load_benchmark(name)
    yield from benchmark.samples(Data(benchmark.card, benchmark.folder, data))


def _compared(name: str, items: Sequence[Item], contents: _Contents) -> Leakage:
    hashes = contents.hashes
    words = images = 0
    leaks: list[str] = []
    for item in items:
        said = _halves_with_words(item, contents)
        shown = _halves_with_image(item, hashes)
        words += bool(said)
        images += bool(shown)
        if said & shown if item.pictures else said:
            leaks.append(item.sample.key)
    return Leakage(name, len(items), words, images, len(leaks), tuple(leaks[:_LISTED]))


def _halves_with_words(item: Item, contents: _Contents) -> set[int]:
    grams = ngrams13(_plain(item.sample.text))
    return {place for gram in grams for place in contents.by_gram.get(gram, ())}


def _halves_with_image(item: Item, hashes: npt.NDArray[np.uint64]) -> set[int]:
    found: set[int] = set()
    for picture in item.pictures:
        try:
            near = near_copies(perceptual_hash(decode(picture.data)), hashes)
        except DatasetError:  # the item's own image is broken: there is nothing to compare
            continue
        found.update(np.flatnonzero(near).tolist())
    return found
