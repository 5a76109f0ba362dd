"""The search for test items that a pair set has shown, over the samples of a run or a benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from pairuni_eval.contamination.fingerprints import (
    Fingerprints,
    fingerprint,
    near_copies,
    ngrams13,
)
from pairuni_eval.contamination.neighbors import NEAR, Neighbor
from pairuni_eval.errors import DatasetError


class EvaluationItem(NamedTuple):
    """A test item as the model is asked it.

    Attributes:
        text: All of its text parts.
        images: How to get the encoded image, by content id; raises DatasetError if there is none.
    """

    uid: str
    key: str
    unit: str
    text: str
    images: Mapping[str, Callable[[], bytes]]


class Flag(NamedTuple):
    """A test item that the pair set has shown.

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


class BenchmarkLeak(msgspec.Struct, frozen=True, kw_only=True):
    """What a pair set shares with one benchmark.

    Attributes:
        title: The benchmark as people call it.
        items: Items that were looked at.
        units: Units among them.
        words: Items that share words with the set, flagged or not.
        unseen: Items with an image that is not at hand, or broken.
        unsought: Items with an image that no encoder has looked at.
        flags: Every flagged item, in the order of the items.
    """

    benchmark: str
    title: str
    items: int
    units: int
    words: int
    unseen: int
    unsought: int
    flags: tuple[Flag, ...]

    @property
    def flagged_units(self) -> frozenset[str]:
        """The units with a flagged item."""
        return frozenset(flag.unit for flag in self.flags)

    @property
    def flagged(self) -> int:
        """How many units have a flagged item."""
        return len(self.flagged_units)

    @property
    def by(self) -> Counter[str]:
        """Flagged items by how they were found."""
        return Counter(flag.how for flag in self.flags)

    @property
    def alike(self) -> int:
        """Units that are flagged by features alone: much like what was seen, not a copy."""
        return self.flagged - len({flag.unit for flag in self.flags if flag.how != "neighbor"})


def search(
    benchmark: str, title: str, items: Iterable[EvaluationItem], prints: Fingerprints
) -> BenchmarkLeak:
    """Look for the items of a benchmark in a pair set; every image is hashed once.

    Args:
        benchmark: Its name.
        title: Its title.
        items: What it asks; may be read as it goes.
        prints: The pair set's fingerprints.
    """
    known: dict[str, str | None] = {}
    flags: list[Flag] = []
    units: set[str] = set()
    counts = Counter(items=0, words=0, unseen=0, unsought=0)
    for item in items:
        for image, data in item.images.items():
            if image not in known:
                known[image] = _owner(data, prints)
        said = _with_words(item.text, prints)
        shown = [known[image] for image in item.images]
        near = [prints.nearest.get(image) for image in item.images]
        units.add(item.unit)
        counts.update(items=1, words=said is not None, unseen=None in shown, unsought=None in near)
        how = _how(said, shown, near)
        if how is not None:
            flags.append(Flag(item.uid, item.key, item.unit, *how))
    return BenchmarkLeak(
        benchmark=benchmark, title=title, units=len(units), flags=tuple(flags), **counts
    )


def _with_words(text: str, prints: Fingerprints) -> str | None:
    """A pair that shares words with a text."""
    owners = (prints.grams.get(gram) for gram in sorted(ngrams13(text)))
    return next((owner for owner in owners if owner is not None), None)


def _owner(data: Callable[[], bytes], prints: Fingerprints) -> str | None:
    """A pair that has an image or a near copy, "" if none has, None if it cannot be seen."""
    try:
        found = np.flatnonzero(near_copies(fingerprint(data()), prints.hashes))
    except DatasetError:
        return None
    return prints.owners[found[0]] if len(found) else ""


def _how(
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


def describe_leaks(found: Sequence[BenchmarkLeak], pairs: int) -> str:
    """The finding in one sentence, copies first; `pairs` is the size of the set."""
    units = sum(one.units for one in found)
    copies = {one.title: one.flagged - one.alike for one in found}
    alike = {one.title: one.alike for one in found}
    total = f"{sum(copies.values()):,}" if any(copies.values()) else "None"
    verb = "was" if sum(copies.values()) < 2 else "were"
    said = f"{total} of {units:,} units {verb} found in the {pairs:,} pairs"
    said += f": {_listed(copies)}" if any(copies.values()) else ""
    if any(alike.values()):
        said += f"; {sum(alike.values()):,} more have an image much like one: {_listed(alike)}"
    return f"{said}."


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {title}" for title, count in counts.items() if count)
