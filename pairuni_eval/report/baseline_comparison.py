"""A baseline beside the run: one sentence, what is worse and better, every metric.

Goes in: the comparison that `stats.compare` made. Comes out: the same, in the words and the
order in which the page sets it. No number is made here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pairuni_eval.records import RunCard
from pairuni_eval.report.addresses import shown_group
from pairuni_eval.report.text import listed, signed
from pairuni_eval.stats.compare import Comparison, Difference, NotCompared, Word
from pairuni_eval.stats.difference import gathered
from pairuni_eval.stats.scope import NOBODY, Scope
from pairuni_eval.stats.verdict import distance

_NAMED = 4  # benchmarks that the sentence names for a word; of more it names three and counts
_PHRASES = {
    Word.BETTER: "better than {name} at",
    Word.WORSE: "worse at",
    Word.TIED: "tied on",
    Word.CANNOT_TELL: "cannot tell on",
}
NOT_COMPARED = "not compared"
NOT_IN_IT = "not in it"
_PER_CENT = 100  # the scale of a metric that is printed in points


class Change(NamedTuple):
    """A headline or a group that is better or worse, and how the page's browser shows its rows.

    Attributes:
        place: The benchmark's number in the report's order.
        group: The browser's name of the group, "" for the whole benchmark.
    """

    row: Difference
    place: int
    group: str


class BaselineComparison(NamedTuple):
    """A baseline beside the run.

    Attributes:
        number: Its number in the browser; the run itself is 0.
        comparison: What was found, rows in the report's order.
        worse, better: Headlines and groups, the surest first.
        seeds: Further runs of the baseline, one a training seed.
    """

    name: str
    number: int
    card: RunCard
    comparison: Comparison
    worse: tuple[Change, ...] = ()
    better: tuple[Change, ...] = ()
    seeds: tuple[RunCard, ...] = ()

    @property
    def heads(self) -> tuple[str, str]:
        """What the columns with this run's numbers and with the baseline's are called."""
        ours, theirs = self.comparison.about.seeds
        return f"This run{_mean_of(ours)}", f"{self.name}{_mean_of(theirs)}"

    @property
    def scope(self) -> str | None:
        """What its verdicts hold for: "Against GRPO: this checkpoint, one seed."."""
        about = self.comparison.about
        words = "both are the same weights" if about.same_weights else about.holds_for
        return f"Against {self.name}: {words}." if words else None

    def headline(self, benchmark: str) -> Difference | None:
        """The headline of one benchmark; None where the baseline lacks it."""
        rows = (row for row in self.comparison.headlines if row.benchmark == benchmark)
        return next(rows, None)

    def lacking(self, benchmark: str, protocol: str) -> str:
        """Why a benchmark's headline does not stand against it, in a few words."""
        found = (
            one
            for one in self.comparison.refusals
            if one.benchmark == benchmark and one.protocol in (None, protocol)
        )
        refusal = next(found, None)
        if refusal is None or not refusal.theirs:
            return NOT_IN_IT
        return f"{NOT_COMPARED}: {refusal.reason}"

    def group(self, benchmark: str, name: str) -> Difference | None:
        """A group of a benchmark's headline; None where it was not compared."""
        rows = self.comparison.groups
        return next((r for r in rows if (r.benchmark, r.group) == (benchmark, name)), None)

    @property
    def tally(self) -> dict[str, int]:
        """How many headlines have each word, in the order better, worse, tied, cannot tell.

        Those that were not compared come last, where there are any.
        """
        rows, refusals = self.comparison.headlines, self.comparison.refusals
        counts = Counter(str(row.word) for row in rows if row.reason is None)
        left = len(_left_out(rows, refusals))
        found = {word: counts[word] for word in map(str, _PHRASES)}
        return found | ({NOT_COMPARED: left} if left else {})

    @property
    def looked(self) -> tuple[int, int]:
        """How many headlines and groups were compared."""
        headlines, groups = (
            sum(row.reason is None for row in rows)
            for rows in (self.comparison.headlines, self.comparison.groups)
        )
        return headlines, groups

    @property
    def refused(self) -> list[str]:
        """What could not be compared, a sentence for each benchmark and reason."""
        return gathered(self.comparison.refusals)

    @property
    def verdict(self) -> str:
        """What can be told, in plain words."""
        return describe_comparison(self.name, self.comparison, (Word.BETTER, Word.WORSE))

    @property
    def sentence(self) -> str:
        """The verdict with what is tied, what cannot be told and what was not compared."""
        return describe_comparison(self.name, self.comparison)


def describe_comparison(
    name: str, found: Comparison, words: Sequence[Word] = tuple(_PHRASES)
) -> str:
    """`describe` for the headlines of a comparison."""
    return describe(name, found.headlines, found.refusals, words, found.about)


def describe(
    name: str,
    headlines: Sequence[Difference],
    refusals: Sequence[NotCompared],
    words: Sequence[Word] = tuple(_PHRASES),
    about: Scope = NOBODY,
) -> str:
    """What the headlines say against another run, in one sentence.

    Args:
        name: The other run.
        headlines: The headline of every benchmark that both have.
        refusals: What could not be compared.
        words: The verdicts that are told by name; all, and what was not compared, by default.
        about: Whom the verdicts are about, which the sentence says.
    """
    compared = [row for row in headlines if row.reason is None]
    if not compared:
        return f"Against {name} nothing can be compared: {_reasons(refusals)}."
    by_word = {word: [row for row in compared if row.word is word] for word in _PHRASES}
    phrases = [
        f"{_PHRASES[word].format(name=name)} {named(by_word[word])}"
        for word in words
        if by_word[word]
    ]
    if not by_word[Word.BETTER]:
        if by_word[Word.WORSE]:
            phrases[0] = f"worse than {name} at {named(by_word[Word.WORSE])}"
        phrases.insert(1 if by_word[Word.WORSE] else 0, _not_shown(name, by_word))
    left = _left_out(headlines, refusals)
    if left:
        names = len(words) == len(_PHRASES)
        phrases.append(f"not compared on {_few(left) if names else _benchmarks(len(left))}")
    if about.same_weights:
        phrases.append("both are the same weights")
    elif about.holds_for:
        phrases.append(about.holds_for)
    said = "; ".join(phrases)
    return f"{said[0].upper()}{said[1:]}."


def _left_out(headlines: Sequence[Difference], refusals: Sequence[NotCompared]) -> tuple[str, ...]:
    """The benchmarks of ours that were not compared, by their titles where these are known."""
    titled = {row.benchmark: row.subject for row in headlines if row.reason is not None}
    compared = {row.benchmark for row in headlines} - set(titled)
    refused = {one.benchmark: one.benchmark for one in refusals if one.ours and not one.metric}
    return tuple(title for name, title in (refused | titled).items() if name not in compared)


def _benchmarks(count: int) -> str:
    return f"{count} benchmark{'s' * (count != 1)}"


def _not_shown(name: str, by_word: Mapping[Word, Sequence[Difference]]) -> str:
    """E.g. "not shown to be better than base: 0 better, 0 worse, 1 tied, 6 undecided of 7; ...".

    Where something is worse that is said before, and the counts stand alone.
    """
    counts = {word: len(rows) for word, rows in by_word.items()}
    said = (
        f"0 better, {counts[Word.WORSE]} worse, {counts[Word.TIED]} tied, "
        f"{counts[Word.CANNOT_TELL]} undecided of {sum(counts.values())}"
    )
    if not counts[Word.WORSE]:
        said = f"not shown to be better than {name}: {said}"
    taken = _taken(by_word[Word.CANNOT_TELL])
    return f"{said}; it would have taken {taken}" if taken else said


def _taken(undecided: Sequence[Difference]) -> str | None:
    """The differences that would probably have been found: points together, others by name.

    E.g. "10 to 17 points on 2 of them, 55.0 on Tiny MME". Rows that missing outputs leave open do
    not count: they lack these, not a larger difference.
    """
    undecided = [row for row in undecided if row.deciding is not None or not row.missing.any]
    known = [row for row in undecided if row.detectable]
    in_points = [row for row in known if row.spec.scale == _PER_CENT]
    said = []
    if in_points:
        found = [f"{(row.detectable or 0.0) * _PER_CENT:.0f}" for row in in_points]
        low, high = (choose(found, key=float) for choose in (min, max))
        of = f" on {len(in_points)} of them" if len(in_points) < len(undecided) else ""
        said.append(f"{f'{low} to {high}' if low != high else low} points{of}")
    others = [row for row in known if row.spec.scale != _PER_CENT]
    said += [f"{distance(row.detectable, row.spec)} on {row.subject}" for row in others]
    return listed(said) if said else None


def baseline_comparison(
    name: str,
    number: int,
    theirs: Sequence[RunCard],
    found: Comparison,
    order: Sequence[str],
) -> BaselineComparison:
    """A baseline beside the run.

    Args:
        name: The baseline as it is printed.
        number: Its number in the browser.
        theirs: The baseline's run, and those of its other seeds.
        found: What `compare_page` found.
        order: The benchmarks in the report's order.
    """
    return BaselineComparison(
        name=name,
        number=number,
        card=theirs[0],
        comparison=found._replace(
            differences=_ordered(found.differences, order), groups=_ordered(found.groups, order)
        ),
        worse=_changes(found, Word.WORSE, order),
        better=_changes(found, Word.BETTER, order),
        seeds=tuple(theirs[1:]),
    )


def caveats(found: Sequence[BaselineComparison]) -> tuple[str, ...]:
    """What a reader must know beside the verdicts."""
    if not found:
        return ()
    unlike = [
        f"{one.name} was run with other settings on {row.benchmark}: {', '.join(row.settings)}."
        for one in found
        for row in one.comparison.headlines
        if row.settings
    ]
    return (*_scopes(found), found[0].comparison.family.sentence, *unlike)


def _scopes(found: Sequence[BaselineComparison]) -> Iterator[str]:
    """What the verdicts hold for, where a reader could take them for more."""
    same = [one.name for one in found if one.comparison.same_weights]
    if same:
        yield f"Against {listed(same)}: both are the same weights."
    seeds = {one.name: one.comparison.about.seeds for one in found}
    means = {name: both for name, both in seeds.items() if max(both) > 1}
    if means:
        said = ", ".join(f"{name} {_seeds(theirs)}" for name, (_, theirs) in means.items())
        ours, _ = next(iter(means.values()))
        yield (
            f"Both numbers of a difference are means over training seeds: "
            f"{_seeds(ours)} of this run's arm; {said}."
        )


def _mean_of(seeds: int) -> str:
    return f", mean of {seeds} seeds" if seeds > 1 else ""


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count != 1)}"


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


def named(rows: Sequence[Difference]) -> str:
    """The benchmarks of some rows, with the difference where there is a verdict."""
    return _few([_name(row) for row in rows])


def _few(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    if len(names) <= _NAMED:
        return listed(names)
    return listed([*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"])


def _name(row: Difference) -> str:
    if row.reason is not None or row.word not in (Word.BETTER, Word.WORSE):
        return row.subject
    said = [signed(row.value, row.spec), *([row.part] if row.part else [])]
    if row.left_open and row.ends:
        low, high = (signed(end, row.spec) for end in row.ends)
        said.append(f"{low} to {high} with what is missing")
    return f"{row.subject} ({', '.join(said)})"


def _reasons(refusals: Sequence[NotCompared]) -> str:
    said = "; ".join(gathered(refusals)[:3])
    return f"{said}; ..." if len(gathered(refusals)) > 3 else said or "they share no benchmark"


def comparison_entry(found: Comparison, sentence: str) -> dict[str, Any]:
    """A comparison for programs, with what its headlines say in a sentence."""
    return {
        "sentence": sentence,
        "same_weights": found.same_weights,
        "scope": found.scope,
        "family": found.family._asdict(),
        "differences": [difference_entry(row) for row in found.differences],
        "groups": [difference_entry(row) for row in found.groups],
        "refusals": [refusal.sentence for refusal in found.refusals],
    }


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
        "joint": list(row.joint) if row.joint else None,
        "equivalence": list(row.beside) if row.word is Word.TIED and row.beside else None,
        "p": row.p,
        "p_holm": row.corrected,
        "test": row.test or None,
        "margin": row.margin,
        "p_tied": row.p_tied,
        "detectable": row.detectable,
        "word": str(row.word),
        "sentence": row.sentence,
        "reason": row.reason,
        "why": row.why,
        "partial": row.partial,
        "part": row.part,
        "shared": row.shared,
        "planned": row.planned,
        "ends": list(row.ends) if row.ends else None,
        "deciding": row.deciding._asdict() if row.deciding else None,
        "seeds": list(row.seeds),
        "clusters": row.clusters,
        "units": row.units._asdict() if row.units else None,
        "counts": row.counts._asdict() if row.counts else None,
        "same_settings": row.same_settings,
    }
