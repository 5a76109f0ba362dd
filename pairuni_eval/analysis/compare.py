"""Two runs of the same samples: is the difference real?

Shapes: C clusters, K sums, B draws.

Rows meet by (sample uid, draw); a row counts where both runs have a value. The interval of the
difference is a percentile bootstrap over clusters with the same weights on both runs. The p value
is a permutation test by cluster: each cluster's results are swapped between the runs or not, which
for a mean is the sign-flip test (Good 2005, ch. 3), and holds for every other aggregate as well.

The words, for a headline (its p corrected by Holm over the benchmarks) and for any other metric
(its own p):
    better, worse   the interval leaves out 0 and p < 0.05
    tied            every shared row is equal in both runs, or the interval lies within 1 % of the
                    metric's range
    cannot tell     everything else, and always with fewer than two clusters
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.analysis.aggregate import Array, Bounds, Rows, make_aggregate
from pairuni_eval.analysis.intervals import (
    DRAWS,
    Interval,
    agreeing_interval,
    bootstrap_weights,
    cluster_sums,
    is_point,
    percentile_interval,
)
from pairuni_eval.analysis.tables import Tables, rows_of
from pairuni_eval.cards import MetricSpec
from pairuni_eval.seeds import seed_for
from pairuni_eval.store.read import StoredRun

ALPHA = 0.05
TIE_MARGIN = 0.01  # of the metric's range: one point of a percentage
_EXACT_UP_TO = 11  # clusters: 2,048 swaps are listed instead of drawn

Finish = Callable[[Array], Array]


class Word(StrEnum):
    """What may be said about a difference."""

    BETTER = "better"
    WORSE = "worse"
    TIED = "tied"
    CANNOT_TELL = "cannot tell"


class Difference(NamedTuple):
    """One metric in two runs, on the rows that both have.

    Attributes:
        ours: The metric on the shared rows of the first run; None if they make no number.
        theirs: The same for the second run.
        interval: 95 % interval of ours - theirs.
        p: Two-sided permutation p; for a headline `corrected` is the same after Holm.
        shared: Rows that have a value in both runs.
        same_settings: Whether decoding, judge and data revision agree.
    """

    benchmark: str
    protocol: str
    spec: MetricSpec
    headline: bool
    ours: float | None
    theirs: float | None
    interval: Interval | None
    p: float | None
    corrected: float | None
    shared: int
    clusters: int
    word: Word
    same_settings: bool

    @property
    def value(self) -> float | None:
        """Ours - theirs."""
        if self.ours is None or self.theirs is None:
            return None
        return self.ours - self.theirs


class _Pair(NamedTuple):
    """Both runs on their shared rows, as cluster sums of one aggregate."""

    ours: Array  # (C, K)
    theirs: Array  # (C, K)
    finish: Finish
    bounds: Bounds | None
    equal: bool
    shared: int


def compare_runs(ours: StoredRun, theirs: StoredRun) -> tuple[Difference, ...]:
    """Every metric that both runs have, in the order of the first run."""
    return compare_tables(Tables(ours), Tables(theirs))


def compare_tables(ours: Tables, theirs: Tables) -> tuple[Difference, ...]:
    """As `compare_runs`, for tables that are already open."""
    found = [
        _difference(ours, theirs, benchmark, protocol, spec)
        for benchmark, protocol, spec in _shared_metrics(ours, theirs)
    ]
    return _with_words(found)


def _shared_metrics(ours: Tables, theirs: Tables) -> list[tuple[str, str, MetricSpec]]:
    benchmarks = [name for name in ours.run.card.benchmarks if name in theirs.run.card.benchmarks]
    return [
        (benchmark, protocol, spec)
        for benchmark in benchmarks
        for protocol in ours.protocols(benchmark)
        if protocol in theirs.protocols(benchmark)
        for spec in ours.spec(benchmark, protocol).metrics
    ]


def _difference(
    ours: Tables, theirs: Tables, benchmark: str, protocol: str, spec: MetricSpec
) -> Difference:
    pair = _pair(
        ours.joined(benchmark, protocol, spec.of), theirs.joined(benchmark, protocol, spec.of), spec
    )
    place = f"{benchmark}/{protocol}/{spec.name}"
    first, second = (_number(pair.finish(side.sum(axis=0))) for side in (pair.ours, pair.theirs))
    p, spread, word = None, None, Word.CANNOT_TELL
    if first is not None and second is not None and len(pair.ours) >= 2:
        run_seed = ours.run.card.seed
        p = _swap_p(pair, seed_for(run_seed, place, 0, "permutation"))
        spread = _spread(pair, first - second, seed_for(run_seed, place, 0, "paired bootstrap"))
        word = _tie(pair, spread)
    headline = protocol == ours.protocols(benchmark)[0] and (
        spec.name == ours.spec(benchmark, protocol).headline
    )
    return Difference(
        benchmark=benchmark,
        protocol=protocol,
        spec=spec,
        headline=headline,
        ours=first,
        theirs=second,
        interval=spread,
        p=p,
        corrected=None,
        shared=pair.shared,
        clusters=len(pair.ours),
        word=word,
        same_settings=_same_settings(ours, theirs, benchmark),
    )


def _pair(left: pd.DataFrame, right: pd.DataFrame, spec: MetricSpec) -> _Pair:
    """Cluster sums of both runs over the rows that both have, clusters in the same order."""
    merged = left.merge(
        right[["sample", "draw", "value"]].rename(columns={"value": "other"}),
        on=["sample", "draw"],
        how="inner",
        validate="one_to_one",
    )
    both = merged["value"].notna() & merged["other"].notna()
    mine = rows_of(merged.assign(value=merged["value"].where(both)), spec)
    yours = rows_of(merged.assign(value=merged["other"].where(both)), spec)
    aggregate = make_aggregate(spec, mine)
    has = np.isfinite(mine.value)
    return _Pair(
        ours=cluster_sums(aggregate.features(mine), mine),
        theirs=cluster_sums(aggregate.features(yours), yours),
        finish=aggregate.finish,
        bounds=_joint_bounds(aggregate.bounds(mine), aggregate.bounds(yours)),
        equal=_equal(mine, yours),
        shared=int(has.sum()),
    )


def _equal(mine: Rows, yours: Rows) -> bool:
    return bool(np.array_equal(mine.value, yours.value, equal_nan=True))


def _joint_bounds(one: Bounds | None, two: Bounds | None) -> Bounds | None:
    return one if one == two else None


def _number(value: Array) -> float | None:
    return float(value) if np.isfinite(value) else None


def _spread(pair: _Pair, value: float, seed: int) -> Interval | None:
    """The interval of the difference; where all clusters agree, Wilson's on -range to range."""
    blocks = [
        pair.finish(weight @ pair.ours) - pair.finish(weight @ pair.theirs)
        for weight in bootstrap_weights(len(pair.ours), seed=seed)
    ]
    interval = percentile_interval(np.concatenate(blocks))
    if interval is None or not is_point(interval):
        return interval
    if pair.equal or pair.bounds is None:
        return None
    span = pair.bounds.high - pair.bounds.low
    return agreeing_interval(value, len(pair.ours), Bounds(-span, span))


def _swaps(clusters: int, seed: int) -> Array:
    """(B, C) zeros and ones: which clusters are swapped; all of them where they are few."""
    if clusters <= _EXACT_UP_TO:
        numbers = np.arange(2**clusters)[:, None]
        return ((numbers >> np.arange(clusters)) & 1).astype(np.float64)
    drawn = np.random.default_rng(seed).integers(0, 2, size=(DRAWS, clusters), dtype=np.int8)
    return drawn.astype(np.float64)


def _swap_p(pair: _Pair, seed: int) -> float | None:
    """Two-sided p: the share of swaps with a difference at least as large as the one seen."""
    swap = _swaps(len(pair.ours), seed)
    change = swap @ (pair.theirs - pair.ours)
    one = pair.finish(pair.ours.sum(axis=0) + change)
    two = pair.finish(pair.theirs.sum(axis=0) - change)
    seen = abs(float(pair.finish(pair.ours.sum(axis=0)) - pair.finish(pair.theirs.sum(axis=0))))
    drawn = np.abs(one - two)
    drawn = drawn[np.isfinite(drawn)]
    as_large = int((drawn >= seen - 1e-12 * max(1.0, seen)).sum())
    if len(pair.ours) <= _EXACT_UP_TO:
        return as_large / len(drawn) if len(drawn) else None
    return (as_large + 1) / (len(drawn) + 1)  # the seen arrangement is one of them


def _tie(pair: _Pair, interval: Interval | None) -> Word:
    if pair.equal:
        return Word.TIED
    if interval is None or pair.bounds is None:
        return Word.CANNOT_TELL
    margin = TIE_MARGIN * (pair.bounds.high - pair.bounds.low)
    within = -margin <= interval.low and interval.high <= margin
    return Word.TIED if within else Word.CANNOT_TELL


def _with_words(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """Correct the headlines' p values together, then choose better or worse where they hold."""
    places = [i for i, row in enumerate(found) if row.headline and row.p is not None]
    corrected = dict(zip(places, holm([found[i].p or 0.0 for i in places]), strict=True))
    rows = [row._replace(corrected=corrected.get(i)) for i, row in enumerate(found)]
    return tuple(row._replace(word=_word(row)) for row in rows)


def _word(row: Difference) -> Word:
    p = row.corrected if row.headline else row.p
    if row.interval is None or p is None or p >= ALPHA or row.spec.direction == "none":
        return row.word
    if row.interval.low <= 0 <= row.interval.high:
        return row.word
    up = (row.interval.low > 0) == (row.spec.direction == "up")
    return Word.BETTER if up else Word.WORSE


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down correction (1979), in the order given.

    The i-th smallest of m is multiplied by m - i + 1; the result never falls and never exceeds 1.
    """
    order = np.argsort(np.asarray(p, dtype=np.float64), kind="stable")
    corrected = np.empty(len(p))
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = highest
    return tuple(float(value) for value in corrected)


def _same_settings(ours: Tables, theirs: Tables, benchmark: str) -> bool:
    one, two = (tables.run.card.benchmarks[benchmark] for tables in (ours, theirs))
    return (one.decoding.id, one.judge, one.revision) == (two.decoding.id, two.judge, two.revision)
