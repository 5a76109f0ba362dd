"""The outputs that a run planned, those whose rows are lost among them.

A run that ended has a row for every draw of every sample that it planned, also for an output that
failed. Where some are gone, nobody knows what they were: they are missing, like an output without
a value. What an unfinished run has no row for, it has not reached.
"""

from __future__ import annotations

import pandas as pd

from pairuni_eval.records import Status
from pairuni_eval.stats.tables import Tables


def planned_frame(run: Tables, benchmark: str, protocol: str, of: str) -> pd.DataFrame:
    """`Tables.joined`, with a row without a value for every output that is lost.

    The column `sample` is what outputs of two runs meet by; see `Card.meet_by`.
    """
    frame = _whole_frame(run, benchmark, protocol, of)
    if run.card(benchmark).meet_by == "key":
        return frame.assign(sample=frame["key"])
    return frame


def _whole_frame(run: Tables, benchmark: str, protocol: str, of: str) -> pd.DataFrame:
    frame = run.joined(benchmark, protocol, of)
    draws, part = run.card(benchmark).draws, run.run.card.benchmarks[benchmark]
    if run.run.unfinished or len(frame) >= part.planned * draws:
        return frame
    wanted = run.samples(benchmark).merge(pd.DataFrame({"draw": range(draws)}), how="cross")
    there = pd.MultiIndex.from_frame(frame[["sample", "draw"]])
    lost = wanted[~pd.MultiIndex.from_frame(wanted[["uid", "draw"]]).isin(there)]
    if lost.empty:
        return frame
    rows = lost.assign(sample=lost["uid"], status=str(Status.MISSING_OUTPUT))
    return pd.concat([frame, rows], ignore_index=True)


def lost_samples(run: Tables, benchmark: str) -> int:
    """How many samples a run that ended planned and does not hold."""
    if run.run.unfinished:
        return 0
    held = int((run.run.samples["benchmark"] == benchmark).sum())
    return max(0, run.run.card.benchmarks[benchmark].planned - held)
