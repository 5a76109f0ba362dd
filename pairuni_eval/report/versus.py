"""What a report says about a baseline: one sentence, what got worse and better, every metric.

Goes in: the comparison that `analysis.compare` made. Comes out: the same, in the words and the
order in which the page sets it. No number is made here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from pairuni_eval.analysis.compare import Comparison, Difference, Refusal, Word, compare
from pairuni_eval.analysis.tables import Tables
from pairuni_eval.records import RunCard
from pairuni_eval.report.addresses import shown_group
from pairuni_eval.report.text import signed

_NAMED = 4  # benchmarks that the sentence names for a word; of more it names three and counts
_PHRASES = {
    Word.BETTER: "better than {name} at",
    Word.WORSE: "worse at",
    Word.TIED: "tied on",
    Word.CANNOT_TELL: "cannot tell on",
}
NOT_COMPARED = "not compared"
_ONE_SEED = (
    "Intervals and p values are about these checkpoints on these test items: training again with "
    "another seed may move them further."
)


class Change(NamedTuple):
    """A headline or a group that got better or worse, and how the page's browser shows its rows.

    Attributes:
        place: The benchmark's number in the report's order.
        group: The browser's name of the group, "" for the whole benchmark.
    """

    row: Difference
    place: int
    group: str


class Versus(NamedTuple):
    """A baseline beside the run.

    Attributes:
        number: Its number in the browser; the run itself is 0.
        differences: Every metric that both have, in the report's order.
        groups: The groups of every headline, in the same order.
        refusals: What could not be compared, and why.
        worse, better: Headlines and groups, the surest first.
    """

    name: str
    number: int
    card: RunCard
    differences: tuple[Difference, ...]
    groups: tuple[Difference, ...]
    refusals: tuple[Refusal, ...]
    worse: tuple[Change, ...]
    better: tuple[Change, ...]

    @property
    def headlines(self) -> tuple[Difference, ...]:
        """The headline of every shared benchmark."""
        return tuple(row for row in self.differences if row.headline)

    def headline(self, benchmark: str) -> Difference | None:
        """The headline of one benchmark; None where the baseline lacks it."""
        return next((row for row in self.headlines if row.benchmark == benchmark), None)

    def group(self, benchmark: str, name: str) -> Difference | None:
        """A group of a benchmark's headline; None where it was not compared."""
        rows = (row for row in self.groups if (row.benchmark, row.group) == (benchmark, name))
        return next(rows, None)

    @property
    def tally(self) -> dict[str, int]:
        """How many headlines have each word, in the order better, worse, tied, cannot tell.

        Those that were not compared come last, where there are any.
        """
        counts = Counter(NOT_COMPARED if row.reason else str(row.word) for row in self.headlines)
        last = (NOT_COMPARED,) if counts[NOT_COMPARED] else ()
        return {word: counts[word] for word in (*map(str, _PHRASES), *last)}

    @property
    def looked(self) -> tuple[int, int]:
        """How many headlines and groups were compared."""
        headlines, groups = (
            sum(row.reason is None for row in rows) for rows in (self.headlines, self.groups)
        )
        return headlines, groups

    @property
    def refused(self) -> list[str]:
        """What could not be compared, a sentence for each benchmark and reason."""
        return gathered(self.refusals)

    @property
    def verdict(self) -> str:
        """What can be told, in plain words."""
        return told(self.name, self.headlines, self.refusals, (Word.BETTER, Word.WORSE))

    @property
    def sentence(self) -> str:
        """The verdict with what is tied, what cannot be told and what was not compared."""
        return told(self.name, self.headlines, self.refusals)


def told(
    name: str,
    headlines: Sequence[Difference],
    refusals: Sequence[Refusal],
    words: Sequence[Word] = tuple(_PHRASES),
) -> str:
    """What the headlines say against another run, in one sentence.

    Args:
        name: The other run.
        headlines: The headline of every benchmark that both have.
        refusals: What could not be compared.
        words: The verdicts that are told; all, and what was not compared, by default.
    """
    compared = [row for row in headlines if row.reason is None]
    if not compared:
        return f"Against {name} nothing can be compared: {_reasons(refusals)}."
    phrases = [
        f"{_PHRASES[word].format(name=name)} {_names(rows)}"
        for word in words
        if (rows := [row for row in compared if row.word is word])
    ]
    if not any(row.word is Word.BETTER for row in compared):
        phrases.insert(0, f"no better than {name} at anything that can be told")
    left = [row for row in headlines if row.reason is not None]
    if left and len(words) == len(_PHRASES):
        phrases.append(f"not compared on {_names(left)}")
    said = "; ".join(phrases)
    return f"{said[0].upper()}{said[1:]}."


def versus(name: str, number: int, ours: Tables, theirs: Tables, order: Sequence[str]) -> Versus:
    """Compare a run with a baseline.

    Args:
        name: The baseline as it is printed.
        number: Its number in the browser.
        ours: The run.
        theirs: The baseline.
        order: The benchmarks in the report's order.
    """
    found = compare(ours, theirs)
    return Versus(
        name=name,
        number=number,
        card=theirs.run.card,
        differences=_ordered(found.differences, order),
        groups=_ordered(found.groups, order),
        refusals=found.refusals,
        worse=_changes(found, Word.WORSE, order),
        better=_changes(found, Word.BETTER, order),
    )


def caveats(found: Sequence[Versus]) -> tuple[str, ...]:
    """What a reader must know beside the verdicts."""
    if not found:
        return ()
    unlike = [
        f"{one.name} was run with other settings on {row.benchmark}: {', '.join(row.settings)}."
        for one in found
        for row in one.headlines
        if row.settings
    ]
    return (_ONE_SEED, *unlike)


def _ordered(rows: Sequence[Difference], order: Sequence[str]) -> tuple[Difference, ...]:
    return tuple(sorted(rows, key=lambda row: order.index(row.benchmark)))


def _changes(found: Comparison, word: Word, order: Sequence[str]) -> tuple[Change, ...]:
    rows = found.regressions if word is Word.WORSE else found.gains
    changes = [
        Change(
            row,
            order.index(row.benchmark),
            shown_group(row.spec.by or "", row.group) if row.group else "",
        )
        for row in rows
    ]
    return tuple(sorted(changes, key=_surest_first))


def _surest_first(change: Change) -> tuple[bool, float]:
    row = change.row
    p = row.p if row.corrected is None else row.corrected
    return row.group is not None, 1.0 if p is None else p


def _names(rows: Sequence[Difference]) -> str:
    """The benchmarks of some rows, with the difference where there is a verdict."""
    shown = [_name(row) for row in (rows if len(rows) <= _NAMED else rows[: _NAMED - 1])]
    if len(rows) > _NAMED:
        shown.append(f"{len(rows) - _NAMED + 1} more")
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]


def _name(row: Difference) -> str:
    sure = row.reason is None and row.word in (Word.BETTER, Word.WORSE)
    return f"{row.subject} ({signed(row.value, row.spec)})" if sure else row.subject


def _reasons(refusals: Sequence[Refusal]) -> str:
    said = "; ".join(gathered(refusals)[:3])
    return f"{said}; ..." if len(gathered(refusals)) > 3 else said or "they share no benchmark"


def gathered(refusals: Sequence[Refusal]) -> list[str]:
    """What could not be compared, a sentence for each benchmark and reason.

    A benchmark or protocol that one side lacks is named as it is; of single numbers the first is
    named and the others are counted.
    """
    found: dict[tuple[str, str], list[Refusal]] = {}
    for one in refusals:
        found.setdefault((one.benchmark, one.reason), []).append(one)
    return [_together(rows) for rows in found.values()]


def _together(rows: Sequence[Refusal]) -> str:
    first = rows[0]
    if len(rows) == 1:
        return first.sentence
    return f"{first.benchmark}, {len(rows)} numbers: {first.reason}"


def difference_entry(row: Difference) -> dict[str, Any]:
    """A difference for programs; values are unscaled, as the metric makes them."""
    return {
        "benchmark": row.benchmark,
        "protocol": row.protocol,
        "metric": row.spec.name,
        **({"by": row.spec.by, "group": row.group} if row.group is not None else {}),
        "headline": row.headline,
        "ours": row.ours,
        "theirs": row.theirs,
        "difference": row.value,
        "interval": list(row.interval) if row.interval else None,
        "p": row.p,
        "p_holm": row.corrected,
        "test": row.test or None,
        "margin": row.margin,
        "p_tied": row.tie_p,
        "detectable": row.detectable,
        "word": str(row.word),
        "sentence": row.sentence,
        "reason": row.reason,
        "shared": row.shared,
        "clusters": row.clusters,
        "units": row.units._asdict() if row.units else None,
        "counts": row.counts._asdict() if row.counts else None,
        "same_settings": row.same_settings,
    }
