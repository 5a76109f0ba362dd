"""A number as a weighted mean of groups, and how far every cluster moves every group.

Shapes: C clusters, K sums, G groups.

A number over groups (GenEval's mean of six tasks, MME's sum) is a weighted mean of its parts, one a
group; any other number is its own only part. What a cluster moves is measured by leaving it out of
its groups: with c_g clusters and d_cg the group's number without c, less the mean of these, the
move is -d_cg sqrt((c_g - 1) / c_g), and the sum of squared moves of a group is its jackknife
variance (CV3J of MacKinnon, Nielsen and Webb 2023, for a mean of clusters of one size CR1). Where
the groups share no cluster the number's variance is that of a stratified sample; where they do
(POPE's three settings hold the same images) the moves of a cluster add up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pairuni_eval.stats.aggregate import Aggregate, Array, Codes, GradedRows, Mask

Parts = Callable[[Array], Array]
"""Turns sums (..., K) into the numbers of the groups (..., G); NaN where they make none."""


class Strata(NamedTuple):
    """The groups behind a number.

    Attributes:
        parts: What the sums make in every group.
        weights: (G,) how much the number rises when a group's number rises by one.
        member: (C, G) whether a cluster belongs to a group.
        center: See `Aggregate.center`.
    """

    parts: Parts
    weights: Array
    member: Mask
    center: float | None = None

    def of(self, parts: Parts) -> Strata:
        """The same groups behind another function of sums, e.g. of the sums of two runs."""
        return self._replace(parts=parts)


class Moves(NamedTuple):
    """How far the clusters move a number, group by group; groups without a number are left out.

    Attributes:
        value: (G,) the numbers of the groups.
        weights: (G,) their weights, which add up to what those of all groups do.
        moves: (C, G) the move of each cluster; 0 where it is not a member.
        clusters: (G,) how many members a group has.
        shared: (G, G) clusters of both groups over the geometric mean of their clusters.
        center: See `Aggregate.center`.
    """

    value: Array
    weights: Array
    moves: Array
    clusters: Array
    shared: Array
    center: float | None = None

    @property
    def variances(self) -> Array:
        """(G,) the jackknife variance of each group."""
        found: Array = np.square(self.moves).sum(axis=0)
        return found

    def effective_clusters(self) -> float:
        """The number of clusters that one pool would need for the same error.

        For groups without shared clusters: (sum w)^2 / sum(w^2 / c).
        """
        weighed = self.weights / np.sqrt(self.clusters)
        return float(self.weights.sum() ** 2 / (weighed @ self.shared @ weighed))

    def covariance(self, variances: Array) -> Array:
        """(G, G): of the weighted groups, given their variances.

        Groups are as alike as their clusters' moves are; a group of which all clusters agree shows
        nothing of that, and is taken to be as alike as it can be.
        """
        own = self.variances
        moved = own > 0
        scale = np.sqrt(np.where(moved, own, 1.0))
        alike = self.moves.T @ self.moves / np.outer(scale, scale)
        alike = np.where(np.outer(moved, moved), alike, self.shared)
        np.fill_diagonal(alike, 1.0)
        errors = np.abs(self.weights) * np.sqrt(variances)
        return alike * np.outer(errors, errors)


def whole(parts: Parts, clusters: int) -> Strata:
    """A number that is its own only part."""
    return Strata(parts, np.ones(1), np.ones((clusters, 1), dtype=bool))


def clusters_in(units: Codes) -> tuple[Codes, Codes]:
    """The codes that occur among units (N,), in order, and the place of each row's among them.

    As `numpy.unique` has them, without its sort: the codes of units are small.
    """
    there = np.bincount(units) > 0
    return np.flatnonzero(there), (np.cumsum(there) - 1)[units]


def strata_of(aggregate: Aggregate, rows: GradedRows) -> Strata:
    """The groups behind an aggregate's number, for the clusters that `cluster_sums` makes."""
    has = np.isfinite(rows.value)
    codes, inverse = clusters_in(rows.unit[has])
    inside = aggregate.part_members(rows)[has]
    member = np.zeros((len(codes), inside.shape[1]), dtype=bool)
    for g in range(inside.shape[1]):
        member[inverse[inside[:, g]], g] = True
    return Strata(aggregate.parts, aggregate.part_weights(), member, aggregate.center)


def moves_of(sums: Array, strata: Strata) -> Moves:
    """How far each cluster, a line of sums (C, K), moves each group.

    A cluster without which a group would make no number moves it by nothing.
    """
    total = sums.sum(axis=0)
    value = strata.parts(total)
    there = np.isfinite(value) & strata.member.any(axis=0) & (strata.weights != 0)
    member = strata.member[:, there]
    value = value[there]
    without = strata.parts(total - sums)[:, there]
    change = np.where(member & np.isfinite(without), value - without, 0.0)
    clusters = member.sum(axis=0).astype(np.float64)
    change = np.where(member, change - change.sum(axis=0) / clusters, 0.0)
    moves = change * np.sqrt((clusters - 1) / clusters)
    moves[:, (np.abs(moves) <= 1e-12 * np.maximum(1.0, np.abs(value))).all(axis=0)] = 0.0
    counts = member.astype(np.float64)
    weights = strata.weights[there]
    if len(weights):
        weights = weights * (strata.weights.sum() / weights.sum())
    shared = counts.T @ counts / np.sqrt(np.outer(clusters, clusters))
    return Moves(value, weights, moves, clusters, shared, strata.center)
