"""Agreement of two judges: the share of equal values and Krippendorff's alpha.

Shapes: U things that were judged, R judges, V distinct values, B bootstrap draws.

Alpha is 1 - D_o / D_e, the disagreement seen within things over the one expected if values were
dealt out at random (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"): 1 is perfect,
0 is chance, below 0 is worse than chance. The difference of two values c, k is
    nominal   1 if they differ
    ordinal   the values between them, counting both by half: the squared distance of mid-ranks
    interval  (c - k) squared
Things that fewer than two judges gave a value are left out. Intervals are percentiles of a
bootstrap over clusters (units of the samples), 2,000 draws.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from pairuni_eval.seeds import seed_for
from pairuni_eval.stats.aggregate import Array, Bounds
from pairuni_eval.stats.intervals import (
    Estimate,
    agreeing_interval,
    bootstrap_weights,
    is_point,
    percentile_interval,
)
from pairuni_eval.stats.tables import Tables, bare

Level = Literal["nominal", "ordinal", "interval"]
LEVELS: tuple[Level, ...] = get_args(Level)
_SHARE = Bounds(0.0, 1.0)


class Alpha(NamedTuple):
    """Krippendorff's alpha at one level; no value where all values are equal."""

    level: Level
    estimate: Estimate


class Agreement(NamedTuple):
    """Two judges on one score metric of one protocol.

    Attributes:
        asked: Scores that the second judge was asked for.
        both: Those for which both judges gave a value; everything below rests on them.
        exact: Share of equal values.
        alphas: Alpha at every level.
    """

    protocol: str
    metric: str
    asked: int
    both: int
    exact: Estimate
    alphas: tuple[Alpha, ...]


def agreements(tables: Tables, benchmark: str) -> tuple[Agreement, ...]:
    """How far the second judge agrees with the first on a benchmark, metric by metric."""
    run = tables.run
    opinions = run.opinions[run.opinions["output"].isin(tables.outputs(benchmark)["id"])]
    if opinions.empty:
        return ()
    pairs = opinions.merge(run.scores, on=["output", "protocol", "metric"], suffixes=("_2", "_1"))
    pairs = pairs.merge(tables.outputs(benchmark)[["id", "unit"]], left_on="output", right_on="id")
    return tuple(
        _agreement(tables, str(protocol), str(metric), mine)
        for (protocol, metric), mine in pairs.groupby(["protocol", "metric"], sort=False)
    )


def _agreement(tables: Tables, protocol: str, metric: str, pairs: pd.DataFrame) -> Agreement:
    ratings = pairs[["value_1", "value_2"]].to_numpy(dtype=np.float64)
    both = np.isfinite(ratings).all(axis=1)
    clusters = pd.factorize(pairs["unit"][both])[0]
    seed = seed_for(tables.run.card.seed, f"{protocol}/{metric}", 0, "agreement")
    exact, alphas = measure(ratings[both], clusters, seed=seed)
    return Agreement(bare(protocol), metric, len(pairs), int(both.sum()), exact, alphas)


def measure(
    ratings_UR: Array, clusters_U: Array, *, seed: int
) -> tuple[Estimate, tuple[Alpha, ...]]:
    """Exact agreement and alpha at every level, with intervals by cluster.

    Args:
        ratings_UR: Values of all judges, none missing.
        clusters_U: The cluster of each thing, counted from 0.
        seed: Seed of the bootstrap.
    """
    clusters = len(np.unique(clusters_U))
    if not clusters:
        nothing = Estimate(None, None, 0)
        return nothing, tuple(Alpha(level, nothing) for level in LEVELS)
    weights_BU = np.concatenate(list(bootstrap_weights(clusters, seed=seed)))[:, clusters_U]
    counts_UV, values_V = _counts(ratings_UR)
    equal_U = (ratings_UR == ratings_UR[:, :1]).all(axis=1).astype(np.float64)
    once = np.ones((1, len(ratings_UR)))

    def with_interval(value: float, draws_B: Array, bounds: Bounds | None) -> Estimate:
        if not np.isfinite(value):
            return Estimate(None, None, clusters, bounds)
        spread = percentile_interval(draws_B) if clusters > 1 else None
        if spread is not None and is_point(spread):
            spread = agreeing_interval(value, float(clusters), bounds)
        return Estimate(value, spread, clusters, bounds)

    shares_B = weights_BU @ equal_U / weights_BU.sum(axis=1)
    return with_interval(float(equal_U.mean()), shares_B, _SHARE), tuple(
        Alpha(
            level,
            with_interval(
                float(_alphas(once, counts_UV, values_V, level)[0]),
                _alphas(weights_BU, counts_UV, values_V, level),
                None,
            ),
        )
        for level in LEVELS
    )


def _counts(ratings_UR: Array) -> tuple[Array, Array]:
    """How many judges gave each thing each value, and the values in rising order."""
    values_V = np.unique(ratings_UR[np.isfinite(ratings_UR)])
    counts_UV = (ratings_UR[:, :, None] == values_V).sum(axis=1).astype(np.float64)
    return counts_UV[counts_UV.sum(axis=1) >= 2], values_V


def _alphas(weights_BU: Array, counts_UV: Array, values_V: Array, level: Level) -> Array:
    """(B,): alpha where thing u counts weights[b, u] times; NaN where it is not defined."""
    given_U = counts_UV.sum(axis=1)  # values of each thing
    totals_BV = weights_BU @ counts_UV
    total_B = totals_BV.sum(axis=1)
    if level == "nominal":
        within_BU = (given_U**2 - (counts_UV**2).sum(axis=1))[None, :]
        across_B = total_B**2 - (totals_BV**2).sum(axis=1)
    else:
        place_BV = _mid_ranks(totals_BV) if level == "ordinal" else values_V[None, :]
        first_BU, second_BU = place_BV @ counts_UV.T, place_BV**2 @ counts_UV.T
        within_BU = 2 * (given_U * second_BU - first_BU**2)
        sums_B, squares_B = ((totals_BV * place_BV**n).sum(axis=1) for n in (1, 2))
        across_B = 2 * (total_B * squares_B - sums_B**2)
    seen_B = (weights_BU * within_BU / (given_U - 1)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        alpha_B = 1 - seen_B / total_B / (across_B / (total_B * (total_B - 1)))
    several_B = np.count_nonzero(totals_BV, axis=1) > 1
    return np.where(several_B, alpha_B, np.nan)


def _mid_ranks(totals_BV: Array) -> Array:
    """The middle rank of each value where values occur that often."""
    return np.cumsum(totals_BV, axis=1) - totals_BV / 2
