"""The correction of everything that one page tests together.

The headlines of all baselines of a page are one family, by Holm. What stands under a benchmark is
tested under a gate, one for each baseline and benchmark:

    gate = min(1, 2 min(corrected p of its headline, the page's Holm over the benchmarks of the
                        smallest p that a group of it has after Holm over its own groups))

A group's p is the larger of the gate and of Holm over the groups of its benchmark; the other
metrics of the benchmark are a family of their own under the same gate. So if nothing differs a page
has a false word among its headlines in at most 5 %, and under them in at most 5 %, however many
groups there are; and within a benchmark that does differ, its groups and its metrics have one in at
most 5 % each (a hierarchical test by closed gates; Meinshausen 2008, Bretz and others 2009).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from pairuni_eval.stats.conclusions import concluded, least_sure_p
from pairuni_eval.stats.difference import Comparison, Difference, NotCompared
from pairuni_eval.stats.multiple import (
    ALPHA,
    NO_TESTS,
    Multiplicity,
    Step,
    holm,
    steps_where_known,
)
from pairuni_eval.stats.scope import Scope

Under = tuple[str, str]
"""A baseline and a benchmark."""


class UncorrectedComparison(NamedTuple):
    """What two sides show, row by row, before anything is said.

    Attributes:
        rows: Every metric that both have.
        groups: The groups of every headline.
        refusals: What could not be compared before any row was looked at.
    """

    rows: tuple[Difference, ...]
    groups: tuple[Difference, ...]
    refusals: tuple[NotCompared, ...]
    about: Scope


class _Kind(Enum):
    HEADLINE, METRIC, GROUP = range(3)


class _Test(NamedTuple):
    """A row with where it stands on the page."""

    baseline: str
    kind: _Kind
    row: Difference

    @property
    def under(self) -> Under:
        return self.baseline, self.row.benchmark

    @property
    def family(self) -> tuple[_Kind, Under | None]:
        return self.kind, None if self.kind is _Kind.HEADLINE else self.under


def together(found: Mapping[str, UncorrectedComparison]) -> dict[str, Comparison]:
    """The comparisons of one page, by baseline, with everything corrected."""
    tests = [test for name, one in found.items() for test in _tests(name, one)]
    steps = _within_families(tests)
    gates = _gates(tests, steps)
    done: dict[str, list[Difference]] = {name: [] for name in found}
    for test, step in zip(tests, steps, strict=True):
        gated = step
        if step is not None and test.kind is not _Kind.HEADLINE:
            gated = step._replace(p=max(step.p, gates.get(test.under, 1.0)))
        done[test.baseline].append(concluded(test.row, gated))
    family = _family(tests)
    return {name: _comparison(one, done[name], family) for name, one in found.items()}


def _tests(baseline: str, found: UncorrectedComparison) -> Iterator[_Test]:
    for row in found.rows:
        yield _Test(baseline, _Kind.HEADLINE if row.headline else _Kind.METRIC, row)
    for row in found.groups:
        yield _Test(baseline, _Kind.GROUP, row)


def _within_families(tests: Sequence[_Test]) -> list[Step | None]:
    """What Holm makes of each test within its own family."""
    members: dict[tuple[_Kind, Under | None], list[int]] = {}
    for place, test in enumerate(tests):
        members.setdefault(test.family, []).append(place)
    steps: list[Step | None] = [None] * len(tests)
    for places in members.values():
        known = steps_where_known([least_sure_p(tests[place].row) for place in places])
        for place, step in zip(places, known, strict=True):
            steps[place] = step
    return steps


def _gates(tests: Sequence[_Test], steps: Sequence[Step | None]) -> dict[Under, float]:
    """By baseline and benchmark: how small p may be at least for what stands under it."""
    headlines: dict[Under, float] = {}
    smallest: dict[Under, float] = {}
    for test, step in zip(tests, steps, strict=True):
        if step is not None and test.kind is _Kind.HEADLINE:
            headlines[test.under] = step.p
        if step is not None and test.kind is _Kind.GROUP:
            smallest[test.under] = min(step.p, smallest.get(test.under, 1.0))
    by_groups = dict(zip(smallest, holm(list(smallest.values())), strict=True))
    ways = 2 if headlines and by_groups else 1
    return {
        under: min(1.0, ways * min(headlines.get(under, 1.0), by_groups.get(under, 1.0)))
        for under in headlines | by_groups
    }


def _family(tests: Sequence[_Test]) -> Multiplicity:
    """What was tested, and how many false words there may be."""
    made = [test for test in tests if test.row.p is not None]
    kinds = Counter(test.kind for test in made)
    if not made:
        return NO_TESTS
    families = len({test.family for test in made})
    layers = (kinds[_Kind.HEADLINE] > 0) + (kinds[_Kind.METRIC] + kinds[_Kind.GROUP] > 0)
    counted = [
        _counted(kinds[kind], noun)
        for kind, noun in zip(_Kind, ("headline", "other metric", "group"), strict=True)
        if kinds[kind]
    ]
    share = f"at most {100 * ALPHA:g} %"
    where = " among the headlines" if kinds[_Kind.HEADLINE] else ""
    under = f", and {share} below them" if layers > 1 else ""
    said = (
        f"{_counted(len(made), 'test')} in {families} "
        f"{'family' if families == 1 else 'families'} ({', '.join(counted)}). If nothing differed, "
        f"{share} of such pages would show a false better or worse{where}{under}. "
        "'Tied' is not corrected for the number of tests."
    )
    return Multiplicity(len(made), families, layers * ALPHA, said)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _comparison(
    found: UncorrectedComparison, done: Sequence[Difference], family: Multiplicity
) -> Comparison:
    refused = [
        NotCompared(row.benchmark, row.protocol, row.name, row.reason)
        for row in done
        if row.reason is not None
    ]
    count = len(found.rows)
    return Comparison(
        differences=tuple(done[:count]),
        groups=tuple(done[count:]),
        refusals=(*found.refusals, *refused),
        family=family,
        about=found.about,
    )
