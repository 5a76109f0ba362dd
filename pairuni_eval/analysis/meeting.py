"""Where two sides meet: the outputs that all runs planned, and those that lack a value.

Shapes: R runs of both sides, N planned outputs.

Outputs meet by (sample uid, draw) and are *planned* where every run has a row for them: what the
limit of one run left out, or an unfinished run has not reached, is nobody's loss, and neither is
what every run skipped. They are *shared* where every run has a value. A row of one side alone may
lack its value because of what it says (a judge that refused, a format that only long answers
break), so whatever is missing is given both ends: the value that makes the difference lowest, and
the one that makes it highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd

from pairuni_eval.analysis.aggregate import Array, Mask, Rows, make_aggregate
from pairuni_eval.analysis.paired import Names, Pair, narrowed, pair_rows
from pairuni_eval.analysis.tables import belongs, rows_of
from pairuni_eval.cards import MetricSpec
from pairuni_eval.records import Status
from pairuni_eval.store.unfinished import NOT_GRADED

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
    """

    rows: tuple[Rows, ...]
    runs: int
    spec: MetricSpec
    units: Names

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
    def units_planned(self) -> int:
        """Units that the planned outputs belong to."""
        return len(np.unique(self.rows[0].unit))

    def pair(self) -> Pair:
        """Both sides on the outputs that have a value in every run."""
        lacking = self._lacking(self.rows)
        return self._paired([np.where(lacking, np.nan, rows.value) for rows in self.rows])

    def ends(self) -> tuple[Pair, Pair] | None:
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

    def _filled(self, extremes: Sequence[tuple[Array, Array]], end: int) -> Pair:
        """With our missing values at one end, 0 or 1, and theirs at the other."""
        ends = [end if number < self.runs else 1 - end for number in range(len(self.rows))]
        return self._paired(
            [
                np.where(np.isnan(rows.value), both[one], rows.value)
                for rows, both, one in zip(self.rows, extremes, ends, strict=True)
            ]
        )

    def _paired(self, values: Sequence[Array]) -> Pair:
        layers = [rows._replace(value=value) for rows, value in zip(self.rows, values, strict=True)]
        return pair_rows(layers[: self.runs], layers[self.runs :], self.spec, self.units)

    def _lacking(self, side: Sequence[Rows]) -> Mask:
        found = np.zeros(self.planned, dtype=bool)
        for rows in side:
            found |= np.isnan(rows.value)
        return found


def meet(
    ours: Sequence[pd.DataFrame],
    theirs: Sequence[pd.DataFrame],
    spec: MetricSpec,
    *,
    group: str | None = None,
) -> Meeting:
    """Where the runs of two sides meet.

    Args:
        ours: The joined frame (`Tables.joined`) of each of our runs.
        theirs: The same for the other side.
        spec: The metric.
        group: Keep the rows of this group of `spec.by` only, as the one group they are in.
    """
    frame, values = _planned([*ours, *theirs])
    where = spec.where if group is None else narrowed(spec, group).where
    mine = belongs(frame, where)
    frame, values = frame[mine], [value[mine] for value in values]
    rows = rows_of(frame, msgspec.structs.replace(spec, where={}))
    if group is not None:
        single = np.full(len(rows.value), group, dtype=object)
        rows = rows._replace(tags={**rows.tags, spec.by or "": single})
    units = np.asarray(pd.factorize(frame["unit"])[1], dtype=object)
    return Meeting(tuple(rows._replace(value=value) for value in values), len(ours), spec, units)


def _planned(frames: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, list[Array]]:
    """The first frame's rows that all runs planned, and each run's values."""
    frame = frames[0]
    columns = ["value", *(f"value.{number}" for number in range(1, len(frames)))]
    states = ["aside", *(f"aside.{number}" for number in range(1, len(frames)))]
    frame = frame.assign(aside=_aside(frame))
    for other, *names in zip(frames[1:], columns[1:], states[1:], strict=True):
        column = other[[*_PLACES, "value"]].assign(aside=_aside(other))
        column = column.rename(columns=dict(zip(("value", "aside"), names, strict=True)))
        if frame[_PLACES].equals(column[_PLACES]):  # the same suite: nothing to look for
            frame = frame.assign(**{name: column[name] for name in names})
        else:
            frame = frame.merge(column, on=_PLACES, how="inner", validate="one_to_one")
    skipped = np.column_stack([frame[name].to_numpy() for name in states])
    keep = ~((skipped == _UNREACHED).any(axis=1) | (skipped == _SKIPPED).all(axis=1))
    frame = frame[keep]
    return frame, [frame[name].to_numpy(dtype=np.float64) for name in columns]


_ASKED, _SKIPPED, _UNREACHED = 0, 1, 2


def _aside(frame: pd.DataFrame) -> Array:
    """Whether a run skipped a row, or has not come to grade it."""
    skipped = (frame["status"] == str(Status.SKIPPED)).to_numpy()
    unreached = (frame["skipped"] == NOT_GRADED).to_numpy()
    found: Array = np.select([unreached, skipped], [_UNREACHED, _SKIPPED], _ASKED)
    return found


def pair_up(
    ours: Sequence[pd.DataFrame],
    theirs: Sequence[pd.DataFrame],
    spec: MetricSpec,
    *,
    group: str | None = None,
) -> Pair:
    """Both sides over the outputs that have a value in every run; see `meet`."""
    return meet(ours, theirs, spec, group=group).pair()
