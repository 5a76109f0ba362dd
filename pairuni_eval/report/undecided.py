"""Remedies for headlines about which nothing can be told, and what to type for them.

A partial run is made whole by its own command without `--limit`; what a whole benchmark cannot
show, no command can; a word about the arm takes further training seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pairuni_eval.commands import as_typed, is_command
from pairuni_eval.records import RunCard
from pairuni_eval.report.baseline_comparison import BaselineComparison, named
from pairuni_eval.report.partial_runs import IncompleteRun, in_words
from pairuni_eval.report.rerun import folder_name, with_option
from pairuni_eval.report.text import times
from pairuni_eval.stats.compare import Difference, Word
from pairuni_eval.stats.scope import seeds_warning

_LIMIT = "--limit"
_EVERYTHING = "the images or prompts of the whole benchmark"


class Remedy(NamedTuple):
    """What would decide, in words, and the commands that do what can be done."""

    sentence: str
    commands: tuple[str, ...] = ()


def remedy(run: RunCard, baseline: BaselineComparison) -> Remedy | None:
    """What would decide the undecided headlines against a baseline; None if there are none.

    Args:
        run: The reported run.
        baseline: What the comparison with a baseline found.
    """
    rows = [row for row in baseline.comparison.headlines if _undecided(row)]
    if not rows:
        return None
    partial = any(_in_reach(row) for row in rows)
    commands = [whole(card) for card in (run, baseline.card, *baseline.seeds) if partial]
    said = "; ".join(remedies(rows))
    if not said:
        return None
    return Remedy(f"{said[0].upper()}{said[1:]}.", tuple(one for one in commands if one))


def _undecided(row: Difference) -> bool:
    return row.reason is None and row.word is Word.CANNOT_TELL


def _in_reach(row: Difference) -> bool:
    """Whether the benchmark has units that were not compared and that would decide."""
    found = row.deciding
    if found is None or found.seeds is not None or found.available is None:
        return False
    return row.clusters < found.units <= found.available


def remedies(rows: Sequence[Difference]) -> Iterator[str]:
    """What would decide some undecided rows: outputs first, then training seeds."""
    yield from _by_outputs(rows)
    yield from _by_seeds(rows)


def seeds_lacking(rows: Sequence[Difference]) -> int:
    """Training seeds of each arm that would decide all rows that lack any; 0 if none does."""
    return max((row.deciding.seeds or 0 for row in rows if row.deciding), default=0)


def _by_outputs(rows: Sequence[Difference]) -> Iterator[str]:
    missing = [row for row in rows if row.missing.any and row.deciding is None]
    if missing:
        yield f"{named(missing)}: a value for every output"
    whole_ones = [row for row in rows if _in_reach(row)]
    if whole_ones:
        yield f"{named(whole_ones)}: the whole benchmark, without {_LIMIT}"
    beyond = [(row, share) for row in rows if (share := _beyond(row)) is not None]
    for target, by_margin in (("difference seen", False), ("margin", True)):
        some = [(row, share) for row, share in beyond if _for_margin(row) is by_margin]
        if some:
            names, shares = named([row for row, _ in some]), [share for _, share in some]
            yield f"{names}: {times(shares)} {_EVERYTHING}, for the {target}"


def _beyond(row: Difference) -> float | None:
    """How often the whole benchmark it would take; None where that would do, or is not known."""
    found = row.deciding
    if found is None or found.seeds is not None or found.available is None:
        return None
    return found.units / found.available if found.units > found.available else None


def _for_margin(row: Difference) -> bool:
    """Whether what would be found is a difference of the margin, larger than the one seen."""
    return row.deciding is not None and row.deciding.target <= (row.margin or 0.0)


def _by_seeds(rows: Sequence[Difference]) -> Iterator[str]:
    lacking = [row for row in rows if row.deciding and row.deciding.seeds]
    alone = [row for row in lacking if _units_too(row) is None]
    if alone:
        yield f"{named(alone)}: {_seeds_of_each_arm(alone)}"
    for row in lacking:
        if (units := _units_too(row)) is not None:
            yield f"{named([row])}: {_seeds_of_each_arm([row])} and {units}"


def _seeds_of_each_arm(rows: Sequence[Difference]) -> str:
    return f"{seeds_lacking(rows):,} training seeds of each arm"


def _units_too(row: Difference) -> str | None:
    """The units that it takes beside seeds, and how many there are; None if it takes no more."""
    found = row.deciding
    if found is None or found.units <= row.clusters:
        return None
    there = "" if found.available is None else f" (the whole benchmark has {found.available:,})"
    return f"{found.units:,} images or prompts{there}"


def seeds_needed(baselines: Sequence[BaselineComparison]) -> str | None:
    """What would let the words say more than what holds for these checkpoints, and how to ask."""
    abouts = [one.comparison.about for one in baselines]
    needed = dict.fromkeys(one.needed for one in abouts if one.needed)
    if not needed:
        return None
    warning = seeds_warning(abouts)
    return (
        f"{f'{warning}. ' if warning else ''}A word about the arm needs "
        f"{' or '.join(needed)}: --sibling RUN for each further seed of this run, "
        "--baseline NAME=RUN again under one NAME for each of a baseline."
    )


def trial(parts: Sequence[IncompleteRun]) -> Remedy | None:
    """What to do first where runs were measured by a few samples; None if none was.

    Args:
        parts: The runs of the page that are not whole.
    """
    trials = [one for one in parts if one.card.limit is not None]
    if not trials:
        return None
    commands = (whole(one.card) for one in trials)
    return Remedy(
        f"{in_words(trials)}: run the whole benchmarks before anything else.",
        tuple(dict.fromkeys(one for one in commands if one)),
    )


def whole(run: RunCard) -> str | None:
    """The command that measures what a partial run left out; None for a whole run.

    It writes into a folder of its own, for one that holds the partial run refuses another.
    """
    if run.limit is None or not is_command(run.command):
        return None
    out = ("--out", f"runs/{folder_name(run.name)}-whole")
    return as_typed(*with_option(run.command, _LIMIT), *out)
