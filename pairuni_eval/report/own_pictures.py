"""The report's part on what a model sees in drawn pictures: four kinds of picture, with examples.

A picture is right or wrong in one fact, as the grader saw it, and the reader approves of it or not:
right and sees it, right and denies it, wrong and admits it, wrong and insists. Beside them stands
how many facts were seen from both sides, asked and twin. Examples are chosen by the hash of their
sample, one of a prompt.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.cards import MetricSpec
from pairuni_eval.prompts import YES_NO_REQUEST
from pairuni_eval.report.addresses import of_sample, shown_key
from pairuni_eval.report.copied_images import CopiedImage, ImageCopier
from pairuni_eval.report.gallery import joined_text, named_images, shown_parts
from pairuni_eval.report.text import shorten
from pairuni_eval.seeds import stable_hash
from pairuni_eval.stats.coupling import ASKED, OTHER, seen
from pairuni_eval.stats.tables import Tables, bare
from pairuni_eval.store.read import decode_cell

_NEEDED = ("tag.twin", "tag.pictures", "tag.label", "tag.kind")
_EXAMPLES = 2  # of each kind of fact in each corner
_LONGEST = 200
_CORNERS = (
    ("right and sees it", "yes", 1.0),
    ("right and denies it", "yes", 0.0),
    ("wrong and admits it", "no", 0.0),
    ("wrong and insists", "no", 1.0),
)


class OwnPicture(NamedTuple):
    """An example: what was asked for, what was asked, and what was answered."""

    key: str
    address: str
    picture: CopiedImage
    prompt: str
    question: str
    answer: str


class Corner(NamedTuple):
    """One of the four kinds of picture: how many facts by kind, and examples."""

    words: str
    counts: tuple[int, ...]
    examples: tuple[OwnPicture, ...]


class SeenFacts(NamedTuple):
    """Facts of which both twins were answered rightly, `of` so many whose twins were answered."""

    right: int
    of: int


class OwnPictures(NamedTuple):
    """What a reader sees in one painter's pictures.

    Attributes:
        kinds: The kinds of fact, which the counts are by.
        corners: The four kinds of picture.
        unread: Facts by kind whose answer is neither yes nor no, or is missing.
        seen_right: By kind, of facts that hold, those seen from both sides.
        seen_wrong: The same of facts that do not hold.
        unknown: Facts whose answer the grader does not know.
    """

    kinds: tuple[str, ...]
    corners: tuple[Corner, ...]
    unread: tuple[int, ...]
    seen_right: tuple[SeenFacts, ...]
    seen_wrong: tuple[SeenFacts, ...]
    unknown: int

    @property
    def lines(self) -> list[tuple[str, list[str]]]:
        """The table: a kind of fact with its cells, in the order of `heads`."""
        return [
            (
                kind,
                [
                    *(f"{corner.counts[n]:,}" for corner in self.corners),
                    f"{self.unread[n]:,}",
                    f"{self.seen_right[n].right:,} of {self.seen_right[n].of:,}",
                    f"{self.seen_wrong[n].right:,} of {self.seen_wrong[n].of:,}",
                ],
            )
            for n, kind in enumerate(self.kinds)
        ]

    @property
    def heads(self) -> list[str]:
        """What the cells of `lines` are."""
        words = [corner.words for corner in self.corners]
        return [*words, "no answer", "right ones seen from both sides", "wrong ones"]


def own_pictures(tables: Tables, benchmark: str, copier: ImageCopier) -> OwnPictures | None:
    """What there is to say of a benchmark whose questions are twins; None for any other."""
    frame = tables.outputs(benchmark)
    if not set(_NEEDED) <= set(frame.columns) or not (frame["tag.twin"] == OTHER).any():
        return None
    protocol = bare(tables.graded_under(benchmark)[0])
    frame = tables.joined(benchmark, protocol, "said_yes")
    own = frame[frame["tag.pictures"] == "painter"]
    asked = own[own["tag.twin"] == ASKED]
    kinds = tuple(dict.fromkeys(asked["tag.kind"]))
    if not kinds:
        return None
    sides = [_seen(tables, benchmark, protocol, kind) for kind in kinds]
    unread = asked[asked["value"].isna()]["tag.kind"]
    return OwnPictures(
        kinds=kinds,
        corners=tuple(
            _corner(tables, benchmark, copier, words, kinds, part)
            for words, label, said in _CORNERS
            for part in [asked[(asked["tag.label"] == label) & (asked["value"] == said)]]
        ),
        unread=tuple(int((unread == kind).sum()) for kind in kinds),
        seen_right=tuple(right for right, _ in sides),
        seen_wrong=tuple(wrong for _, wrong in sides),
        unknown=int((own["tag.label"] == "").sum()),
    )


def _seen(tables: Tables, benchmark: str, protocol: str, kind: str) -> tuple[SeenFacts, SeenFacts]:
    """Facts of a kind that are seen: of those that hold, and of those that do not."""
    where = {"pictures": "painter", "kind": kind}
    spec = MetricSpec(name="seen", of="correct", where=where)
    facts = seen(tables.rows(benchmark, protocol, spec))
    classes = (facts.known & facts.so, facts.known & ~facts.so)
    right, wrong = (SeenFacts(int((one & facts.good).sum()), int(np.sum(one))) for one in classes)
    return right, wrong


def _corner(
    tables: Tables,
    benchmark: str,
    copier: ImageCopier,
    words: str,
    kinds: tuple[str, ...],
    part: pd.DataFrame,
) -> Corner:
    by_kind = [part[part["tag.kind"] == kind] for kind in kinds]
    examples = [
        _example(tables, benchmark, copier, row) for rows in by_kind for row in _chosen(rows)
    ]
    return Corner(words, tuple(map(len, by_kind)), tuple(examples))


def _chosen(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A few rows of different prompts, in an order that depends on their samples alone."""
    order = [stable_hash("own pictures", one) for one in rows["sample"]]
    ordered = rows.assign(order=order).sort_values("order").drop_duplicates("unit")
    records: list[dict[str, Any]] = ordered.head(_EXAMPLES).to_dict("records")  # type: ignore[assignment]
    return records


def _example(
    tables: Tables, benchmark: str, copier: ImageCopier, row: dict[str, Any]
) -> OwnPicture:
    request = shown_parts(row["request"])
    question = joined_text(request).removesuffix(YES_NO_REQUEST)
    prompt = str(decode_cell(row["reference"]).get("prompt", ""))
    alt = f"Drawn for: {shorten(prompt, _LONGEST)}"
    return OwnPicture(
        key=shown_key(row["key"]),
        address=of_sample(benchmark, row["key"]),
        picture=copier.show(tables.run, named_images(request)[0], alt),
        prompt=shorten(prompt, _LONGEST),
        question=shorten(question, _LONGEST),
        answer=shorten(joined_text(shown_parts(row["parts"])), _LONGEST),
    )
