"""What the report says about the set a checkpoint was trained on: has it seen the tests?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.analysis.leakage import Leak, leaks, read_prints
from pairuni_eval.analysis.tables import Tables

_SHOWN = 12


class Contamination(NamedTuple):
    """The benchmarks of a run against a pair set.

    Attributes:
        pairs: Pairs in the set.
        broken: Images of the set that could not be decoded.
        leaks: By benchmark, in the order of the report.
    """

    pairs: int
    broken: int
    leaks: tuple[Leak, ...]

    @property
    def answer(self) -> str:
        """The finding in one sentence."""
        hit = [leak for leak in self.leaks if leak.flagged]
        units = sum(leak.units for leak in self.leaks)
        if not hit:
            return f"None of {units:,} units was found in the {self.pairs:,} pairs."
        flagged = sum(leak.flagged for leak in hit)
        where = ", ".join(f"{leak.flagged} of {leak.title}" for leak in hit)
        return f"{flagged:,} of {units:,} units were found in the {self.pairs:,} pairs: {where}."

    @property
    def most(self) -> int:
        """How many flagged items a benchmark lists at most."""
        return _SHOWN


def contamination(tables: Tables, pairs: Path, order: list[str]) -> Contamination:
    """Look for a run's evaluation items in a pair set.

    Args:
        tables: The run.
        pairs: The parquet file of the pair set.
        order: The benchmarks in the report's order.

    Raises:
        UserError: if the file is no pair set.
    """
    prints = read_prints(pairs)
    found = sorted(leaks(tables, prints), key=lambda leak: order.index(leak.benchmark))
    return Contamination(prints.pairs, prints.broken, tuple(found))


def contamination_entry(found: Contamination) -> dict[str, Any]:
    """The same for programs; values are unscaled."""
    return {
        "pairs": found.pairs,
        "benchmarks": {
            leak.benchmark: {
                "units": leak.units,
                "flagged": leak.flagged,
                "by": dict(leak.by),
                "with": leak.everything.value,
                "without": leak.clean.value,
                "sentence": leak.sentence,
            }
            for leak in found.leaks
        },
    }
