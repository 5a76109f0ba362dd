"""What holds for every comparison of two runs, whatever the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import GradedRows
from pairuni_eval.stats.multiple import holm
from pairuni_eval.stats.paired import PairedSums, compare_pair, mcnemar_p, pair_rows, swap_p

NAMES = ("mean", "macro_mean", "weighted_mean", "f1", "mme_total")
row = st.tuples(
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 1.0]),
    st.integers(0, 6),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["yes", "no"]),
)
many = st.lists(row, min_size=2, max_size=30)
shares = st.lists(st.floats(0, 1), max_size=12)


def sides(drawn: list, name: str) -> tuple[PairedSums, PairedSums]:
    """The two runs one way round and the other."""
    ours, theirs, unit, group, label = zip(*drawn, strict=True)
    tags = {"group": np.array(group, dtype=object), "label": np.array(label, dtype=object)}
    units = np.array(unit, np.int64)
    made = [
        GradedRows(np.array(values), units, np.zeros(len(unit), np.int64), tags)
        for values in (ours, theirs)
    ]
    by = "group" if name in ("macro_mean", "weighted_mean", "mme_total") else None
    spec = MetricSpec(name="m", aggregate=name, by=by, weights={"a": 1, "b": 2})
    names = np.array([f"u{n}" for n in range(7)], dtype=object)
    one = pair_rows(made[:1], made[1:], spec, names)
    return one, pair_rows(made[1:], made[:1], spec, names)


@settings(deadline=None)
@given(many, st.sampled_from(NAMES))
def test_who_is_compared_with_whom_turns_the_sign_alone(drawn: list, name: str) -> None:
    one, two = sides(drawn, name)
    np.testing.assert_allclose(
        one.difference(one.stacked.sum(axis=0)), -two.difference(two.stacked.sum(axis=0))
    )
    np.testing.assert_allclose(one.gains(), -two.gains(), atol=1e-12)
    if one.clusters > 1:
        assert swap_p(one, seed=0) == swap_p(two, seed=0)


@settings(max_examples=40, deadline=None)
@given(many, st.sampled_from(NAMES))
def test_evidence_is_sound(drawn: list, name: str) -> None:
    one, _ = sides(drawn, name)
    if one.clusters < 2 or None in one.seen():
        return
    found = compare_pair(one, margin=0.01, seed=0)
    assert found.p is None or 0 < found.p <= 1
    assert found.tie_p is None or 0 <= found.tie_p <= 1
    if found.interval is not None:
        assert found.interval.low < found.interval.high
        value = float(one.difference(one.stacked.sum(axis=0)))
        assert one.span is not None
        assert -one.span - 1e-9 <= value <= one.span + 1e-9
    else:
        assert one.equal or name == "f1"  # most draws of a few rows may make no F1


@settings(deadline=None)
@given(many)
def test_gains_of_a_mean_sum_to_the_difference(drawn: list) -> None:
    one, _ = sides(drawn, "mean")
    ours, theirs = one.seen()
    assert ours is not None and theirs is not None
    assert one.gains().sum() == pytest.approx(ours - theirs)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_never_passes_one_and_knows_no_sides(ours: int, theirs: int) -> None:
    assert 0 < mcnemar_p(ours, theirs) <= 1
    assert mcnemar_p(ours, theirs) == mcnemar_p(theirs, ours)


@given(shares)
def test_holm_raises_p_values_and_keeps_their_order(p: list[float]) -> None:
    corrected = holm(p)
    assert all(one <= two <= 1 for one, two in zip(p, corrected, strict=True))
    order = np.argsort(p, kind="stable")
    assert all(np.diff(np.array(corrected)[order]) >= 0)
