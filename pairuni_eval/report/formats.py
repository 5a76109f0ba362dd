"""Formats of files for other programs: the records of `compare --json` and differences.csv.

A format's number rises when a field is added, goes, or changes its meaning; docs/formats.md says
what changed. A field that may be absent stands only where it has something to say. Values are
unscaled, as the metric makes them; intervals are [low, high]. The JSON Schemas are made from these
records and their docstrings; see `schema`.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

SUMMARY = "pairuni-summary/3"
COMPARISON = "pairuni-comparison/3"
DIFFERENCES = "pairuni-differences/3"

Bounds = tuple[float, float]
Word = Literal["better", "worse", "tied", "cannot tell"]


class FormatRecord(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A JSON object with these fields and no others."""


class UnitsEntry(FormatRecord, frozen=True, kw_only=True):
    """How many units each side wins.

    Attributes:
        won: Units that are better on our side.
        lost: Units that are better on the other.
        level: Units on which neither side wins.
    """

    won: int
    lost: int
    level: int


class CountsEntry(FormatRecord, frozen=True, kw_only=True):
    """Right outputs, where every output is right or wrong.

    Attributes:
        ours: Right outputs on our side.
        theirs: Right outputs on the other.
        of: Shared outputs.
    """

    ours: int
    theirs: int
    of: int


class DecidingEntry(FormatRecord, frozen=True, kw_only=True):
    """What would decide a difference about which nothing can be told.

    Attributes:
        target: The difference that should be found.
        units: Units that would find it in 4 of 5 repetitions.
        available: Units of the whole benchmark, or group, estimated where no run has all of it;
            null where nobody knows.
        seeds: Training seeds an arm, where it is seeds that are lacking; null elsewhere.
        sentence: The same in words.
    """

    target: float
    units: int
    available: int | None
    seeds: int | None
    sentence: str


class DifferenceEntry(FormatRecord, frozen=True, kw_only=True):
    """A metric, or a group of a headline, on both sides.

    Attributes:
        benchmark: Name of the benchmark.
        protocol: Name of the protocol in the benchmark's card.
        metric: Name of the metric in the protocol.
        by: The tag that the group is one of; only for groups.
        group: Name of the group; only for groups.
        headline: Whether it is the first metric of the default protocol, over all groups.
        ours: The number on our shared outputs; null if they make none.
        theirs: The same for the other side.
        difference: ours - theirs.
        interval: 95 % interval of the difference by itself.
        joint: The simultaneous interval that belongs to p_holm and stands beside the word.
        equivalence: The interval of the test for a tie, which belongs to p_tied and stands beside
            the word where that is "tied"; null elsewhere, and where both sides are one.
        p: Two-sided p of "no difference" by itself.
        p_holm: p corrected for everything that is looked at together.
        test: Which test p comes from; null if none was made.
        margin: The largest difference that counts as none.
        p_tied: p of "the difference is at least the margin", whatever missing outputs may be.
        detectable: The difference that would be found in 4 of 5 repetitions, at the level that
            the correction leaves to this test.
        word: What may be said.
        sentence: The verdict in words.
        reason: Why no test was made; null if one was.
        why: Why nothing can be told although something might have been said.
        partial: Whether some run of either side has not all of the benchmark.
        part: What was compared, where that is less than what one of the runs has, in words.
        shared: Outputs that have a value on both sides.
        planned: Outputs that both sides planned.
        ends: The difference at both ends of what missing outputs may be worth; null if none is
            missing, or if the range of their values is not known.
        deciding: What would decide it; null where something is told or nothing more would help.
        seeds: Runs on our side and on the other.
        clusters: Units that the shared outputs belong to.
        units: How many units each side wins; null for a metric without a direction.
        counts: Right outputs; null where outputs are not right or wrong.
        same_settings: Whether decoding, judge and data revision agree, and the seed where outputs
            are drawn.
    """

    benchmark: str
    protocol: str
    metric: str
    by: str | UnsetType = UNSET
    group: str | UnsetType = UNSET
    headline: bool
    ours: float | None
    theirs: float | None
    difference: float | None
    interval: Bounds | None
    joint: Bounds | None
    equivalence: Bounds | None
    p: float | None
    p_holm: float | None
    test: str | None
    margin: float | None
    p_tied: float | None
    detectable: float | None
    word: Word
    sentence: str
    reason: str | None
    why: str | None
    partial: bool
    part: str | None
    shared: int
    planned: int
    ends: Bounds | None
    deciding: DecidingEntry | None
    seeds: tuple[int, int]
    clusters: int
    units: UnitsEntry | None
    counts: CountsEntry | None
    same_settings: bool


class DifferenceRow(FormatRecord, frozen=True, kw_only=True):
    """A line of differences.csv: empty cells are null, yes and no are true and false.

    Attributes:
        baseline: The other side, as the report names it.
        benchmark: Name of the benchmark.
        tiny: Whether the number is one of the tiny world or the tiny weights.
        partial: Whether some run of either side has not all of the benchmark.
        part: What was compared, where that is less than what one of the runs has, in words.
        protocol: Name of the protocol in the benchmark's card.
        metric: Name of the metric in the protocol.
        headline: Whether it is the first metric of the default protocol, over all groups.
        by: The tag that the group is one of; empty for a metric over all groups.
        group: Name of the group; empty for a metric over all groups.
        ours: The number on our shared outputs.
        theirs: The same for the other side.
        difference: ours - theirs.
        word: What may be said.
        joint_low: Lower end of the simultaneous interval, which belongs to p_holm and the word.
        joint_high: Upper end of the simultaneous interval.
        equivalence_low: Lower end of the interval of the test for a tie, which belongs to p_tied.
        equivalence_high: Upper end of the interval of the test for a tie.
        p_holm: p corrected for everything that is looked at together.
        low: Lower end of the 95 % interval of the difference by itself.
        high: Upper end of the 95 % interval.
        p: Two-sided p of "no difference" by itself.
        p_tied: p of "the difference is at least the margin", whatever missing outputs may be.
        detectable: The difference that would be found in 4 of 5 repetitions, at the level that
            the correction leaves to this test.
        ends_low: The lowest difference that the missing outputs allow.
        ends_high: The highest difference that the missing outputs allow.
        shared: Outputs that have a value on both sides.
        planned: Outputs that both sides planned.
        clusters: Units that the shared outputs belong to.
        seeds_ours: Runs on our side.
        seeds_theirs: Runs on the other.
        deciding_target: The difference that should be found, where nothing can be told.
        deciding_units: Units that would find it in 4 of 5 repetitions.
        deciding_available: Units of the whole benchmark, or group.
        deciding_seeds: Training seeds an arm, where it is seeds that are lacking.
        same_settings: Whether decoding, judge and data revision agree, and the seed where outputs
            are drawn.
        why: Why no test was made, or why nothing can be told.
    """

    baseline: str
    benchmark: str
    tiny: bool
    partial: bool
    part: str | None
    protocol: str
    metric: str
    headline: bool
    by: str | None
    group: str | None
    ours: float | None
    theirs: float | None
    difference: float | None
    word: Word
    joint_low: float | None
    joint_high: float | None
    equivalence_low: float | None
    equivalence_high: float | None
    p_holm: float | None
    low: float | None
    high: float | None
    p: float | None
    p_tied: float | None
    detectable: float | None
    ends_low: float | None
    ends_high: float | None
    shared: int
    planned: int
    clusters: int
    seeds_ours: int
    seeds_theirs: int
    deciding_target: float | None
    deciding_units: int | None
    deciding_available: int | None
    deciding_seeds: int | None
    same_settings: bool
    why: str | None


class RunEntry(FormatRecord, frozen=True, kw_only=True):
    """A run that is compared.

    Attributes:
        name: The run's name.
        checkpoint: Name of its checkpoint.
        weights: Hash of its weights.
        partial: Whether some benchmark is not run whole, or the run has not ended.
    """

    name: str
    checkpoint: str
    weights: str
    partial: bool


class FamilyEntry(FormatRecord, frozen=True, kw_only=True):
    """The tests that were corrected together.

    Attributes:
        tests: Tests that were made.
        families: How many families they are corrected in.
        expected_false: False words to expect at most, if nothing differed.
        sentence: The same in words.
    """

    tests: int
    families: int
    expected_false: float
    sentence: str


class ComparisonFile(FormatRecord, frozen=True, kw_only=True):
    """What `pairuni-eval compare A B --json` prints; ours is A, theirs is B.

    Attributes:
        format: Name and number of the format.
        a: The first run.
        b: The run it is compared with.
        sentence: What the headlines say about the first run.
        same_weights: Whether both are the same weights.
        scope: What the verdicts hold for, where it is less than the arm.
        family: The tests that were corrected together.
        differences: Every metric that both have.
        groups: The groups of every headline.
        refusals: What could not be compared and why, in sentences.
    """

    format: Literal["pairuni-comparison/3"]
    a: RunEntry
    b: RunEntry
    sentence: str
    same_weights: bool
    scope: str | None
    family: FamilyEntry
    differences: list[DifferenceEntry]
    groups: list[DifferenceEntry]
    refusals: list[str]
