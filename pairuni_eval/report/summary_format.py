"""The format of summary.json: the records behind it; see `formats`."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType, field

from pairuni_eval.report.formats import Bounds, DifferenceEntry, FamilyEntry, FormatRecord
from pairuni_eval.report.gradients_format import GradientsEntry


class CheckpointEntry(FormatRecord, frozen=True, kw_only=True):
    """The checkpoint that was measured.

    Attributes:
        name: As --checkpoint named it, or its folder.
        adapter: The model plugin.
        weights: Hash of the weights.
        parent: Hash of the weights it was trained from; null where nobody knows.
        step: Training step; null where nobody knows.
    """

    name: str
    adapter: str
    weights: str
    parent: str | None
    step: int | None


class GroupEntry(FormatRecord, frozen=True, kw_only=True):
    """A metric within one group.

    Attributes:
        value: The number; null if the outputs make none.
        interval: Its 95 % interval.
        clusters: Units behind it.
        scored: Outputs that have a value.
        outputs: Outputs of the group in this run.
    """

    value: float | None
    interval: Bounds | None
    clusters: int
    scored: int
    outputs: int


class MetricEntry(FormatRecord, frozen=True, kw_only=True):
    """A number of a protocol.

    Attributes:
        value: The number; null if the outputs make none.
        interval: Its 95 % interval.
        clusters: Units behind it.
        scored: Outputs that have a value.
        expected: Outputs that the metric is about in the complete benchmark, if known; else those
            in this run.
        known: Whether the complete benchmark's outputs are known.
        aggregate: How scores become the number.
        direction: "up", "down" or "none".
        scale: Factor for printing.
        by: The tag of the groups; only where there are groups.
        groups: The same within each group, by name; only where there are groups.
    """

    value: float | None
    interval: Bounds | None
    clusters: int
    scored: int
    expected: int
    known: bool
    aggregate: str
    direction: Literal["up", "down", "none"]
    scale: float
    by: str | UnsetType = UNSET
    groups: dict[str, GroupEntry] | UnsetType = UNSET


class StatusEntry(FormatRecord, frozen=True, kw_only=True):
    """How many outputs have a status.

    Attributes:
        status: scored, unparsed, refused, judge_failed, missing_output or skipped.
        reason: Why, where a reason was stored.
        rows: How many outputs.
    """

    status: str
    reason: str
    rows: int


class ProtocolEntry(FormatRecord, frozen=True, kw_only=True):
    """A benchmark under one protocol.

    Attributes:
        headline: Name of the metric that is printed first.
        metrics: The metrics by name.
        statuses: Outputs by status, the most frequent first.
    """

    headline: str
    metrics: dict[str, MetricEntry]
    statuses: list[StatusEntry]


class NumberEntry(FormatRecord, frozen=True, kw_only=True):
    """A number with its interval.

    Attributes:
        value: The number; null if there is none.
        interval: Its 95 % interval.
        clusters: Units behind it.
    """

    value: float | None
    interval: Bounds | None
    clusters: int


class AgreementEntry(FormatRecord, frozen=True, kw_only=True):
    """How far two judges agree.

    Attributes:
        protocol: Under which protocol.
        metric: The score that both gave.
        asked: Outputs that the second judge was asked about.
        both: Outputs that both gave a value.
        exact: Share of equal values.
        alpha: Krippendorff's alpha by level of measurement.
    """

    protocol: str
    metric: str
    asked: int
    both: int
    exact: NumberEntry
    alpha: dict[str, NumberEntry]


class UsageEntry(FormatRecord, frozen=True, kw_only=True):
    """The account of one judge.

    Attributes:
        questions: Questions put to the judge.
        calls: Responses that this run paid for.
        remembered: Questions answered without a call.
        prompt_tokens: Tokens of the paid questions; null if one was not told.
        completion_tokens: Tokens of the paid replies; null if one was not told.
        cost: Money for the paid replies; null if one is not known.
        troubles: Questions without a usable reply, by reason.
        open: Questions that the same command would ask again.
        served: Names under which the endpoint answered.
    """

    questions: int
    calls: int
    remembered: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None
    troubles: dict[str, int]
    open: int
    served: list[str]


class JudgingEntry(FormatRecord, frozen=True, kw_only=True):
    """Who judged a benchmark.

    Attributes:
        judge: The judge of the run; null if none was asked.
        differs_from_card: The judge that the card prescribes, where another one judged.
        named_in_scores: Further judges that the scores name.
        second_judge: The second judge; null if there is none.
        usage: What each judge was asked and what it cost, by judge.
        agreement: How far both agree.
    """

    judge: str | None
    differs_from_card: str | None
    named_in_scores: list[str]
    second_judge: str | None
    usage: dict[str, UsageEntry]
    agreement: list[AgreementEntry]


class FigureEntry(FormatRecord, frozen=True, kw_only=True):
    """A number that another toolkit computed over the whole run.

    Attributes:
        protocol: Name of the protocol.
        metric: The toolkit's name of the metric.
        value: In the toolkit's own scale; null if it could not be computed.
        rows: Outputs behind it.
        source: The toolkit and its version.
        note: What is to be said about it.
    """

    protocol: str
    metric: str
    value: float | None
    rows: int
    source: str
    note: str | None


class BenchmarkEntry(FormatRecord, frozen=True, kw_only=True):
    """A benchmark of the run.

    Attributes:
        title: As people call it.
        version: Version of the benchmark.
        capability: understand, generate or edit.
        tiny: Whether its numbers are tiny.
        partial: Whether the run has not all of it.
        planned: Samples of this run.
        expected: Samples of the complete benchmark.
        revision: Revision of the data.
        judge: The judge; null if none was asked.
        default_protocol: The protocol that is printed first.
        protocols: What each protocol says, by name.
        alike: What all outputs have in common, where they are one and the same.
        judging: Who judged; only where a judge is asked.
        figures: What other toolkits computed; only where there is any.
    """

    title: str
    version: str
    capability: str
    tiny: bool
    partial: bool
    planned: int
    expected: int
    revision: str
    judge: str | None
    default_protocol: str
    protocols: dict[str, ProtocolEntry]
    alike: str | UnsetType = UNSET
    judging: JudgingEntry | UnsetType = UNSET
    figures: list[FigureEntry] | UnsetType = UNSET


class BaselineEntry(FormatRecord, frozen=True, kw_only=True):
    """A baseline beside the run.

    Attributes:
        checkpoint: Name of its checkpoint.
        weights: Hash of its weights.
        sentence: What the headlines say.
        same_weights: Whether both sides are the same weights.
        scope: What the verdicts hold for, where it is less than the arm.
        family: The tests that were corrected together, those of all baselines.
        differences: Every metric that both have.
        groups: The groups of every headline.
        refusals: What could not be compared and why, in sentences.
    """

    checkpoint: str
    weights: str
    sentence: str
    same_weights: bool
    scope: str | None
    family: FamilyEntry
    differences: list[DifferenceEntry]
    groups: list[DifferenceEntry]
    refusals: list[str]


class LeakEntry(FormatRecord, frozen=True, kw_only=True):
    """What a pair set shares with a benchmark.

    Attributes:
        units: Units of the benchmark in this run.
        flagged: Units that the set has shown.
        by: Flagged items by how they were found: image, text or neighbor.
        unseen: Items whose image could not be looked at.
        unsought: Items whose image no encoder has looked at.
        with: The headline over all units.
        without: The headline without the flagged units; null if none is left.
        sentence: The finding in words.
    """

    units: int
    flagged: int
    by: dict[str, int]
    unseen: int
    unsought: int
    with_: float | None = field(name="with")
    without: float | None
    sentence: str


class ContaminationEntry(FormatRecord, frozen=True, kw_only=True):
    """What the pair set of the training has shown of the tests.

    Attributes:
        pairs: Pairs in the set.
        encoder: Whose features found neighbors; null where no encoder has looked.
        benchmarks: By benchmark.
    """

    pairs: int
    encoder: str | None
    benchmarks: dict[str, LeakEntry]


class PartialRunEntry(FormatRecord, frozen=True, kw_only=True):
    """A run that has not all samples of the benchmarks of the page.

    Attributes:
        name: "this run", or what the page calls it.
        planned: Samples that it was asked for.
        expected: Samples of the whole benchmarks.
        unfinished: Whether it has not ended.
    """

    name: str
    planned: int
    expected: int
    unfinished: bool


class SummaryFile(FormatRecord, frozen=True, kw_only=True):
    """What summary.json holds: the numbers of a report.

    Attributes:
        format: Name and number of the format.
        name: The run's name.
        partial: Whether any run that the page rests on is not whole: this one, a sibling, a
            baseline.
        partial_runs: Which runs those are.
        suite: The suite; null if benchmarks were named.
        seed: Seed of every random draw.
        code: Version of the package that measured.
        protocol_hash: Hash of everything but the checkpoint that can move a number.
        checkpoint: What was measured.
        benchmarks: By benchmark.
        baselines: By the name of the baseline.
        left_out_of_eval_results: Benchmarks that eval_results.yaml does not hold, and why.
        missing_pictures: Pictures that the run lacks; only where there are any.
        changed_pictures: Pictures that are not what was stored; only where there are any.
        gradients: The gradient probe; only where training left one.
        contamination: What a pair set has shown; only where one was looked through.
    """

    format: Literal["pairuni-summary/3"]
    name: str
    partial: bool
    partial_runs: list[PartialRunEntry]
    suite: str | None
    seed: int
    code: str
    protocol_hash: str
    checkpoint: CheckpointEntry
    benchmarks: dict[str, BenchmarkEntry]
    baselines: dict[str, BaselineEntry]
    left_out_of_eval_results: dict[str, str]
    missing_pictures: int | UnsetType = UNSET
    changed_pictures: int | UnsetType = UNSET
    gradients: GradientsEntry | UnsetType = UNSET
    contamination: ContaminationEntry | UnsetType = UNSET
