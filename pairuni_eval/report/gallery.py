"""What a report shows of the outputs themselves: drawn images, edits, questions.

The choice is deterministic and spread: outputs are ordered by a hash of their sample, then taken in
turn from every group and from right, wrong and ungraded ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from pairuni_eval.cards import MetricSpec
from pairuni_eval.records import Capability, Status
from pairuni_eval.report.addresses import of_sample, shown_key
from pairuni_eval.report.copied_images import CopiedImage, ImageCopier
from pairuni_eval.report.text import shorten
from pairuni_eval.seeds import stable_hash
from pairuni_eval.stats.aggregate import names_in
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun, decode_cell

AT_MOST = 12  # items per benchmark
_LONGEST = 700  # characters of a question or an answer
_BINARY = ("right", "wrong")
_FINER = ("upper", "lower")
_ABSENT = "does not have it"
_GOLD_KEYS = ("answer", "gold", "label", "target")


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
