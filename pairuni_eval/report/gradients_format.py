"""The gradient probe's part of summary.json: the records behind it; see `formats`."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from pairuni_eval.report.formats import Bounds, FormatRecord


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
