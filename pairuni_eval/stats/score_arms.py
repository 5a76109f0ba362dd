"""Arms in a plain table of scores: the number of each, and two against each other.

Goes in: of each training seed of an arm a frame with a row an output (sample, draw, unit, score).
Comes out: what `arms` and `compare` say of run folders, by the same tests: outputs meet by sample
and draw, the error is over units and over the seeds of a side that has three or more
(`two_levels`), below that over units alone, about these checkpoints. Besides better, worse and tied
there is a one-sided test of "not worse by the margin or more".

Departures: where an output of either arm has no score nothing is tested, and the reason says so;
`compare` looks at both ends of what it may be. The exact guard of a tie (`ties`) stands beside the
t tests only where fewer than 30 units differ: it is there for a spread that hardly any unit makes,
and cannot find two arms closer than 4 points on 74 prompts, however alike their pictures are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.cards import MetricSpec
from pairuni_eval.records import Status
from pairuni_eval.seeds import seed_for
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate
from pairuni_eval.stats.arms import number_over_seeds
from pairuni_eval.stats.intervals import Estimate, Interval, estimate, t_point, t_tail
from pairuni_eval.stats.meeting import pair_up
from pairuni_eval.stats.multiple import ALPHA
from pairuni_eval.stats.paired import Evidence, PairedSums, compare_pair, not_worse_p, pair_rows
from pairuni_eval.stats.scope import ENOUGH_SEEDS, Few, Scope, seeds_warning
from pairuni_eval.stats.tables import all_rows
from pairuni_eval.stats.ties import equivalence_p
from pairuni_eval.stats.two_levels import compare_over_seeds

SCORE = MetricSpec(name="score")  # printed per cent, one decimal
_DRAWS = seed_for(0, "every number", 0, "bootstrap")  # shared by all numbers of a table
_TRUSTED = 30  # units that differ, whose spread needs no guard
_NEEDED = ["sample", "draw", "unit"]


class ScoredArm(NamedTuple):
    """An arm by its scores.

    Attributes:
        frames: One of each training seed, with the columns sample, draw, unit and score.
        trained: False for a checkpoint that is its own only run.
    """

    name: str
    frames: tuple[pd.DataFrame, ...]
    trained: bool = True

    @property
    def few(self) -> bool:
        """Whether there are too few seeds to say anything about training again."""
        return self.trained and len(self.frames) < ENOUGH_SEEDS


class ScoreNumber(NamedTuple):
    """The mean over seeds, the number of each seed, and how many outputs have no score."""

    estimate: Estimate
    by_seed: tuple[float, ...]
    missing: int


class ScoreDifference(NamedTuple):
    """Ours against theirs.

    Attributes:
        ours: Mean over our seeds, on the outputs that all have.
        theirs: The same of the other arm.
        evidence: None where nothing was tested.
        not_worse: p of "ours is worse by the margin or more"; None without a margin.
        clusters: Units that were compared.
        seeds: Seeds of both.
        warning: What the seeds cannot say, in words; None where there are enough.
        reason: Why nothing was tested.
    """

    ours: float | None
    theirs: float | None
    evidence: Evidence | None
    not_worse: float | None
    clusters: int
    seeds: tuple[int, int]
    warning: str | None
    reason: str | None

    @property
    def value(self) -> float | None:
        """Ours - theirs."""
        if self.ours is None or self.theirs is None:
            return None
        return self.ours - self.theirs


def score_number(arm: ScoredArm) -> ScoreNumber:
    """The number of an arm; one without frames has none."""
    missing = _missing(arm)
    if not arm.frames:
        return ScoreNumber(Estimate(None, None, 0), (), 0)
    if len(arm.frames) == 1:
        rows = all_rows(_graded(arm.frames[0]))
        found = estimate(make_aggregate(SCORE, rows), rows)
        return ScoreNumber(found, () if found.value is None else (found.value,), missing)
    pair = _paired(arm.frames, ())
    found, by_seed = number_over_seeds(pair, few=arm.few, seed=_DRAWS)
    return ScoreNumber(found, by_seed, missing)


def compare_scores(ours: ScoredArm, theirs: ScoredArm, *, margin: float | None) -> ScoreDifference:
    """What two arms show, before any correction.

    Args:
        ours: Our arm.
        theirs: The other.
        margin: The largest difference that counts as none, in scores; None tests for none.
    """
    sides = (ours, theirs)
    few = tuple(Few(one.name, len(one.frames)) for one in sides if one.few and one.frames)
    blank = ScoreDifference(
        *(None, None, None, None, 0),
        seeds=(len(ours.frames), len(theirs.frames)),
        warning=seeds_warning([Scope(few=few)]) if few else None,
        reason=None,
    )
    for one in sides:
        if not one.frames:
            return blank._replace(reason=f"{one.name} has no run")
        if missing := _missing(one):
            return blank._replace(reason=f"{missing:,} outputs of {one.name} have no score")
    pair = _paired(ours.frames, theirs.frames)
    mine, other = pair.seen()
    if mine is None or other is None or pair.clusters < 2:
        return blank._replace(reason="they have fewer than two units in common")
    over_seeds = max(len(ours.frames), len(theirs.frames)) >= ENOUGH_SEEDS
    test = compare_over_seeds if over_seeds else compare_pair
    found = test(pair, margin=margin or 0.0, seed=_DRAWS)
    tie, not_worse = _margin_ps(pair, found, margin) if margin else (None, None)
    return blank._replace(
        ours=mine,
        theirs=other,
        evidence=_with_tie(pair, found, tie),
        not_worse=not_worse,
        clusters=pair.clusters,
    )


def _margin_ps(
    pair: PairedSums, found: Evidence, margin: float
) -> tuple[float | None, float | None]:
    """The p of "the margin or more apart" and that of "worse by the margin or more"."""
    differ = int((np.abs(pair.gains()) > 0).sum())
    if differ < _TRUSTED or found.freedom is None or not found.error > 0:
        return found.tie_p, not_worse_p(pair, found, margin)
    value = float(pair.difference(pair.stacked.sum(axis=0)))
    return (
        equivalence_p(value, found.error, found.freedom, margin),
        t_tail((margin + value) / found.error, found.freedom),
    )


def _missing(arm: ScoredArm) -> int:
    return sum(int(frame["score"].isna().sum()) for frame in arm.frames)


def _with_tie(pair: PairedSums, found: Evidence, p: float | None) -> Evidence:
    """The evidence with the p of a tie, and the interval of its test where that says so."""
    if p is None or p >= ALPHA or found.freedom is None or found.equivalence is not None:
        return found._replace(tie_p=p)
    value = float(pair.difference(pair.stacked.sum(axis=0)))
    half = t_point(1 - ALPHA, found.freedom) * found.error
    return found._replace(tie_p=p, equivalence=Interval(value - half, value + half))


def _paired(ours: Sequence[pd.DataFrame], theirs: Sequence[pd.DataFrame]) -> PairedSums:
    """Both sides by sample and draw; outputs that stand in one order meet as they stand."""
    first, *others = (*ours, *theirs)
    placed = (
        np.array_equal(first[name].to_numpy(), frame[name].to_numpy())
        for frame in others
        for name in ("sample", "draw")
    )
    if not all(placed):
        return pair_up([_graded(one) for one in ours], [_graded(one) for one in theirs], SCORE)
    codes, names = pd.factorize(first["unit"].to_numpy())
    draws = first["draw"].to_numpy(dtype=np.int64)
    layers = [
        GradedRows(frame["score"].to_numpy(dtype=np.float64), codes.astype(np.int64), draws, {})
        for frame in (*ours, *theirs)
    ]
    return pair_rows(layers[: len(ours)], layers[len(ours) :], SCORE, names.astype(object))


def _graded(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that outputs are paired by, as the tables of a run have them."""
    columns: dict[str, Any] = {name: frame[name].to_numpy() for name in _NEEDED}
    columns |= {"uid": columns["sample"], "value": frame["score"].to_numpy(dtype=np.float64)}
    columns |= {"status": str(Status.SCORED), "skipped": None, "parts": ""}
    return pd.DataFrame(columns)
