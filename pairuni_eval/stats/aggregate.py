"""Aggregates: how the scores of many outputs become one number.

Shapes: N rows (outputs), G groups of a tag, K sums, C clusters, B bootstrap draws.

An aggregate is a smooth function of sums: `features(rows)` gives what is summed, (N, K), and
`finish` turns sums (..., K) into numbers (...). The estimate is `finish` of the grand total, and a
bootstrap is `finish` of weighted cluster totals, so that one code path serves both. A row without a
value adds nothing to any sum. A row that belongs to several groups counts once in each. A group
that is absent from a draw is left out of a mean over groups.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import UserError, unknown_name

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_] | pd.Categorical

NO_GROUP = "(none)"  # the group of a row that lacks the tag


class GradedRows(NamedTuple):
    """The graded outputs behind one number, as parallel columns.

    Attributes:
        value: (N,) the score after the protocol's rule for unparsed answers; NaN is "no value".
        unit: (N,) the cluster of each row, as an integer code.
        draw: (N,) which of several outputs of one sample.
        tags: The text columns (N,) by tag name, those of a run coded, because many metrics read
            them; an absent tag is the empty text.
    """

    value: Array
    unit: Codes
    draw: Codes
    tags: Mapping[str, Texts]

    def take(self, keep: Mask) -> GradedRows:
        """The rows where `keep` is true."""
        tags = {name: column[keep] for name, column in self.tags.items()}
        return GradedRows(self.value[keep], self.unit[keep], self.draw[keep], tags)

    def in_one_group(self, tag: str, name: str) -> GradedRows:
        """The same rows as if all of them were in this group of a tag, and in no other."""
        codes = np.zeros(len(self.value), dtype=np.int8)
        column: Any = pd.Categorical.from_codes(codes, pd.Index([name], dtype=object))
        return self._replace(tags={**self.tags, tag: column})


class Bounds(NamedTuple):
    """The lowest and the highest number an aggregate can give."""

    low: float
    high: float


def names_in(cell: str) -> tuple[str, ...]:
    """The groups that a tag's cell names, in order and without repeats."""
    names = (name.strip() for name in str(cell).split(","))
    return tuple(dict.fromkeys(name for name in names if name)) or (NO_GROUP,)


def _column(rows: GradedRows, tag: str) -> Texts:
    found = rows.tags.get(tag)
    return np.full(len(rows.value), "", dtype=object) if found is None else found


def _coded(column: Texts) -> tuple[Codes, list[str]]:
    """The number of each cell's text, (N,), and the texts; a column that is coded is only read."""
    if isinstance(column, pd.Categorical) and (column.codes >= 0).all():
        return column.codes, column.categories.tolist()
    codes, texts = pd.factorize(column, use_na_sentinel=False)
    return codes, list(texts)


def groups_of(rows: GradedRows, tag: str) -> tuple[str, ...]:
    """Every group of a tag that has at least one value, in order of appearance."""
    codes, cells = _coded(_column(rows, tag))
    there = pd.unique(codes[np.isfinite(rows.value)])
    return tuple(dict.fromkeys(name for code in there for name in names_in(cells[code])))


def membership(rows: GradedRows, tag: str, groups: tuple[str, ...]) -> Mask:
    """(N, G): whether a row belongs to a group."""
    codes, cells = _coded(_column(rows, tag))
    held = [names_in(cell) for cell in cells]
    lines = np.array([[name in names for name in groups] for names in held], dtype=bool)
    return lines.reshape(len(cells), len(groups))[codes]


def rows_within(rows: GradedRows, where: Mapping[str, str]) -> GradedRows:
    """The rows that have all of these groups; their units are numbered anew."""
    if not where:
        return rows
    kept = rows.take(belongs(rows, where))
    return kept._replace(unit=pd.factorize(kept.unit)[0])


def belongs(rows: GradedRows, where: Mapping[str, str]) -> Mask:
    """(N,): whether a row has all of these groups."""
    keep = np.ones(len(rows.value), dtype=bool)
    for tag, wanted in where.items():
        keep &= membership(rows, tag, (wanted,))[:, 0]
    return keep


class Aggregate(ABC):
    """Base class of every aggregate, built in or a plugin's.

    Args:
        spec: The metric as the card has it.
        groups: The groups of the tag `spec.by` that have a value; empty without `by`.
    """

    is_ratio: bool = False  # True: finish(s) is s[0] / s[1], the mean of s[1] values
    sides: Bounds | None = None  # the range of either side of a number that is a difference
    center: float | None = None  # share towards which a part is moved from an end; None: the mean's

    def __init__(self, spec: MetricSpec, groups: tuple[str, ...]) -> None:
        self.spec = spec
        self.groups = groups

    @abstractmethod
    def features(self, rows: GradedRows) -> Array:
        """What is summed over rows, (N, K); zero where a row has no value."""

    @abstractmethod
    def finish(self, sums: Array) -> Array:
        """The number that sums (..., K) make, (...); NaN where they make none."""

    def bounds(self, rows: GradedRows) -> Bounds | None:  # noqa: ARG002 - for subclasses
        """The range of the number, or None if it is not known."""
        return None

    def parts(self, sums: Array) -> Array:
        """(..., G): the numbers of which the number is a weighted mean; by default itself."""
        return self.finish(sums)[..., None]

    def part_weights(self) -> Array:
        """(G,) how much the number rises when a part rises by one; their sum scales the bounds."""
        return np.ones(1)

    def part_members(self, rows: GradedRows) -> Mask:
        """(N, G): whether a row belongs to a part."""
        return np.ones((len(rows.value), 1), dtype=bool)

    def too_thin(self, rows: GradedRows) -> bool:  # noqa: ARG002 - for subclasses
        """Whether too few units show what the number rests on for an interval to mean anything."""
        return False

    def extremes(self, rows: GradedRows) -> tuple[Array, Array] | None:
        """The values (N,) that make the number lowest, and those that make it highest.

        Of a number that falls with no value, the ends of the values' range; None if that is not
        known.
        """
        found = value_range(rows, self.spec)
        return found and (np.full(len(rows.value), found.low), np.full(len(rows.value), found.high))


def ratio(over: Array, under: Array) -> Array:
    """Quotient, NaN where the denominator is zero."""
    shape = np.broadcast_shapes(np.shape(over), np.shape(under))
    out: Array = np.full(shape, np.nan)
    np.divide(over, under, out=out, where=np.asarray(under) > 0)
    return out


class _Statistic(NamedTuple):
    """A number over one pool of rows: what to sum where `keep` holds, and what the sums make."""

    features: Callable[[GradedRows, Mask], Array]
    finish: Callable[[Array], Array]
    top: float | None  # the highest number it gives; None: as high as its values
    is_ratio: bool = False
    labeled: bool = False  # a value is what was said, and right where it is the label

    def bounds(self, rows: GradedRows, spec: MetricSpec) -> Bounds | None:
        """0 to `top`; a mean has the range of its values."""
        return value_range(rows, spec) if self.top is None else Bounds(0.0, self.top)

    def extremes(self, rows: GradedRows) -> tuple[Array, Array]:
        """All rows wrong and all right, where a value is what was said."""
        gold = _labeled_yes(rows)
        return (~gold).astype(np.float64), gold.astype(np.float64)


def value_range(rows: GradedRows, spec: MetricSpec) -> Bounds | None:
    """The range of a row's value: the card's, else 0 to 1.

    None, not known, if a value lies outside: some official rules let a judge's 9 of 5 pass.
    """
    low, high = spec.range or (0.0, 1.0)
    value = rows.value[np.isfinite(rows.value)]
    return Bounds(low, high) if bool(((value >= low) & (value <= high)).all()) else None


def _mean_features(rows: GradedRows, keep: Mask) -> Array:
    has = keep & np.isfinite(rows.value)
    return np.column_stack([np.where(has, rows.value, 0.0), has.astype(np.float64)])


def _mean(sums: Array) -> Array:
    return ratio(sums[..., 0], sums[..., 1])


def _labeled_yes(rows: GradedRows) -> Mask:
    if "label" not in rows.tags:
        raise UserError(
            "f1, precision, recall and label_ratio need the tag 'label' (yes or no) on every row."
        )
    codes, labels = _coded(rows.tags["label"])
    return np.array([str(label).strip().lower() == "yes" for label in labels], bool)[codes]


def _verdict_features(rows: GradedRows, keep: Mask) -> Array:
    """True positives, false positives, false negatives of "yes"."""
    gold = _labeled_yes(rows)
    has = keep & np.isfinite(rows.value)
    said = has & (rows.value >= 0.5)
    return np.column_stack([said & gold, said & ~gold, has & ~said & gold]).astype(np.float64)


def _f1(sums: Array) -> Array:
    return ratio(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


def _precision(sums: Array) -> Array:
    return ratio(sums[..., 0], sums[..., 0] + sums[..., 1])


def _recall(sums: Array) -> Array:
    return ratio(sums[..., 0], sums[..., 0] + sums[..., 2])


def _label_features(rows: GradedRows, keep: Mask) -> Array:
    """Rows labeled yes, rows; those without a value are in neither."""
    has = keep & np.isfinite(rows.value)
    return np.column_stack([has & _labeled_yes(rows), has]).astype(np.float64)


def _pair_features(rows: GradedRows, keep: Mask) -> Array:
    """Sum of correct, rows, units with all rows correct, units; a unit stands at its first row.

    A unit with a row that has no value is in neither of the last two: whether all of it is right
    is not known.
    """
    sums = np.zeros((len(rows.value), 4))
    sums[:, :2] = _mean_features(rows, keep)
    index = np.flatnonzero(keep)
    if len(index) == 0:
        return sums
    key = rows.unit[index] * (rows.draw.max() + 1) + rows.draw[index]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    lowest = np.full(len(first), np.inf)
    known = np.nan_to_num(rows.value[index], nan=-np.inf)  # one missing row decides the unit
    np.minimum.at(lowest, inverse, known)
    sums[index[first], 2] = lowest >= 1
    sums[index[first], 3] = np.isfinite(lowest)
    return sums


def _mme(sums: Array) -> Array:
    """100 * accuracy + 100 * share of units with all rows correct (MME's calculation.py)."""
    return 100 * ratio(sums[..., 0], sums[..., 1]) + 100 * ratio(sums[..., 2], sums[..., 3])


def _any_features(rows: GradedRows, keep: Mask) -> Array:
    """Units with any row right, units; a unit stands at its first row.

    A unit with a row that has no value is in neither: whether any of it is right is not known.
    """
    sums = np.zeros((len(rows.value), 2))
    index = np.flatnonzero(keep)
    if len(index) == 0:
        return sums
    _, first, inverse = np.unique(rows.unit[index], return_index=True, return_inverse=True)
    highest = np.full(len(first), -np.inf)
    known = np.nan_to_num(rows.value[index], nan=np.inf)  # one missing row decides the unit
    np.maximum.at(highest, inverse, known)
    sums[index[first], 0] = np.isfinite(highest) & (highest >= 1)
    sums[index[first], 1] = np.isfinite(highest)
    return sums


MEAN = _Statistic(_mean_features, _mean, None, is_ratio=True)
_F1 = _Statistic(_verdict_features, _f1, 1.0, labeled=True)
_PRECISION = _Statistic(_verdict_features, _precision, 1.0, labeled=True)
_RECALL = _Statistic(_verdict_features, _recall, 1.0, labeled=True)
_LABELS = _Statistic(_label_features, _mean, 1.0, is_ratio=True)
_ANY = _Statistic(_any_features, _mean, 1.0, is_ratio=True)
_MME = _Statistic(_pair_features, _mme, 200.0)


class _OfStatistic(Aggregate):
    """An aggregate that is made of one statistic."""

    def __init__(self, statistic: _Statistic, spec: MetricSpec, groups: tuple[str, ...]) -> None:
        super().__init__(spec, groups)
        self._statistic = statistic

    def extremes(self, rows: GradedRows) -> tuple[Array, Array] | None:
        """See `Aggregate.extremes`."""
        labeled = self._statistic.labeled
        return self._statistic.extremes(rows) if labeled else super().extremes(rows)


class Pooled(_OfStatistic):
    """One statistic over all rows; with `by`, a row counts once for each of its groups."""

    def __init__(self, statistic: _Statistic, spec: MetricSpec, groups: tuple[str, ...]) -> None:
        super().__init__(statistic, spec, groups)
        self.is_ratio = statistic.is_ratio

    def features(self, rows: GradedRows) -> Array:
        """See `Aggregate.features`."""
        sums = self._statistic.features(rows, np.ones(len(rows.value), dtype=bool))
        if self.spec.by is None:
            return sums
        times = membership(rows, self.spec.by, self.groups).sum(axis=1)
        counted: Array = sums * times[:, None]
        return counted

    def finish(self, sums: Array) -> Array:
        """See `Aggregate.finish`."""
        return self._statistic.finish(sums)

    def bounds(self, rows: GradedRows) -> Bounds | None:
        """See `Aggregate.bounds`."""
        return self._statistic.bounds(rows, self.spec)


class Grouped(_OfStatistic):
    """A weighted mean over groups of one statistic; `total` multiplies it by their number.

    Weights are normalized over the groups that are there, so a total keeps its scale in a draw that
    misses a group.
    """

    def __init__(
        self,
        statistic: _Statistic,
        spec: MetricSpec,
        groups: tuple[str, ...],
        *,
        weighted: bool = False,
        total: bool = False,
    ) -> None:
        super().__init__(statistic, spec, groups)
        self._weight = _card_weights(spec, groups) if weighted else np.ones(len(groups))
        self._factor = len(groups) if total else 1
        self.is_ratio = statistic.is_ratio and len(groups) == 1 and not total

    def features(self, rows: GradedRows) -> Array:
        """See `Aggregate.features`."""
        member = membership(rows, self.spec.by or "", self.groups)
        parts = [self._statistic.features(rows, member[:, g]) for g in range(len(self.groups))]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(rows.value), 0))

    def finish(self, sums: Array) -> Array:
        """See `Aggregate.finish`."""
        if not self.groups:
            return np.full(sums.shape[:-1], np.nan)
        value = self.parts(sums)
        there = np.isfinite(value)
        weighed = np.where(there, value, 0.0) * self._weight
        return self._factor * ratio(weighed.sum(-1), (there * self._weight).sum(-1))

    def bounds(self, rows: GradedRows) -> Bounds | None:
        """See `Aggregate.bounds`."""
        one = self._statistic.bounds(rows, self.spec)
        return one and Bounds(one.low * self._factor, one.high * self._factor)

    def parts(self, sums: Array) -> Array:
        """See `Aggregate.parts`."""
        return self._statistic.finish(sums.reshape(*sums.shape[:-1], len(self.groups), -1))

    def part_weights(self) -> Array:
        """See `Aggregate.part_weights`."""
        weights: Array = self._factor * self._weight / self._weight.sum()
        return weights

    def part_members(self, rows: GradedRows) -> Mask:
        """See `Aggregate.part_members`."""
        return membership(rows, self.spec.by or "", self.groups)


def _card_weights(spec: MetricSpec, groups: tuple[str, ...]) -> Array:
    lacking = [name for name in groups if name not in spec.weights]
    if lacking:
        raise UserError(
            f"The metric '{spec.name}' is a weighted mean, but its card has no weight for "
            f"{', '.join(lacking)}.",
            hint=f"Add the group to `weights` of '{spec.name}' in card.toml.",
        )
    return np.array([spec.weights[name] for name in groups], dtype=np.float64)


Maker = Callable[[MetricSpec, tuple[str, ...]], Aggregate]

_BUILT_IN: Mapping[str, Maker] = {
    "mean": partial(Pooled, MEAN),
    "f1": partial(Pooled, _F1),
    "precision": partial(Pooled, _PRECISION),
    "recall": partial(Pooled, _RECALL),
    "yes_ratio": partial(Pooled, MEAN),
    "label_ratio": partial(Pooled, _LABELS),
    "any_of_unit": partial(Pooled, _ANY),
    "macro_mean": partial(Grouped, MEAN),
    "macro_f1": partial(Grouped, _F1),
    "macro_precision": partial(Grouped, _PRECISION),
    "macro_recall": partial(Grouped, _RECALL),
    "weighted_mean": partial(Grouped, MEAN, weighted=True),
    "mme_total": partial(Grouped, _MME, total=True),
}
_OVER_GROUPS = frozenset(
    {"macro_mean", "macro_f1", "macro_precision", "macro_recall", "weighted_mean", "mme_total"}
)


def _plugin(name: str) -> Maker:
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as failure:
        raise UserError(
            f"The aggregate '{name}' cannot be loaded: {failure}.",
            hint="Install the package that brings it, or correct `aggregate` in card.toml.",
        ) from failure
    maker: Maker = found
    return maker


def find_maker(name: str) -> Maker:
    """The built-in of that name, or the object behind "package.module:object".

    Raises:
        UserError: for an unknown name or a plugin that cannot be imported.
    """
    from pairuni_eval.stats.coupling import MAKERS  # stands on this module

    known = {**_BUILT_IN, **MAKERS}
    if name in known:
        return known[name]
    if ":" in name:
        return _plugin(name)
    raise unknown_name("aggregate", name, known, list_command="pairuni-eval list benchmarks")


def make_aggregate(spec: MetricSpec, rows: GradedRows) -> Aggregate:
    """The aggregate of a metric for these rows.

    Raises:
        UserError: for an unknown aggregate, or one over groups whose card names no `by`.
    """
    maker = find_maker(spec.aggregate)
    if spec.by is None and spec.aggregate in _OVER_GROUPS:
        raise UserError(f"The metric '{spec.name}' ({spec.aggregate}) needs `by` in its card.")
    return maker(spec, groups_of(rows, spec.by) if spec.by is not None else ())
