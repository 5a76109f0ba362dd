"""The tests of a page corrected together, by hand: gates, multipliers, and what would decide."""

from __future__ import annotations

import numpy as np
import pytest

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate
from pairuni_eval.stats.compare import Difference, Word
from pairuni_eval.stats.deciding import Undecided, decide
from pairuni_eval.stats.families import UncorrectedComparison, together
from pairuni_eval.stats.intervals import Interval
from pairuni_eval.stats.multiple import holm_steps
from pairuni_eval.stats.scope import Scope
from pairuni_eval.stats.ties import farthest, guard_p
from pairuni_eval.stats.unseen import unseen_share, unseen_sum

SPEC = MetricSpec(name="accuracy")


def row(p: float | None, benchmark: str, *, headline: bool = False, group: str | None = None):  # type: ignore[no-untyped-def]
    return Difference(
        benchmark=benchmark,
        protocol="official",
        spec=SPEC,
        headline=headline,
        ours=0.7,
        theirs=0.5,
        interval=Interval(0.1, 0.3),
        p=p,
        corrected=None,
        shared=100,
        clusters=100,
        word=Word.CANNOT_TELL,
        same_settings=True,
        group=group,
        freedom=99,
        span=1.0,
        margin=0.01,
    )


def test_holm_counts_what_is_left() -> None:
    steps = holm_steps([0.001, 0.3, 0.02, 0.2])
    assert [step.times for step in steps] == [4, 3, 3, 3]  # .02 x 3 is not below .05: it stops
    assert [step.p for step in steps] == pytest.approx([0.004, 0.4, 0.06, 0.4])
    assert [step.times for step in holm_steps([0.001, 0.02, 0.3])] == [3, 2, 1]


def test_a_page_by_hand() -> None:
    """Two baselines; the groups of one benchmark pass by their own p, of the other by none."""
    first = UncorrectedComparison(
        (row(0.004, "a", headline=True), row(0.5, "b", headline=True), row(0.001, "a")),
        (row(0.0005, "a", group="x"), row(0.03, "a", group="y"), row(0.01, "b", group="x")),
        (),
        Scope(),
    )
    second = UncorrectedComparison(
        (row(0.3, "a", headline=True), row(None, "b", headline=True)),
        (row(0.9, "a", group="x"), row(0.9, "a", group="y")),
        (),
        Scope(),
    )
    page = together({"one": first, "two": second})
    # three headlines: .004 x 3, then .3 x 2, .5
    assert [r.corrected for r in page["one"].headlines] == pytest.approx([0.012, 0.6])
    assert page["two"].headlines[0].corrected == pytest.approx(0.6)
    # smallest of a: .0005 x 2 = .001, of the page's three x 3 = .003; gate 2 x min(.012, .003)
    x, y, b = page["one"].groups
    assert x.corrected == pytest.approx(0.006) and x.word is Word.BETTER
    assert y.corrected == pytest.approx(0.03) and y.word is Word.BETTER
    # b: .01 x 2 (of the page's two left) = .02, gate .04; its own Holm is .01
    assert b.corrected == pytest.approx(0.04)
    # the other metric of a has the gate of a
    assert page["one"].differences[2].corrected == pytest.approx(0.006)
    assert [r.word for r in page["two"].groups] == [Word.CANNOT_TELL] * 2
    family = page["one"].family
    assert (family.tests, family.families, family.expected_false) == (9, 5, 0.1)
    assert family == page["two"].family
    assert family.sentence == (
        "9 tests in 5 families (3 headlines, 1 other metric, 5 groups). If nothing differed, at "
        "most 5 % of such pages would show a false better or worse among the headlines, and at "
        "most 5 % below them. 'Tied' is not corrected for the number of tests."
    )


def test_the_joint_interval_by_hand() -> None:
    """One of three with 99 degrees of freedom: t(.9917) / t(.975) = 2.43630 / 1.98422 as wide."""
    found = together(
        {
            "one": UncorrectedComparison(
                tuple(row(0.001, name, headline=True) for name in "abc"), (), (), Scope()
            )
        }
    )
    first = found["one"].headlines[0]
    assert first.joint == pytest.approx((0.2 - 0.1 * 1.227838, 0.2 + 0.1 * 1.227838), abs=1e-4)


def test_what_no_unit_showed() -> None:
    assert unseen_share(299, 0.05) < 0.01 < unseen_share(298, 0.05)
    assert unseen_sum(np.full(299, 1 / 299), 0.05) == pytest.approx(unseen_share(299, 0.05))
    # two groups of weight 1/2 with 10 and 90 units: 1 - theta_g = min(1, l c_g / w_g), l^100 fixed
    swings = np.concatenate([np.full(10, 0.05), np.full(90, 0.5 / 90)])
    alone = 0.5 * unseen_share(10, 0.05)  # all of it in the small group
    assert unseen_sum(swings, 0.05) == pytest.approx(alone)
    assert unseen_sum(np.array([0.4, 0.0, 0.0]), 0.05) == pytest.approx(0.4 * 0.95)
    # six groups of 20: by symmetry as 120 units
    assert unseen_sum(np.full(120, 1 / 120), 0.05) == pytest.approx(unseen_share(120, 0.05))


def test_one_unit_of_300_that_differs_is_no_tie() -> None:
    """By t p is .02; but 1 point apart, one at most differs in .99^300 (1 + 300 / 99) = .20."""
    gains = np.zeros(300)
    gains[0] = 1 / 300
    p = guard_p(1 / 300, gains, np.full(300, 1 / 300), 0.01)
    assert p == pytest.approx(0.99**300 * (1 + 300 / 99), rel=1e-3)
    bound = farthest(1 / 300, gains, np.full(300, 1 / 300), 0.05)
    assert (1 - bound) ** 300 + 300 * bound * (1 - bound) ** 299 == pytest.approx(0.05)


def test_the_values_at_the_ends() -> None:
    tags = {"label": np.array(["yes", "no"], dtype=object)}
    rows = GradedRows(np.array([1.0, np.nan]), np.arange(2), np.zeros(2, np.int64), tags)
    said = make_aggregate(MetricSpec(name="f1", aggregate="f1"), rows).extremes(rows)
    assert said is not None
    assert said[0].tolist() == [0.0, 1.0] and said[1].tolist() == [1.0, 0.0]
    rated = MetricSpec(name="score", range=(1.0, 5.0))
    found = make_aggregate(rated, rows).extremes(rows)
    assert found is not None and found[0].tolist() == [1, 1] and found[1].tolist() == [5, 5]
    outside = rows._replace(value=np.array([9.0, np.nan]))
    assert make_aggregate(rated, outside).extremes(outside) is None


def undecided(**changes: object) -> Undecided:
    known = Undecided(SPEC, 0.02, 0.01, 0.06, 80, 320, 1, None, 1.0)
    return known._replace(**changes)  # type: ignore[arg-type]


def test_what_would_decide() -> None:
    one = decide(undecided())
    assert one is not None and (one.target, one.units, one.seeds) == (0.02, 720, None)
    assert one.sentence == (
        "a difference of 2.0 points would take 720 units; the whole benchmark has 320"
    )
    near = decide(undecided(value=0.04))
    assert near is not None and near.units == 180
    assert near.sentence == (
        "a difference of 4.0 points would take 180 units; 80 of 320 were compared"
    )
    part = decide(undecided(counted=False))
    assert part is not None and part.sentence.endswith("the whole benchmark has about 320")
    some = decide(undecided(value=0.04, counted=False))
    assert some is not None and some.sentence.endswith("80 of about 320 were compared")
    unknown = decide(undecided(available=None))
    assert unknown is not None and unknown.available is None
    assert unknown.sentence == "a difference of 2.0 points would take 720 units; 80 were compared"
    least = decide(undecided(value=0.001))
    assert least is not None and least.target == 0.01 and least.units == 2880
    equal = decide(undecided(value=0.0, detectable=None))
    assert equal is not None and equal.units == 299
    assert decide(undecided(value=0.0, margin=None)) is None


def test_where_seeds_are_lacking() -> None:
    """Of the variance 80 % lies between three seeds; it must fall to (2/3)^2 of what it is."""
    one = decide(undecided(value=0.04, seeds=3, between=0.8))
    assert one is not None and one.seeds == 10  # 3 x .8 / (.444 - .2), rounded up
    assert one.units == 80
    assert one.sentence == "a difference of 4.0 points would take 10 seeds of each arm"
    both = decide(undecided(value=0.02, seeds=3, between=0.8))
    assert both is not None and both.seeds == 44 and both.units == 288
