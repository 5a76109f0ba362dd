"""The graded pictures of a finished run, as what is asked about them starts from.

A run names its pictures by content and its scores by output; here both come together again, sample
by sample and draw by draw, in the run's order. A picture that was not drawn, or that the run folder
has lost, is left out: nobody can be asked about it, and the run's own report counts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.benchmark import Answer, Painted
from pairuni_eval.errors import UserError
from pairuni_eval.named_runs import located
from pairuni_eval.records import Output, Picture, Sample
from pairuni_eval.seeds import stable_hash
from pairuni_eval.store.read import StoredRun

_SHOWN = 12  # digits of a run's hash


class PaintedPlace(NamedTuple):
    """What two painters' pictures of one prompt have in common: the key of the prompt, the draw."""

    key: str
    draw: int


class PaintedRun:
    """A finished run whose pictures are read.

    Args:
        run: A run folder, a packed run or suite:SUITE/NAME.

    Raises:
        UserError: if it is none, is not complete, or was changed.
    """

    def __init__(self, run: str | Path) -> None:
        self._run = StoredRun(located(run))
        self.folder = run

    @property
    def name(self) -> str:
        """What the run is called."""
        return self._run.printed_name

    @property
    def revision(self) -> str:
        """What its tables hold, in a few digits."""
        return stable_hash("painted/1", self._run.seal.sha256)[:_SHOWN]

    def has(self, benchmark: str) -> bool:
        """Whether the run drew a benchmark's pictures."""
        return benchmark in self._run.card.benchmarks

    def check(self, benchmark: str) -> None:
        """See that the run drew a benchmark's pictures.

        Raises:
            UserError: if it did not.
        """
        if not self.has(benchmark):
            known = ", ".join(self._run.card.benchmarks)
            raise UserError(
                f"The run {self.folder} has no pictures of '{benchmark}'; it was measured on "
                f"{known}.",
                hint=f"Name a run that was: pairuni-eval run --benchmarks {benchmark} ...",
            )

    def whole(self, benchmark: str) -> float:
        """How many times as many samples the complete benchmark has as the run planned; >= 1."""
        part = self._run.card.benchmarks[benchmark]
        return part.expected / part.planned if part.planned else 1.0

    def pictures(self, benchmark: str) -> list[Painted]:
        """Every picture of a benchmark with its values under the first protocol that has any."""
        samples = {
            one.uid: one for one in self._run.records("samples", Sample) if self._of(one, benchmark)
        }
        outputs = [one for one in self._run.records("outputs", Output) if one.sample in samples]
        values = self._values(benchmark)
        return [
            Painted(
                Answer(samples[one.sample], one, self._run.pictures.load), values.get(one.id, {})
            )
            for one in outputs
            if one.image is not None and self._run.pictures.trouble(one.image) is None
        ]

    def picture(self, image: str) -> Picture:
        """A stored picture on its way into another store."""
        return Picture(self._run.pictures.data(image), image)

    def _of(self, sample: Sample, benchmark: str) -> bool:
        return sample.benchmark == benchmark

    def _values(self, benchmark: str) -> dict[str, dict[str, float]]:
        """By output and score metric."""
        scores = self._run.scores
        valued = scores[scores["value"].notna()]
        for protocol in self._run.card.benchmarks[benchmark].protocols:
            mine = valued[valued["protocol"].isin(_names(benchmark, protocol))]
            if len(mine):
                return _by_output(mine[["output", "metric", "value"]].itertuples(index=False))
        return {}


def _names(benchmark: str, protocol: str) -> Sequence[str]:
    """How rows name a protocol: by its full name; by the bare one in runs of old."""
    return (protocol, f"{benchmark}@{protocol}")


def _by_output(rows: Iterator[tuple[str, str, float]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for output, metric, value in rows:
        found.setdefault(output, {})[metric] = float(value)
    return found
