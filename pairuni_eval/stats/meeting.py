"""The outputs that all runs of two sides planned, and those that lack a value.

Shapes: R runs of both sides, N planned outputs.

Outputs meet by (sample uid, draw) and are *planned* where every run has a row for them: what the
limit of one run left out, or an unfinished run has not reached, is nobody's loss, and neither is
what every run skipped; what a run that ended has lost is missing (`planned`). They are *shared*
where every run has a value. A row of one side alone may lack its value because of what it says (a
judge that refused, a format that only long answers break), so whatever is missing is given both
ends: the value that makes the difference lowest, and the one that makes it highest.

Where runs have samples of their own, which meet by key (`Card.meet_by`), a row has the tags of its
own run, and belongs to a metric where it does in every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.cards import MetricSpec
from pairuni_eval.records import Status
from pairuni_eval.stats.aggregate import (
    Array,
    Codes,
    GradedRows,
    Mask,
    belongs,
    groups_of,
    make_aggregate,
)
from pairuni_eval.stats.paired import Names, PairedSums, narrowed, pair_rows
from pairuni_eval.stats.tables import all_rows, as_measured
from pairuni_eval.store.partial_run import NOT_GRADED

_PLACES = ["sample", "draw"]


class Missing(NamedTuple):
    """Planned outputs without a value on our side, on the other, and on any."""

    ours: int
    theirs: int
    any: int


class Meeting(NamedTuple):
    """The planned outputs of two sides, for one metric.

    Attributes:
        rows: (N,) each run's own values, ours first; NaN where that run has none.
        runs: How many of the runs are ours.
        spec: The metric.
        units: The unit behind each integer code of the rows.
        alike: (N,) whether all runs gave the same output, word for word and pixel for pixel.
    """

    rows: tuple[GradedRows, ...]
    runs: int
    spec: MetricSpec
    units: Names
    alike: Mask

    @property
    def planned(self) -> int:
        """Outputs that both sides planned."""
        return len(self.rows[0].value)

    @property
    def missing(self) -> Missing:
        """How many of them have no value."""
        sides = [self._lacking(side) for side in (self.rows[: self.runs], self.rows[self.runs :])]
        return Missing(*(int(one.sum()) for one in (*sides, sides[0] | sides[1])))

    @property
    def same_outputs(self) -> bool:
        """Whether every output that has a value in every run is the same in all of them."""
        return bool(self.alike[~self._lacking(self.rows)].all())

    @property
    def units_planned(self) -> int:
        """Units that the planned outputs belong to."""
        return len(np.unique(self.rows[0].unit))

    def measured(self, counted: Mapping[str, Mapping[str, int]]) -> MetricSpec:
        """The metric, with the title of what the shared outputs measure; see `as_measured`."""
        lacking = self._lacking(self.rows)
        rows = self.rows[0]._replace(value=np.where(lacking, np.nan, self.rows[0].value))
        return as_measured(self.spec, make_aggregate(self.spec, rows), rows, counted)

    def pair(self) -> PairedSums:
        """Both sides on the outputs that have a value in every run."""
        lacking = self._lacking(self.rows)
        return self._paired([np.where(lacking, np.nan, rows.value) for rows in self.rows])

    def ends(self) -> tuple[PairedSums, PairedSums] | None:
        """Both sides on every planned output: as low, and as high, as ours - theirs may be.

        None where no value is missing, or where the range of the values is not known.
        """
        if not self.missing.any:
            return None
        found = [make_aggregate(self.spec, rows).extremes(rows) for rows in self.rows]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        return self._filled(known, 0), self._filled(known, 1)

    def _filled(self, extremes: Sequence[tuple[Array, Array]], end: int) -> PairedSums:
        """With our missing values at one end, 0 or 1, and theirs at the other."""
        ends = [end if number < self.runs else 1 - end for number in range(len(self.rows))]
        return self._paired(
            [
                np.where(np.isnan(rows.value), both[one], rows.value)
                for rows, both, one in zip(self.rows, extremes, ends, strict=True)
            ]
        )

    def _paired(self, values: Sequence[Array]) -> PairedSums:
        layers = [rows._replace(value=value) for rows, value in zip(self.rows, values, strict=True)]
        return pair_rows(layers[: self.runs], layers[self.runs :], self.spec, self.units)

    def _lacking(self, side: Sequence[GradedRows]) -> Mask:
        found = np.zeros(self.planned, dtype=bool)
        for rows in side:
            found |= np.isnan(rows.value)
        return found


class Planned(NamedTuple):
    """The outputs that all runs of two sides planned, whatever is asked about them.

    Attributes:
        rows: (N,) each run's own values, ours first; NaN where that run has none.
        runs: How many of the runs are ours.
        units: The unit behind each integer code of the rows.
        alike: (N,) whether all runs gave the same output.
    """

    rows: tuple[GradedRows, ...]
    runs: int
    units: Names
    alike: Mask

    def groups(self, spec: MetricSpec) -> tuple[str, ...]:
        """The groups of `spec.by` in which any run has a value, in order of appearance."""
        mine = self.meeting(spec).rows
        found = [groups_of(rows, spec.by or "") for rows in mine]
        return tuple(dict.fromkeys(name for groups in found for name in groups))

    def meeting(self, spec: MetricSpec, group: str | None = None) -> Meeting:
        """Those that belong to a metric.

        Args:
            spec: The metric.
            group: Keep the rows of this group of `spec.by` only, as the one group they are in.
        """
        where = spec.where if group is None else narrowed(spec, group).where
        first = self.rows[0]
        own = [one for one in self.rows[1:] if one.tags is not first.tags]
        keep = np.logical_and.reduce([belongs(one, where) for one in (first, *own)])

        def kept(one: GradedRows) -> GradedRows:
            part = one.take(keep)
            return part if group is None else part.in_one_group(spec.by or "", group)

        shared = kept(first)
        rows = tuple(
            shared._replace(value=one.value[keep]) if one.tags is first.tags else kept(one)
            for one in self.rows
        )
        return Meeting(rows, self.runs, spec, self.units, self.alike[keep])


def plan(ours: Sequence[pd.DataFrame], theirs: Sequence[pd.DataFrame]) -> Planned:
    """What all runs planned.

    Args:
        ours: The frame (`planned_frame`) of each of our runs.
        theirs: The same for the other side.
    """
    first, *others = _planned([*ours, *theirs])
    rows = all_rows(first.frame)
    units = np.asarray(pd.factorize(first.frame["unit"])[1], dtype=object)
    layers = [rows._replace(value=first.value)]
    alike = np.ones(len(rows.value), dtype=bool)
    for other in others:
        met = (first.frame["uid"].to_numpy() == other.frame["uid"].to_numpy()).astype(bool)
        tags = rows.tags if met.all() else all_rows(other.frame).tags
        layers.append(rows._replace(value=other.value, tags=tags))
        said = (one.frame["parts"].to_numpy(dtype=object) for one in (first, other))
        alike &= met & np.equal(*said).astype(bool)
    return Planned(tuple(layers), len(ours), units, alike)


class _Layer(NamedTuple):
    """The rows of one run that all planned, in the order of the first."""

    frame: pd.DataFrame
    value: Array


def _planned(frames: Sequence[pd.DataFrame]) -> list[_Layer]:
    """The rows that all runs planned."""
    places = _met(frames)
    states = np.stack([_state(frame)[place] for frame, place in zip(frames, places, strict=True)])
    keep = ~((states == _UNREACHED).any(axis=0) | (states == _SKIPPED).all(axis=0))
    found = []
    for frame, place in zip(frames, places, strict=True):
        kept = place[keep]
        whole = len(kept) == len(frame) and bool((kept == np.arange(len(kept))).all())
        part = frame if whole else frame.iloc[kept]
        found.append(_Layer(part, part["value"].to_numpy(dtype=np.float64)))
    return found


def _met(frames: Sequence[pd.DataFrame]) -> list[Codes]:
    """Where in each frame the rows are that all have, in the order of the first."""
    first = frames[0]
    everywhere = np.arange(len(first))
    if all(frame[_PLACES].equals(first[_PLACES]) for frame in frames[1:]):  # the same suite
        return [everywhere] * len(frames)
    found = first[_PLACES].assign(at0=everywhere)
    for number, frame in enumerate(frames[1:], start=1):
        other = frame[_PLACES].assign(**{f"at{number}": np.arange(len(frame))})
        found = found.merge(other, on=_PLACES, how="inner", validate="one_to_one")
    return [found[f"at{number}"].to_numpy() for number in range(len(frames))]


_ASKED, _SKIPPED, _UNREACHED = 0, 1, 2


def _state(frame: pd.DataFrame) -> Codes:
    """Whether a run asked for a row, skipped it, or has not come to grade it."""
    skipped = (frame["status"] == str(Status.SKIPPED)).to_numpy(dtype=bool)
    unreached = (frame["skipped"] == NOT_GRADED).to_numpy(dtype=bool)
    found: Codes = np.select([unreached, skipped], [_UNREACHED, _SKIPPED], _ASKED)
    return found


def pair_up(
    ours: Sequence[pd.DataFrame],
    theirs: Sequence[pd.DataFrame],
    spec: MetricSpec,
    *,
    group: str | None = None,
) -> PairedSums:
    """Both sides of a metric over the outputs that have a value in every run."""
    return plan(ours, theirs).meeting(spec, group).pair()
