"""What the report says about the set a checkpoint was trained on: has it seen the tests?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.analysis.leakage import Leak, leaks, read_prints
from pairuni_eval.analysis.neighbors import NEAR, neighbors_path, read_neighbors
from pairuni_eval.analysis.tables import Tables
from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError

_SHOWN = 12


class Contamination(NamedTuple):
    """The benchmarks of a run against a pair set.

    Attributes:
        pairs: Pairs in the set.
        broken: Images of the set that could not be decoded.
        encoder: Whose features found neighbors; None where no encoder has looked.
        leaks: By benchmark, in the order of the report.
    """

    pairs: int
    broken: int
    encoder: str | None
    leaks: tuple[Leak, ...]

    @property
    def answer(self) -> str:
        """The finding in one sentence."""
        units = sum(leak.units for leak in self.leaks)
        copies = {leak.title: leak.flagged - leak.alike for leak in self.leaks}
        alike = {leak.title: leak.alike for leak in self.leaks}
        found = f"{sum(copies.values()):,}" if any(copies.values()) else "None"
        verb = "was" if sum(copies.values()) < 2 else "were"
        said = f"{found} of {units:,} units {verb} found in the {self.pairs:,} pairs"
        said += f": {_listed(copies)}" if any(copies.values()) else ""
        if any(alike.values()):
            said += f"; {sum(alike.values()):,} more have an image much like one: {_listed(alike)}"
        return f"{said}."

    @property
    def near(self) -> float:
        """The cosine above which two images count as one."""
        return NEAR

    @property
    def most(self) -> int:
        """How many flagged items a benchmark lists at most."""
        return _SHOWN


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {title}" for title, count in counts.items() if count)


def contamination(tables: Tables, pairs: Path, order: list[str]) -> Contamination:
    """Look for a run's evaluation items in a pair set.

    Args:
        tables: The run.
        pairs: The parquet file of the pair set.
        order: The benchmarks in the report's order.

    Raises:
        UserError: if the file is no pair set, or the neighbors beside it are another set's.
    """
    prints, path = read_prints(pairs), neighbors_path(pairs)
    neighbors = read_neighbors(path)
    if neighbors is not None and neighbors.pairs != prints.pairs:
        words = ("pairs", "neighbors", pairs, "--run", tables.run.folder)
        raise UserError(
            f"{path} belongs to a set of {neighbors.pairs} pairs, {pairs} has {prints.pairs}.",
            hint=f"Make it anew: {as_typed('pairuni-train', *words)}",
        )
    found = leaks(tables, prints, neighbors)
    return Contamination(
        pairs=prints.pairs,
        broken=prints.broken,
        encoder=neighbors.encoder if neighbors is not None else None,
        leaks=tuple(sorted(found, key=lambda leak: order.index(leak.benchmark))),
    )


def contamination_entry(found: Contamination) -> dict[str, Any]:
    """The same for programs; values are unscaled."""
    return {
        "pairs": found.pairs,
        "encoder": found.encoder,
        "benchmarks": {
            leak.benchmark: {
                "units": leak.units,
                "flagged": leak.flagged,
                "by": dict(leak.by),
                "unseen": leak.unseen,
                "unsought": leak.unsought,
                "with": leak.everything.value,
                "without": leak.clean.value,
                "sentence": leak.sentence,
            }
            for leak in found.leaks
        },
    }
