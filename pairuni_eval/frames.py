"""Runs as pandas frames, for notebooks: a line for each metric, output or score.

Goes in: run folders, complete or not, packed runs, addresses of a suite's baselines
(suite:SUITE/NAME). Comes out: plain data frames whose numbers are those of the report, unscaled as
the metric makes them. What is missing is NaN (None in a column of text) and `status` says why.
Nothing here imports torch.

Every frame begins with `run`, the name of the run: the key where a mapping was given, else the name
in its card, numbered where several have it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pairuni_eval.named_runs import opened
from pairuni_eval.records import Status
from pairuni_eval.stats.metric_lines import metric_lines
from pairuni_eval.stats.tables import Tables, benchmark_metrics
from pairuni_eval.store.read import decode_cell

Place = str | PathLike[str]
Places = Place | Mapping[str, Place] | Iterable[Place]

RUN_COLUMNS = (
    *("run", "checkpoint", "weights", "recipe", "step", "seed", "suite"),
    *("benchmark", "tiny", "partial", "protocol", "metric", "headline", "by", "group"),
    *("value", "low", "high", "clusters", "scored", "expected", "known", "scale", "direction"),
    "status",
)
SAMPLE_COLUMNS = (
    *("run", "benchmark", "capability", "sample", "key", "unit", "draw", "output", "seed"),
    *("question", "answer", "image", "tokens", "status", "reason"),
)
SCORE_COLUMNS = (
    *("run", "benchmark", "protocol", "metric", "sample", "key", "unit", "draw", "output"),
    *("value", "counted", "status", "scorer", "judge", "verdict"),
)


def runs_frame(*runs: Places) -> pd.DataFrame:
    """A line for each metric of each protocol of each run, and for each group of a metric.

    Columns: run, checkpoint, weights, recipe, step, seed, suite; benchmark, tiny, partial,
    protocol, metric, headline; by and group (None over all groups); value with the ends low and
    high of its 95 % interval, clusters (units behind it); scored of expected outputs that have a
    value, and whether expected is that of the complete benchmark (known; for a group it is the
    outputs in the run); scale and direction of the metric. status: "whole", "in part" where scored
    is less than expected, "none" where there is no value.

    Args:
        runs: Paths, or a list of them, or a mapping from names to paths.

    Raises:
        UserError: for what is not a run.
    """
    lines = [line for one in _read(runs) for line in _run_lines(one)]
    return pd.DataFrame(lines, columns=RUN_COLUMNS)


def samples_frame(*runs: Places) -> pd.DataFrame:
    """A line for each output of each run.

    Columns: run, benchmark, capability, sample (uid), key (the dataset's own id), unit, draw,
    output (id), seed; question and answer as text, image (id of the drawn picture), tokens; status:
    "answered", "skipped", "failed" or "refused", and the reason for the last three; tag.NAME for
    each tag.

    Args:
        runs: As for `runs_frame`.

    Raises:
        UserError: for what is not a run.
    """
    return _stacked(SAMPLE_COLUMNS, [part for one in _read(runs) for part in _samples(one)])


def scores_frame(*runs: Places) -> pd.DataFrame:
    """A line for each score of each output under each protocol.

    Columns: run, benchmark, protocol, metric (of the score), sample, key, unit, draw, output; value
    as stored and counted, the value after the protocol's rule for unparsed answers; status of the
    score (scored, unparsed, refused, judge_failed, missing_output, skipped); scorer, judge and
    verdict; tag.NAME for each tag.

    Args:
        runs: As for `runs_frame`.

    Raises:
        UserError: for what is not a run.
    """
    return _stacked(SCORE_COLUMNS, [part for one in _read(runs) for part in _scores(one)])


class _Named(NamedTuple):
    """An opened run and its name in the frame."""

    name: str
    tables: Tables

    @property
    def benchmarks(self) -> Iterable[str]:
        return self.tables.run.card.benchmarks


def _read(runs: Iterable[Places]) -> list[_Named]:
    """The runs in order, each under a name of its own."""
    found: dict[str, _Named] = {}
    for given, place in _places(runs):
        tables = Tables(opened(place))
        first = name = given or tables.run.card.name
        number = 1
        while name in found:
            number += 1
            name = f"{first} ({number})"
        found[name] = _Named(name, tables)
    return list(found.values())


def _places(runs: Iterable[Places]) -> Iterator[tuple[str | None, str | Path]]:
    for one in runs:
        if isinstance(one, str | PathLike):
            yield None, one if isinstance(one, str) else Path(one)
        elif isinstance(one, Mapping):
            yield from ((name, str(place)) for name, place in one.items())
        else:
            yield from _places(one)


def _run_lines(one: _Named) -> Iterator[dict[str, Any]]:
    run, tables = one.tables.run, one.tables
    shared = {"run": one.name, "checkpoint": run.card.checkpoint.name, "seed": run.card.seed}
    shared |= {"weights": run.card.checkpoint.weights, "step": run.card.checkpoint.step}
    shared |= {"recipe": run.card.checkpoint.recipe, "suite": run.card.suite}
    for name, part in run.card.benchmarks.items():
        shared |= {
            "benchmark": name,
            "tiny": tables.card(name).tiny,
            "partial": part.planned < part.expected or run.unfinished,
        }
        default = tables.protocols(name)[0]
        for row in benchmark_metrics(tables, name):
            rule = tables.spec(name, row.protocol)
            first = row.protocol == default and row.spec.name == rule.headline
            for line in metric_lines(row, headline=first):
                whole = line["group"] is None
                yield shared | line | _state(line) | {"known": row.known and whole}


def _state(line: dict[str, Any]) -> dict[str, Any]:
    """NaN for the numbers that there are not, and whether every output has a value."""
    if line["value"] is None:
        status = "none"
    else:
        status = "whole" if line["scored"] >= line["expected"] else "in part"
    numbers = {key: line[key] for key in ("value", "low", "high")}
    return {key: math.nan if n is None else n for key, n in numbers.items()} | {"status": status}


def _outputs(one: _Named, frame: pd.DataFrame) -> pd.DataFrame:
    """What a line about an output begins with, and its tags."""
    same = ("benchmark", "capability", "sample", "key", "unit", "draw", "seed", "tokens")
    tags = [name for name in frame if str(name).startswith("tag.")]
    found = frame[[*same, *tags]].astype(dict.fromkeys(tags, object))
    found = found.assign(run=one.name, output=frame["id"])
    return found.reset_index(drop=True)


def _samples(one: _Named) -> Iterator[pd.DataFrame]:
    for name in one.benchmarks:
        frame = one.tables.outputs(name)
        reasons = {"failed": "error", "skipped": "skipped", "refused": "refused"}
        absent = [frame[column].notna() for column in reasons.values()]
        status = np.select(absent, list(reasons), "answered")
        yield _outputs(one, frame).assign(
            question=_told(frame["request"], "text"),
            answer=_told(frame["parts"], "text"),
            image=_told(frame["parts"], "image"),
            status=status,
            reason=frame["skipped"].fillna(frame["error"]).fillna(frame["refused"]).to_numpy(),
        )


def _told(cells: pd.Series, kind: str) -> npt.NDArray[np.object_]:
    """The texts of each cell of parts, or the id of its picture; None if it has none."""
    held = [[part[kind] for part in decode_cell(cell) if kind in part] for cell in cells]
    return np.array([" ".join(one) if one else None for one in held], dtype=object)


def _scores(one: _Named) -> Iterator[pd.DataFrame]:
    for name in one.benchmarks:
        for protocol in one.tables.graded_under(name):
            for metric in one.tables.score_metrics(name, protocol):
                yield _score_lines(one, name, protocol, metric)


def _score_lines(one: _Named, name: str, protocol: str, metric: str) -> pd.DataFrame:
    frame = one.tables.joined(name, protocol, metric)
    scores = one.tables.run.scores
    mine = scores["protocol"].isin([protocol, f"{name}@{protocol}"]) & (scores["metric"] == metric)
    graders = scores[mine].set_index("output").reindex(frame["id"])
    counted, status = frame["value"].to_numpy(), frame["status"].to_numpy()
    return _outputs(one, frame).assign(
        protocol=protocol,
        metric=metric,
        value=np.where(status == str(Status.SCORED), counted, math.nan),
        counted=counted,
        status=status,
        scorer=graders["scorer"].to_numpy(),
        judge=graders["judge"].to_numpy(),
        verdict=frame["verdict"].to_numpy(),
    )


def _stacked(columns: tuple[str, ...], parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The parts below each other: these columns, then the tags of any of them."""
    tags = dict.fromkeys(name for part in parts for name in part if str(name).startswith("tag."))
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return whole.reindex(columns=[*columns, *tags])
