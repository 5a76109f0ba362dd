"""Runs of a page that are not whole, by name: a number that rests on one stands for no benchmark.

Goes in: the reported run, its siblings and its baselines with their seeds. Of another run only the
benchmarks that the reported one has are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pairuni_eval.records import RunCard
from pairuni_eval.report.seeds import Seeds
from pairuni_eval.report.text import listed
from pairuni_eval.store.read import StoredRun

OWN = "this run"


class IncompleteRun(NamedTuple):
    """A run that has not all samples of the benchmarks that are looked at.

    Attributes:
        name: `OWN`, or what the page calls it: "GRPO", "its sibling a2", "a seed of GRPO, g2,".
        card: Its card.
        planned: Samples that it was asked for.
        expected: Samples of the whole benchmarks.
        unfinished: Whether it has not ended.
    """

    name: str
    card: RunCard
    planned: int
    expected: int
    unfinished: bool

    @property
    def words(self) -> str:
        """E.g. "GRPO has 46 of 204 samples"."""
        more = " and has not ended" if self.unfinished else ""
        return f"{self.name} has {self.planned:,} of {self.expected:,} samples{more}"

    @property
    def entry(self) -> dict[str, Any]:
        """The same for programs."""
        found = self._asdict()
        return {key: found[key] for key in ("name", "planned", "expected", "unfinished")}


def partial_runs(
    run: StoredRun, baselines: Mapping[str, StoredRun], seeds: Seeds
) -> tuple[IncompleteRun, ...]:
    """The runs of a page that are not whole, this run first.

    Args:
        run: The reported run.
        baselines: The runs it is compared with, by name.
        seeds: Further training seeds of both.
    """
    found = []
    for name, one in _named(run, baselines, seeds):
        parts = [part for key, part in one.card.benchmarks.items() if key in run.card.benchmarks]
        if one.unfinished or any(part.planned < part.expected for part in parts):
            planned, expected = (
                sum(counts)
                for counts in zip(*((part.planned, part.expected) for part in parts), strict=True)
            )
            found.append(IncompleteRun(name, one.card, planned, expected, one.unfinished))
    return tuple(found)


def in_words(found: Sequence[IncompleteRun]) -> str:
    """E.g. "This run has 46 of 204 samples and GRPO has 30 of 204 samples"; "" for none."""
    said = listed([one.words for one in found]) if found else ""
    return f"{said[:1].upper()}{said[1:]}" if found and found[0].name == OWN else said


def _named(
    run: StoredRun, baselines: Mapping[str, StoredRun], seeds: Seeds
) -> Iterator[tuple[str, StoredRun]]:
    yield OWN, run
    for one in seeds.ours:
        yield f"its sibling {one.printed_name}", one
    for name, one in baselines.items():
        yield name, one
        for seed in seeds.theirs.get(name, ()):
            yield f"a seed of {name}, {seed.printed_name},", seed
