"""Notices that stand before a run's numbers, on the page and on the console.

That answers carry tags which the first rule does not know, and why outputs have no value.
"""

from __future__ import annotations

from collections.abc import Iterator

from pairuni_eval.records import Capability
from pairuni_eval.report.text import shorten
from pairuni_eval.stats.reasons import Reason, reasons
from pairuni_eval.stats.tables import Tables

_TAGGED = 0.1  # share of answers with tags from which on it is said
_WORDS = 160  # characters of a reason


def tag_notice(tables: Tables, benchmark: str) -> str | None:
    """That many answers carry tags, and which protocol reads them; None if they do not."""
    first, *others = tables.protocols(benchmark)
    reads = tables.spec(benchmark, first).final_answer is not None
    if reads or tables.card(benchmark).capability is not Capability.UNDERSTAND:
        return None
    found = tables.tagged(benchmark)
    if found.share < _TAGGED:
        return None
    readers = [n for n in others if tables.spec(benchmark, n).final_answer is not None]
    way = f"See protocol {readers[0]}." if readers else "No protocol of this run reads them alone."
    return (
        f"{benchmark}: {found.outputs} of {found.total} answers carry <think>/<answer> tags; the "
        f"{first} rule reads them whole. {way}"
    )


def tag_notices(tables: Tables) -> tuple[str, ...]:
    """`tag_notice` for every benchmark of a run."""
    found = (tag_notice(tables, name) for name in tables.run.card.benchmarks)
    return tuple(notice for notice in found if notice is not None)


def reason_words(reason: Reason) -> str:
    """A reason with its count, on one line, short and without control characters."""
    return f"{reason.outputs} {reason.status}: {shorten(reason.words, _WORDS)}"


def reason_lines(tables: Tables) -> Iterator[str]:
    """Why outputs of a run have no value; what a benchmark's earlier protocol says is left out."""
    for benchmark in tables.run.card.benchmarks:
        said: set[Reason] = set()
        for protocol in tables.protocols(benchmark):
            fresh = [one for one in reasons(tables, benchmark, protocol) if one not in said]
            said.update(fresh)
            for one in fresh:
                yield f"{benchmark}@{protocol}: no value for {reason_words(one)}"
