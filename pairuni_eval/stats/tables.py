"""Tables of one run: the graded outputs, and one row for every metric of every protocol.

Goes in: a finished run. Comes out: the joined frame of one (benchmark, protocol, score metric) with
each value after the protocol's rule for unparsed answers, and from it numbers with interval, count
and coverage. Missing is not zero: a row without a value stays in the frame and counts against
coverage, and its status and reason are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from pairuni_eval.cards import Card, MetricSpec, ProtocolSpec
from pairuni_eval.records import Status
from pairuni_eval.seeds import seed_for
from pairuni_eval.stats.aggregate import (
    Aggregate,
    Codes,
    GradedRows,
    Pooled,
    groups_of,
    make_aggregate,
    membership,
    rows_within,
)
from pairuni_eval.stats.intervals import Estimate, estimate
from pairuni_eval.store.read import StoredRun, decode_cell
from pairuni_eval.thought_tags import OPENING, carries_tags

_TAG = "tag."  # prefix of the tag columns of a frame
_MOST = re.compile(r"(?P<name>.+), of (?P<most>\d+)")  # the title of a total


class StatusCount(NamedTuple):
    """How many rows have a status, and why."""

    status: str
    reason: str
    rows: int


class GroupRow(NamedTuple):
    """A metric within one group: `scored` of `total` rows have a value."""

    name: str
    estimate: Estimate
    scored: int
    total: int


class MetricRow(NamedTuple):
    """One number of a run with all that must stand beside it.

    Attributes:
        spec: The metric, with the title of what was measured; see `as_measured`.
        scored: Rows that have a value.
        expected: Outputs that the metric is about in the complete benchmark, if `known`; else those
            in this run.
        groups: The same metric within each group of `spec.by`.
        known: Whether the complete benchmark's outputs are known.
    """

    benchmark: str
    protocol: str
    spec: MetricSpec
    estimate: Estimate
    scored: int
    expected: int
    groups: tuple[GroupRow, ...]
    known: bool = True

    @property
    def coverage(self) -> float:
        """Share of the expected outputs that have a value, from 0 to 1."""
        return self.scored / self.expected if self.expected else 0.0

    @property
    def covered(self) -> str:
        """E.g. "17/160", or "17/17 in this run" where nobody knows of how many in all."""
        return f"{self.scored}/{self.expected}{'' if self.known else ' in this run'}"


class Graders(NamedTuple):
    """Who gave the values of a score metric: scorers with versions, and judges."""

    scorers: frozenset[str]
    judges: frozenset[str]


class Tagged(NamedTuple):
    """`outputs` of `total` outputs carry think or answer tags."""

    outputs: int
    total: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.outputs / self.total if self.total else 0.0


class Flip(NamedTuple):
    """An output that two protocols grade differently; a value is None where it has none."""

    output: str
    sample: str
    first: float | None
    second: float | None


def bare(protocol: str) -> str:
    """The protocol's name in its card: "official" for "pope@official"."""
    return protocol.rpartition("@")[2]


class Tables:
    """A run's tables, each made once.

    Args:
        run: A finished run.
    """

    def __init__(self, run: StoredRun) -> None:
        self.run = run
        self._outputs: dict[str, pd.DataFrame] = {}
        self._joined: dict[tuple[str, str, str], pd.DataFrame] = {}
        self._rows: dict[tuple[str, str, str], GradedRows] = {}
        self._graders: dict[tuple[str, str, str], Graders] = {}
        self._tagged: dict[str, Tagged] = {}

    def card(self, benchmark: str) -> Card:
        """The benchmark's card as the run stored it."""
        return self.run.cards[benchmark]

    def graded_under(self, benchmark: str) -> tuple[str, ...]:
        """The names of the protocols that graded a benchmark, default first."""
        return tuple(bare(name) for name in self.run.card.benchmarks[benchmark].protocols)

    def protocols(self, benchmark: str) -> tuple[str, ...]:
        """Those of `graded_under` that have something of their own to say, default first.

        A protocol that reads final answers is about models that think aloud: where no answer
        carries tags it would say almost what its rule says, and count twice where a report corrects
        for how much it looks at.
        """
        first, *others = self.graded_under(benchmark)
        return (first, *(name for name in others if self._speaks(benchmark, name)))

    def _speaks(self, benchmark: str, protocol: str) -> bool:
        return (
            self.spec(benchmark, protocol).final_answer is None
            or self.tagged(benchmark).outputs > 0
        )

    def tagged(self, benchmark: str) -> Tagged:
        """How many answers of a benchmark carry think or answer tags."""
        if benchmark not in self._tagged:
            frame = self.outputs(benchmark)
            texts = frame.loc[given(frame), "parts"]
            likely = texts[texts.str.contains(OPENING)]  # a tenth of the time of looking at all
            held = sum(map(carries_tags, likely.to_numpy(dtype=object)))
            self._tagged[benchmark] = Tagged(held, len(texts))
        return self._tagged[benchmark]

    def spec(self, benchmark: str, protocol: str) -> ProtocolSpec:
        """The protocol as the card has it."""
        return self.card(benchmark).protocols[protocol]

    def samples(self, benchmark: str) -> pd.DataFrame:
        """One row per sample, with its tags as columns `tag.NAME`, which are categorical."""
        samples = self.run.samples
        mine = samples[samples["benchmark"] == benchmark].reset_index(drop=True)
        codes, cells = pd.factorize(mine["tags"])  # few samples have tags of their own
        different = pd.DataFrame([decode_cell(cell) for cell in cells], dtype=object).fillna("")
        tags = different.astype("category").add_prefix(_TAG).take(codes)
        tags.index = mine.index
        mine = pd.concat([mine, tags], axis=1)
        return mine.rename(columns={"parts": "request"})

    def outputs(self, benchmark: str) -> pd.DataFrame:
        """One row per output with its sample: sample columns, output columns, `tag.NAME`."""
        if benchmark not in self._outputs:
            self._outputs[benchmark] = self.samples(benchmark).merge(
                self.run.outputs, left_on="uid", right_on="sample", how="inner"
            )
        return self._outputs[benchmark]

    def score_metrics(self, benchmark: str, protocol: str) -> tuple[str, ...]:
        """The score metrics that were stored under a protocol."""
        known = sorted({of for _, of in self._score_places})
        return tuple(of for of in known if len(self._scored(benchmark, protocol, of)))

    def joined(self, benchmark: str, protocol: str, of: str) -> pd.DataFrame:
        """`outputs` plus value (NaN: none), status and verdict of one score metric."""
        key = (benchmark, protocol, of)
        if key not in self._joined:
            mine = self._graded_columns.take(self._scored(*key))
            outputs = self.outputs(benchmark)
            # As a left merge, which would copy every text of the outputs; refuses a second score.
            graded = mine.set_index("output").reindex(outputs["id"]).set_index(outputs.index)
            graded["status"] = graded["status"].fillna(_ungraded(outputs))
            graded["value"] = _counted(graded, self.spec(benchmark, protocol))
            self._joined[key] = outputs.assign(**{str(name): graded[name] for name in graded})
        return self._joined[key]

    def graders(self, benchmark: str, protocol: str, of: str) -> Graders:
        """Who gave the values of one score metric; rows without a value count for nothing."""
        key = (benchmark, protocol, of)
        if key not in self._graders:
            mine = self.run.scores[["value", "scorer", "judge"]].take(self._scored(*key))
            valued = mine[mine["value"].notna()]
            columns = (valued[name].dropna() for name in ("scorer", "judge"))
            self._graders[key] = Graders(*(frozenset(column.unique()) for column in columns))
        return self._graders[key]

    def rows(self, benchmark: str, protocol: str, spec: MetricSpec) -> GradedRows:
        """The rows that a metric is made of."""
        key = (benchmark, protocol, spec.of)
        if key not in self._rows:
            self._rows[key] = all_rows(self.joined(*key))
        return rows_within(self._rows[key], spec.where)

    def verdict_metric(self, benchmark: str, protocol: str) -> str:
        """The score metric that says whether an output is right: "correct" where there is one."""
        spec = self.spec(benchmark, protocol)
        known = self.score_metrics(benchmark, protocol)
        return "correct" if "correct" in known else spec.metric(spec.headline).of

    @cached_property
    def _graded_columns(self) -> pd.DataFrame:
        """What an output gets from its score."""
        return self.run.scores[["output", "value", "status", "verdict"]]

    @cached_property
    def _score_places(self) -> Mapping[tuple[str, str], Codes]:
        """Where the rows of each protocol, by the name it has there, and metric are scored."""
        found: Any = self.run.scores.groupby(["protocol", "metric"]).indices
        places: dict[tuple[str, str], Codes] = found
        return places

    def _scored(self, benchmark: str, protocol: str, of: str) -> Codes:
        """Where the rows of one score metric stand in the table of scores."""
        nowhere = np.empty(0, dtype=np.int64)
        named = self._score_places.get((f"{benchmark}@{protocol}", of), nowhere)
        bare_name = self._score_places.get((protocol, of), nowhere)
        if not len(bare_name):
            return named
        outputs = self.run.scores["output"].take(bare_name)  # may belong to any benchmark
        return np.concatenate([named, bare_name[outputs.isin(self.outputs(benchmark)["id"])]])


def _ungraded(frame: pd.DataFrame) -> pd.Series:
    """The status of outputs that have no score row."""
    skipped, refused = frame["skipped"].notna(), frame["refused"].notna()
    known = [str(Status.SKIPPED), str(Status.REFUSED)]
    words = np.select([skipped, refused], known, str(Status.MISSING_OUTPUT))
    return pd.Series(words, index=frame.index)


def given(frame: pd.DataFrame) -> pd.Series:
    """Which rows of a frame of outputs hold what a model gave."""
    return frame["error"].isna() & frame["skipped"].isna() & frame["refused"].isna()


def _counted(graded: pd.DataFrame, spec: ProtocolSpec) -> pd.Series:
    """The value of each row under the protocol's rule for unparsed answers."""
    status = graded["status"]
    value = graded["value"].astype("float64").where(status == str(Status.SCORED))
    if spec.unparsed == "wrong":
        value = value.mask(status == str(Status.UNPARSED), 0.0)
    return value


def all_rows(frame: pd.DataFrame) -> GradedRows:
    """The rows of a joined frame, as columns for an aggregate."""
    units: Codes = pd.factorize(frame["unit"])[0].astype(np.int64)
    named = [name for name in frame.columns if name.startswith(_TAG)]
    tags = {name.removeprefix(_TAG): pd.Categorical(frame[name]) for name in named}
    draws = frame["draw"].to_numpy(dtype=np.int64)
    return GradedRows(frame["value"].to_numpy(dtype=np.float64), units, draws, tags)


def _count(rows: GradedRows) -> int:
    return int(np.isfinite(rows.value).sum())


class _Expected(NamedTuple):
    """How many outputs a metric is about; those in the run where the benchmark's are not known."""

    outputs: int
    known: bool


def _expected(tables: Tables, benchmark: str, spec: MetricSpec, rows: GradedRows) -> _Expected:
    run, card = tables.run.card.benchmarks[benchmark], tables.card(benchmark)
    if not spec.where:
        return _Expected(run.expected * card.draws, known=True)
    counts = [card.counted.get(tag, {}).get(group) for tag, group in spec.where.items()]
    if len(counts) == 1 and counts[0] is not None and run.expected == card.expected:
        return _Expected(counts[0] * card.draws, known=True)
    whole = run.planned >= run.expected and not tables.run.unfinished
    return _Expected(len(rows.value), known=whole)


def as_measured(
    spec: MetricSpec,
    aggregate: Aggregate,
    rows: GradedRows,
    counted: Mapping[str, Mapping[str, int]] | None = None,
) -> MetricSpec:
    """A metric with the title of what was measured, where that is a part of its groups.

    A mean over one of six groups is "mean of the six tasks, 1 of 6 groups". The most that a total
    can be follows its groups: "perception, of 800" over one of its four tasks is "perception, of
    200, 1 of 4 tasks".

    Args:
        spec: The metric as the card has it.
        aggregate: What makes the number of the rows.
        rows: Its rows, those without a value as well.
        counted: The card's samples by tag and group; see `Card.counted`.
    """
    stated, bounds = _MOST.fullmatch(spec.title or ""), aggregate.bounds(rows)
    if not aggregate.groups:
        return spec
    if stated is None or bounds is None:
        return _of_groups(spec, aggregate, rows, counted or {})
    whole, most = float(stated["most"]), bounds.high * spec.scale
    if most >= whole:
        return spec
    held = len(aggregate.groups)
    parts = f"{held} of {round(held * whole / most)} tasks"
    return msgspec.structs.replace(spec, title=f"{stated['name']}, of {most:g}, {parts}")


def _of_groups(
    spec: MetricSpec,
    aggregate: Aggregate,
    rows: GradedRows,
    counted: Mapping[str, Mapping[str, int]],
) -> MetricSpec:
    """A mean over groups with how many of them it is over, where that is not all."""
    if spec.by is None or isinstance(aggregate, Pooled):
        return spec
    known = {*spec.weights, *groups_of(rows._replace(value=np.zeros(len(rows.value))), spec.by)}
    if not spec.where:
        known |= counted.get(spec.by, {}).keys()
    held, most = len(aggregate.groups), len(known)
    if held >= most:
        return spec
    title = f"{spec.title or spec.name}, {held} of {most} groups"
    return msgspec.structs.replace(spec, title=title)


def metric_row(
    tables: Tables, benchmark: str, protocol: str, spec: MetricSpec, *, grouped: bool = True
) -> MetricRow:
    """One metric of one protocol, with its groups unless they are not wanted."""
    rows = tables.rows(benchmark, protocol, spec)
    aggregate = make_aggregate(spec, rows)
    expected = _expected(tables, benchmark, spec, rows)
    return MetricRow(
        benchmark=benchmark,
        protocol=protocol,
        spec=as_measured(spec, aggregate, rows, tables.card(benchmark).counted),
        estimate=estimate(aggregate, rows),
        scored=_count(rows),
        expected=expected.outputs,
        groups=_group_rows(spec, rows) if grouped else (),
        known=expected.known,
    )


def draw_seed(tables: Tables) -> int:
    """The seed of the bootstrap; the same for all numbers of a run, which share their draws."""
    return seed_for(tables.run.card.seed, "every number", 0, "bootstrap")


def _group_rows(spec: MetricSpec, rows: GradedRows) -> tuple[GroupRow, ...]:
    if spec.by is None:
        return ()
    everything = rows._replace(value=np.zeros(len(rows.value)))  # groups without a value as well
    names = groups_of(everything, spec.by)
    found = []
    for name, member in zip(names, membership(rows, spec.by, names).T, strict=True):
        part = rows.take(member)
        single = part.in_one_group(spec.by, name)
        number = estimate(make_aggregate(spec, single), single)
        found.append(GroupRow(name, number, _count(part), len(part.value)))
    return tuple(found)


def protocol_metrics(tables: Tables, benchmark: str, protocol: str) -> tuple[MetricRow, ...]:
    """Every metric of a protocol of a benchmark, the headline first."""
    rule = tables.spec(benchmark, protocol)
    ordered = sorted(rule.metrics, key=lambda spec: spec.name != rule.headline)
    return tuple(metric_row(tables, benchmark, protocol, spec) for spec in ordered)


def benchmark_metrics(tables: Tables, benchmark: str) -> tuple[MetricRow, ...]:
    """Every metric of every protocol of a benchmark, the headline of each protocol first."""
    return tuple(
        row
        for protocol in tables.protocols(benchmark)
        for row in protocol_metrics(tables, benchmark, protocol)
    )


def status_counts(tables: Tables, benchmark: str, protocol: str) -> tuple[StatusCount, ...]:
    """Rows by status and reason for the score metric of the headline; most frequent first."""
    rule = tables.spec(benchmark, protocol)
    frame = tables.joined(benchmark, protocol, rule.metric(rule.headline).of)
    reasons = frame["skipped"].fillna(frame["error"]).fillna(frame["refused"])
    ungraded = frame["status"].isin([str(Status.SKIPPED), str(Status.MISSING_OUTPUT)])
    reasons = reasons.fillna(frame["verdict"].where(ungraded)).fillna("")
    cells = (column.to_numpy(dtype=object) for column in (frame["status"], reasons))
    counted = Counter(zip(*cells, strict=True))
    rows = [StatusCount(status, reason, n) for (status, reason), n in counted.items()]
    return tuple(sorted(rows, key=lambda row: (-row.rows, row.status, row.reason)))


def flips(tables: Tables, benchmark: str, first: str, second: str) -> tuple[Flip, ...]:
    """The outputs that two protocols grade differently, in the run's order.

    What one of them skipped (its detector is not there) was not graded and cannot flip.
    """
    both = _side_by_side(tables, benchmark, first, second)
    one, two = both["value"].to_numpy(), both["second"].to_numpy()
    differ = np.flatnonzero(~((one == two) | (np.isnan(one) & np.isnan(two))))
    return tuple(
        Flip(both["id"].iloc[i], both["sample"].iloc[i], _known(one[i]), _known(two[i]))
        for i in differ
    )


def compared(tables: Tables, benchmark: str, first: str, second: str) -> int:
    """How many outputs neither of two protocols skipped."""
    return len(_side_by_side(tables, benchmark, first, second))


def _side_by_side(tables: Tables, benchmark: str, first: str, second: str) -> pd.DataFrame:
    """`joined` of the first protocol with the second one's value as `second`, skipped rows out."""
    metric = tables.verdict_metric(benchmark, first)
    left = tables.joined(benchmark, first, metric)
    if metric not in tables.score_metrics(benchmark, second):
        return left.iloc[:0].assign(second=np.nan)
    right = tables.joined(benchmark, second, metric)
    skipped = (left["status"] == str(Status.SKIPPED)) | (right["status"] == str(Status.SKIPPED))
    return left.assign(second=right["value"])[~skipped]


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
