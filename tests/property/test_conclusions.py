"""The word, the joint interval and the corrected p of a row never contradict each other."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.compare import Difference, Word
from pairuni_eval.stats.conclusions import concluded, least_sure_p
from pairuni_eval.stats.families import UncorrectedComparison, together
from pairuni_eval.stats.intervals import Interval
from pairuni_eval.stats.meeting import Missing
from pairuni_eval.stats.multiple import Step
from pairuni_eval.stats.paired import Evidence
from pairuni_eval.stats.scope import Scope

shares = st.floats(-0.9, 0.9)
half = st.floats(0.001, 0.9)
p_values = st.one_of(st.none(), st.floats(1e-6, 1.0))
evidence = st.tuples(shares, half, p_values, p_values)


def weighed(value: float, width: float, p: float | None, tie_p: float | None) -> Evidence:
    interval = Interval(max(-1.0, value - width), min(1.0, value + width))
    return Evidence(interval, width / 2, p, "made up", 0.01, tie_p, width, freedom=20, span=1.0)


@st.composite
def rows(draw: st.DrawFn) -> Difference:
    value, *rest = draw(evidence)
    seen = weighed(value, *rest)
    ends = draw(st.one_of(st.none(), st.tuples(evidence, evidence)))
    missing = draw(st.booleans()) if ends is None else True
    return Difference(
        benchmark=draw(st.sampled_from(["one", "two"])),
        protocol="official",
        spec=MetricSpec(name="accuracy", direction=draw(st.sampled_from(["up", "down", "none"]))),
        headline=False,
        ours=0.5 + value / 2,
        theirs=0.5 - value / 2,
        corrected=None,
        shared=20,
        clusters=21,
        word=Word.CANNOT_TELL,
        same_settings=True,
        missing=Missing(3, 0, 3) if missing else Missing(0, 0, 0),
        planned=23 if missing else 20,
        ends=None if ends is None else (ends[0][0], ends[1][0]),
        at_ends=None if ends is None else (weighed(*ends[0]), weighed(*ends[1])),
        **seen._asdict(),
    )


def agrees(row: Difference) -> None:
    sure = row.word in (Word.BETTER, Word.WORSE)
    apart = row.joint is not None and not row.joint.low <= 0 <= row.joint.high
    assert sure == apart
    if sure:
        assert row.joint is not None and row.corrected is not None and row.corrected < 0.05
        assert (row.word is Word.BETTER) == ((row.joint.low > 0) == (row.spec.direction == "up"))
        assert row.ends is None or np.sign(row.ends[0]) == np.sign(row.ends[1])
    if row.p is not None:
        assert row.corrected is not None and row.corrected >= row.p
    if row.missing.any and row.at_ends is None:
        assert row.word is Word.CANNOT_TELL
    if row.joint is not None and row.interval is not None and row.ends is None:
        assert row.joint.low <= row.interval.low + 1e-9
        assert row.joint.high >= row.interval.high - 1e-9
    if row.word is not Word.CANNOT_TELL:
        assert row.why is None and row.deciding is None


@settings(deadline=None)
@given(rows(), st.integers(1, 40))
def test_to_conclude_twice_changes_nothing(row: Difference, times: int) -> None:
    p = least_sure_p(row)
    step = None if p is None else Step(min(1.0, p * times), times)
    once = concluded(row, step)
    assert concluded(once, step) == once


@settings(deadline=None)
@given(st.lists(rows(), min_size=1, max_size=5), st.lists(rows(), max_size=5))
def test_of_a_page(drawn: list[Difference], under: list[Difference]) -> None:
    first = [row._replace(headline=n == 0) for n, row in enumerate(drawn)]
    groups = [row._replace(group=f"t{n}") for n, row in enumerate(under)]
    findings = UncorrectedComparison(tuple(first), tuple(groups), (), Scope())
    page = together({"a": findings, "b": findings})
    assert set(page) == {"a", "b"}
    for one in page.values():
        for row in (*one.differences, *one.groups):
            agrees(row)
    made = 2 * sum(row.p is not None for row in (*first, *groups))
    assert page["a"].family.tests == made == page["b"].family.tests
