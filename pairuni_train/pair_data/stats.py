"""What a pair set holds, counted from the file alone, in numbers and in words.

`pairs stats` and the data card of a build read the same counts, so they cannot differ. No image is
read for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pairuni_train.pair_data.dataset import read_about, read_columns
from pairuni_train.pair_data.record import Kind

BINS = 20  # of the histogram, over [0, 1]
_WORDS = ("yes", "no")
_COLUMNS = (
    "kind",
    "answer",
    "similarity",
    "understanding_source",
    "understanding_licence",
    "generation_source",
    "generation_licence",
    "completed_half",
    "completed_by",
    "checked_by",
)

Counts = Mapping[str, int]


class Stats(NamedTuple):
    """What a pair set holds.

    Attributes:
        rows: Rows of the file.
        halves: Training halves: two for a pair, one for an unpaired row.
        similarities: Of pairs of two images whose cosine is known.
        answers: Answers that are yes or no.
        completed: Pairs by the half that was written, its writer and its verifier.
    """

    rows: int
    halves: int
    kinds: Counts
    understanding: Counts
    generation: Counts
    licences: Counts
    answers: Counts
    completed: Counts
    similarities: tuple[float, ...]

    @property
    def histogram(self) -> tuple[int, ...]:
        """Similarities in 20 equal bins over [0, 1]; 1 belongs to the last."""
        counts = np.histogram(np.asarray(self.similarities), bins=BINS, range=(0.0, 1.0))[0]
        return tuple(int(count) for count in counts)


def read_stats(path: Path) -> Stats:
    """Count what a pair set holds; UserError if it is none."""
    found = read_columns(path, _COLUMNS)
    kinds = Counter(found["kind"])
    sources = (found["understanding_source"], found["generation_source"])
    return Stats(
        rows=len(found["kind"]),
        halves=sum(source is not None for column in sources for source in column),
        kinds=most_first(kinds),
        understanding=most_first(_present(sources[0])),
        generation=most_first(_present(sources[1])),
        licences=most_first(
            _present([*found["understanding_licence"], *found["generation_licence"]])
        ),
        answers=most_first(_yes_and_no(found["answer"])),
        completed=most_first(_completed(found)),
        similarities=tuple(
            similarity
            for kind, similarity in zip(found["kind"], found["similarity"], strict=True)
            if similarity is not None and kind != Kind.ALIGNED
        ),
    )


def _present(values: Iterable[str | None]) -> Counter[str]:
    return Counter(value for value in values if value is not None)


def _yes_and_no(answers: Iterable[str | None]) -> Counter[str]:
    words = ((answer or "").strip().lower() for answer in answers)
    return Counter(word for word in words if word in _WORDS)


def _completed(found: Mapping[str, Sequence[Any]]) -> Counter[str]:
    columns = (found["completed_half"], found["completed_by"], found["checked_by"])
    return Counter(
        f"{half} half, written by {writer}, checked by {verifier}"
        for half, writer, verifier in zip(*columns, strict=True)
        if half is not None
    )


def most_first(counts: Counter[str]) -> Counts:
    """Counts, the most frequent first, then by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


# In words


def stats_text(path: Path) -> str:
    """What `pairs stats` prints."""
    stats, about = read_stats(path), read_about(path)
    lines = [f"{path}: {stats.rows} rows, {stats.halves} training halves"]
    lines += [f"arm: {about['arm']} of {about['name']}"] if "arm" in about else []
    for title, counts in tables_of(stats):
        lines.append(f"\n{title}")
        lines += [f"  {count:>7}  {name}" for name, count in counts.items()]
    if stats.similarities:
        lines += ["\nsimilarity", *_bars(stats.histogram)]
        lines.append(f"  {quantiles(stats.similarities)}")
    return "\n".join(lines)


def tables_of(stats: Stats) -> list[tuple[str, Counts]]:
    """The counts that are not empty, each with its title."""
    tables = [
        ("kind", stats.kinds),
        ("understanding, by source", stats.understanding),
        ("generation, by source", stats.generation),
        ("licence of a half", stats.licences),
        ("answer, where it is yes or no", stats.answers),
        ("completed halves", stats.completed),
    ]
    return [(title, counts) for title, counts in tables if counts]


def _bars(histogram: Sequence[int]) -> list[str]:
    top = max(histogram)
    filled = [place for place, count in enumerate(histogram) if count]
    return [
        f"  {place / BINS:.2f}-{(place + 1) / BINS:.2f} {histogram[place]:>7} "
        + "#" * round(40 * histogram[place] / top)
        for place in range(filled[0], filled[-1] + 1)
    ]


def quantiles(values: Sequence[float]) -> str:
    """Where the values lie, in one line."""
    low, middle, high = np.quantile(np.asarray(values), (0.05, 0.5, 0.95))
    return (
        f"min {min(values):.3f}, 5 % {low:.3f}, median {middle:.3f}, 95 % {high:.3f}, "
        f"max {max(values):.3f}"
    )
