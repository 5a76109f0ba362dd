"""The data card of a pair set: what is in it, how it was made, what was left out.

Markdown for people, with one picture beside it: the histogram of similarities (the paper's F7) and
the rows by kind and source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairuni_eval.toolkit.store import write_whole
from pairuni_train.pair_data.card_plot import plot_card
from pairuni_train.pair_data.dataset import read_about
from pairuni_train.pair_data.rows import Reject
from pairuni_train.pair_data.stats import Stats, most_first, quantiles, read_stats, tables_of

_LISTED = 20  # rejects that the card names


def write_card(path: Path, *, facts: Mapping[str, str], rejects: Sequence[Reject]) -> None:
    """Write the card of a pair set beside it, as .md and .svg.

    Args:
        path: The pair set.
        facts: How it was made, as lines of a table.
        rejects: Rows that were left out.
    """
    stats, about = read_stats(path), read_about(path)
    write_whole(path.with_suffix(".svg"), plot_card(stats).encode())
    text = "\n".join([*_head(path, stats, about), *_contents(stats), *_making(facts, rejects)])
    write_whole(path.with_suffix(".md"), text.encode())


def _head(path: Path, stats: Stats, about: Mapping[str, Any]) -> list[str]:
    lines = [
        f"# {about['name']}: {about['arm']}",
        "",
        f"{stats.rows} rows, {stats.halves} training halves.",
    ]
    if stats.halves < about["budget"]:
        lines[-1] += (
            f" Short: the budget of this arm is {about['budget']} halves, the rows gave no more."
        )
    return [*lines, "", f"![similarities and sources]({path.stem}.svg)", ""]


def _contents(stats: Stats) -> list[str]:
    lines = ["## Contents", ""]
    for title, counts in tables_of(stats):
        lines += [f"| {title} | count |", "|---|---:|"]
        lines += [f"| {_cell(name)} | {count} |" for name, count in counts.items()] + [""]
    if stats.similarities:
        lines += [f"Similarity of the two images: {quantiles(stats.similarities)}.", ""]
    return lines


def _making(facts: Mapping[str, str], rejects: Sequence[Reject]) -> list[str]:
    lines = ["## How it was made", "", "| | |", "|---|---|"]
    lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in facts.items()]
    lines += ["", "## Rejects", ""]
    if not rejects:
        return [*lines, "None.", ""]
    lines += ["| reason | rows |", "|---|---:|"]
    counts = most_first(Counter(one.reason for one in rejects))
    lines += [f"| {_cell(reason)} | {count} |" for reason, count in counts.items()]
    lines += ["", f"All {len(rejects)} stand in `rejects.jsonl`. The first ones:", ""]
    lines += [f"- {_cell(one.where)}: {_cell(one.reason)}" for one in rejects[:_LISTED]]
    return [*lines, ""]


def _cell(text: str) -> str:
    """Text that may come from a dataset or a model, on one line of a Markdown table."""
    plain = " ".join(text.split())
    for mark in "\\|`*_[]<>":
        plain = plain.replace(mark, f"\\{mark}")
    return plain
