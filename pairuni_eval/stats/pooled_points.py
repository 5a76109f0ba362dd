"""Shares of points right, pooled over pictures that have several points of one dimension.

Shapes: N rows, G dimensions.

Beside a tag with the dimensions of a sample's points stands one of the same name and "_listed" with
the dimension of every point in their order, repeats included: "Action, Style" and "Action, Action,
Style". A number is points right by points, over all rows that have a value, and
with `by` the plain mean of such shares over dimensions; the dimension of a single share stands in
`where`. `PointShare` reads values with a decimal digit for each point (`scorers.point_verdicts`),
`PointHits` the number of points right of the one dimension of `where`, `LastDrawHits` the same of
the last output of every sample alone, as DPG-Bench's categories are. A card names them
"pairuni_eval.stats.pooled_points:PointShare".
"""

from __future__ import annotations

import numpy as np

from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import UserError
from pairuni_eval.stats.aggregate import (
    Aggregate,
    Array,
    Bounds,
    GradedRows,
    Mask,
    membership,
    ratio,
)


class PointShare(Aggregate):
    """See the module docstring.

    Raises:
        UserError: for a metric that names neither `by` nor one dimension in `where`.
    """

    def __init__(self, spec: MetricSpec, groups: tuple[str, ...]) -> None:
        super().__init__(spec, groups)
        if spec.by is not None:
            self._tag, self._names = spec.by, groups
        elif len(spec.where) == 1:
            self._tag, name = next(iter(spec.where.items()))
            self._names = (name,)
        else:
            raise UserError(
                f"The metric '{spec.name}' pools points: its card must name `by`, or one dimension "
                "in `where`."
            )

    def features(self, rows: GradedRows) -> Array:
        """(N, 2G): points right, then points, of each dimension."""
        has = np.isfinite(rows.value)
        right, points = self._counts(rows)
        return np.concatenate([right, points], axis=1) * has[:, None]

    def finish(self, sums: Array) -> Array:
        """See `Aggregate.finish`."""
        if not self._names:
            return np.full(sums.shape[:-1], np.nan)
        shares = self.parts(sums)
        there = np.isfinite(shares)
        return ratio(np.where(there, shares, 0.0).sum(-1), there.sum(-1).astype(np.float64))

    def bounds(self, rows: GradedRows) -> Bounds | None:  # noqa: ARG002
        """See `Aggregate.bounds`."""
        return Bounds(0.0, 1.0)

    def parts(self, sums: Array) -> Array:
        """See `Aggregate.parts`."""
        return ratio(sums[..., : len(self._names)], sums[..., len(self._names) :])

    def part_weights(self) -> Array:
        """See `Aggregate.part_weights`."""
        return np.full(len(self._names), 1 / max(len(self._names), 1))

    def part_members(self, rows: GradedRows) -> Mask:
        """See `Aggregate.part_members`."""
        return membership(rows, self._tag, self._names)

    def extremes(self, rows: GradedRows) -> tuple[Array, Array] | None:
        """No point right, and all."""
        high = [float("1" * len(listed) or 0) for listed in self._listed(rows)]
        return np.zeros(len(rows.value)), np.array(high)

    def _counts(self, rows: GradedRows) -> tuple[Array, Array]:
        """Points right and points, (N, G) each; of a row without a value none is right."""
        right, points = np.zeros((2, len(rows.value), len(self._names)))
        for row, (value, listed) in enumerate(zip(rows.value, self._listed(rows), strict=True)):
            digits = f"{int(value):0{len(listed)}d}" if np.isfinite(value) else "0" * len(listed)
            for name, digit in zip(listed, digits, strict=True):
                if name in self._names:
                    place = self._names.index(name)
                    points[row, place] += 1
                    right[row, place] += digit == "1"
        return right, points

    def _listed(self, rows: GradedRows) -> list[list[str]]:
        """The dimension of each of a row's points; a group of rows keeps this tag as it is."""
        cells = rows.tags.get(f"{self._tag}_listed", np.full(len(rows.value), "", dtype=object))
        return [[one.strip() for one in str(cell).split(",") if one.strip()] for cell in cells]


class PointHits(PointShare):
    """One dimension, of which a value says how many points are right; see the module docstring."""

    def extremes(self, rows: GradedRows) -> tuple[Array, Array] | None:
        """See `Aggregate.extremes`."""
        return np.zeros(len(rows.value)), self._points(rows)

    def _counts(self, rows: GradedRows) -> tuple[Array, Array]:
        return np.nan_to_num(rows.value)[:, None], self._points(rows)[:, None]

    def _points(self, rows: GradedRows) -> Array:
        """How many points of the dimension each row has, (N,)."""
        (name,) = self._names
        counts: Array = np.array([listed.count(name) for listed in self._listed(rows)], dtype=float)
        return counts


class LastDrawHits(PointHits):
    """`PointHits` over the last output of every sample."""

    def features(self, rows: GradedRows) -> Array:
        """See `Aggregate.features`."""
        last = rows.draw == rows.draw.max(initial=0)
        kept: Array = super().features(rows) * last[:, None]
        return kept
