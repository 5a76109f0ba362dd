"""What summary.json holds: the records behind it; see `formats`."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType, field

from pairuni_eval.report.formats import Bounds, DifferenceEntry, FamilyEntry, FormatRecord


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
        scope: What the verdicts hold for, where it is less than the recipe.
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


class BatchNumber(FormatRecord, frozen=True, kw_only=True):
    """A number over batches of gradients.

    Attributes:
        value: The number; null if the batches make none.
        interval: Its 95 % interval.
        note: Why a value or an interval is missing.
    """

    value: float | None
    interval: Bounds | None
    note: str | None


class BlockEntry(FormatRecord, frozen=True, kw_only=True):
    """Two tasks' gradients in one block of parameters.

    Attributes:
        batches: Batches with a cosine.
        cosine: Median cosine.
        ratio: Geometric mean of the ratio of both lengths.
        similarity: Median gradient magnitude similarity.
        conflict: Share of batches with a cosine below 0.
        ceiling: The highest cosine that noise leaves.
        corrected: The cosine divided by the ceiling.
    """

    batches: int
    cosine: BatchNumber
    ratio: BatchNumber
    similarity: BatchNumber
    conflict: BatchNumber
    ceiling: BatchNumber
    corrected: BatchNumber


class ArmEntry(FormatRecord, frozen=True, kw_only=True):
    """The gradients of one arm.

    Attributes:
        name: The arm.
        preconditioned: Whether both gradients were divided by Adam's root mean square first.
        all: Every shared parameter together.
        blocks: By block of parameters.
    """

    name: str
    preconditioned: bool
    all: BlockEntry
    blocks: dict[str, BlockEntry]


class MeanEntry(FormatRecord, frozen=True, kw_only=True):
    """A mean over batches in one block.

    Attributes:
        mean: The mean.
        p_corrected: p of "it is 0", corrected over the blocks.
        batches: Batches behind it.
    """

    mean: BatchNumber
    p_corrected: float | None
    batches: int


class LeftOutEntry(FormatRecord, frozen=True, kw_only=True):
    """Batches that a contrast does not use.

    Attributes:
        ours: Of our arm, without a counterpart.
        theirs: Of the other.
        silent: In which a task had no gradient.
    """

    ours: int
    theirs: int
    silent: int


class ContrastEntry(FormatRecord, frozen=True, kw_only=True):
    """The gradients of two arms.

    Attributes:
        ours: Our arm.
        theirs: The other.
        difference: Difference of the cosines.
        p: p of "no difference" by itself.
        p_holm: p corrected over the contrasts.
        batches: Batches that were compared.
        left_out: Batches that were not.
        word: What may be said.
        blocks: The difference by block of parameters.
        sentence: The verdict in words.
    """

    ours: str
    theirs: str
    difference: BatchNumber
    p: float | None
    p_holm: float | None
    batches: int
    left_out: LeftOutEntry | UnsetType = UNSET
    word: str | UnsetType = UNSET
    blocks: dict[str, MeanEntry] | UnsetType = UNSET
    sentence: str


class AlignmentEntry(FormatRecord, frozen=True, kw_only=True):
    """Whether the two tasks of an arm agree, over all blocks and batches.

    Attributes:
        arm: The arm.
        stance: What may be said.
        p_holm: p of "no cosine differs from 0", corrected over the arms.
        batches: Batches that were used.
        silent: Batches in which a task had no gradient.
        blocks: The mean cosine by block of parameters.
        sentence: The verdict in words.
    """

    arm: str
    stance: str
    p_holm: float | None
    batches: int
    silent: int
    blocks: dict[str, MeanEntry]
    sentence: str


class GradientsEntry(FormatRecord, frozen=True, kw_only=True):
    """What the gradient probe of training says.

    Attributes:
        answer: In one sentence.
        arms: Every arm, raw and preconditioned.
        contrasts: The arms against each other.
        alignments: Whether the tasks of each arm agree.
    """

    answer: str
    arms: list[ArmEntry]
    contrasts: list[ContrastEntry]
    alignments: list[AlignmentEntry] | UnsetType = UNSET


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


class SummaryFile(FormatRecord, frozen=True, kw_only=True):
    """What summary.json holds: the numbers of a report.

    Attributes:
        format: Name and number of the format.
        name: The run's name.
        partial: Whether some benchmark is not here whole.
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

    format: Literal["pairuni-summary/2"]
    name: str
    partial: bool
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
