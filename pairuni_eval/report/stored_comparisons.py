"""Comparisons that reports of runs hold already: read from their `summary.json`.

A report knows its own run by weights, seed and the hash of everything else that moves a number, and
each baseline by its weights. So a stored comparison is of two runs of a folder only where each is
known by that alone: where two runs would fit, none is taken. Nothing is computed; what a report
says was corrected together with its other baselines, as its own sentence states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from pairuni_eval.places import is_folder
from pairuni_eval.records import RunCard
from pairuni_eval.report.formats import SUMMARY, Bounds, Word

SUMMARY_FILE = "summary.json"


class StoredHeadline(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a stored comparison, unscaled; see `formats.DifferenceEntry`."""

    benchmark: str
    protocol: str
    metric: str
    headline: bool
    ours: float | None
    theirs: float | None
    difference: float | None
    joint: Bounds | None
    equivalence: Bounds | None
    p_holm: float | None
    p_tied: float | None
    word: Word
    reason: str | None

    @property
    def beside(self) -> Bounds | None:
        """The interval beside the word."""
        return self.equivalence if self.word == "tied" else self.joint

    @property
    def p_beside(self) -> float | None:
        """The p beside the word; None for a tie that rests on no test."""
        if self.word == "tied":
            return None if self.equivalence is None else self.p_tied
        return self.p_holm


class _StoredFamily(msgspec.Struct, frozen=True):
    sentence: str


class _StoredBaseline(msgspec.Struct, frozen=True):
    checkpoint: str
    weights: str
    sentence: str
    family: _StoredFamily
    differences: tuple[StoredHeadline, ...]


class _StoredCheckpoint(msgspec.Struct, frozen=True):
    weights: str


class _StoredSummary(msgspec.Struct, frozen=True):
    """Of a summary, what is read here."""

    format: str
    name: str
    code: str
    seed: int
    protocol_hash: str
    checkpoint: _StoredCheckpoint
    baselines: dict[str, _StoredBaseline]

    @property
    def known_by(self) -> tuple[object, ...]:
        """What its run is known by; as `_known_by`."""
        return self.name, self.seed, self.protocol_hash, self.checkpoint.weights


class StoredComparison(NamedTuple):
    """What a report says of two runs of a folder.

    Attributes:
        ours, theirs: Their numbers in the folder.
        baseline: The name that the report gives the second.
        source: The report's file.
        code: The version that made it.
        sentence: What the headlines say.
        family: The tests that were corrected together.
        headlines: One line a benchmark.
    """

    ours: int
    theirs: int
    baseline: str
    source: Path
    code: str
    sentence: str
    family: str
    headlines: tuple[StoredHeadline, ...]


class _ByContent(NamedTuple):
    """The numbers of runs by what they are known by, and by their weights alone."""

    runs: dict[tuple[object, ...], list[int]]
    weights: dict[str, list[int]]


def stored_comparisons(
    reports: Path, cards: Mapping[int, RunCard], folders: Mapping[int, str]
) -> tuple[StoredComparison, ...]:
    """What the reports in a folder say of any two of these runs; one entry for two runs.

    Args:
        reports: The folder with a folder for each report; it need not be there.
        cards: The cards of the runs by their numbers.
        folders: The names of their folders; a report of the same name is the run's own where
            several runs would fit.
    """
    known = _by_content(cards)
    found: dict[tuple[int, int], StoredComparison] = {}
    for path in _summaries(reports):
        summary = _read(path)
        if summary is None:
            continue
        fit = known.runs.get(summary.known_by, [])
        ours = _the_one(fit, [number for number in fit if folders[number] == path.parent.name])
        if ours is not None:
            for one in _of_summary(summary, path, ours, known):
                found.setdefault((one.ours, one.theirs), one)
    return tuple(found[key] for key in sorted(found))


def _by_content(cards: Mapping[int, RunCard]) -> _ByContent:
    made = _ByContent({}, {})
    for number, card in cards.items():
        made.runs.setdefault(_known_by(card), []).append(number)
        made.weights.setdefault(card.checkpoint.weights, []).append(number)
    return made


def _known_by(card: RunCard) -> tuple[object, ...]:
    return card.name, card.seed, card.protocol_hash, card.checkpoint.weights


def _of_summary(
    summary: _StoredSummary, path: Path, ours: int, known: _ByContent
) -> Iterator[StoredComparison]:
    for name, one in summary.baselines.items():
        theirs = _the_one([n for n in known.weights.get(one.weights, []) if n != ours])
        if theirs is not None:
            yield StoredComparison(
                ours=ours,
                theirs=theirs,
                baseline=name,
                source=path,
                code=summary.code,
                sentence=one.sentence,
                family=one.family.sentence,
                headlines=tuple(row for row in one.differences if row.headline),
            )


def _the_one(*fitting: Sequence[int]) -> int | None:
    """The only one of the first list that has one alone."""
    return next((numbers[0] for numbers in fitting if len(numbers) == 1), None)


def _summaries(reports: Path) -> list[Path]:
    return sorted(reports.glob(f"*/{SUMMARY_FILE}")) if is_folder(reports) else []


def _read(path: Path) -> _StoredSummary | None:
    """A summary; None for a file of another kind or format."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_StoredSummary)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.format == SUMMARY else None
