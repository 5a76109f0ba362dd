"""What two sides say about each other, as records: the differences, the reasons, the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pairuni_eval.cards import MetricSpec
from pairuni_eval.errors import UserError
from pairuni_eval.stats.deciding import Deciding
from pairuni_eval.stats.intervals import Interval
from pairuni_eval.stats.meeting import Missing
from pairuni_eval.stats.multiple import NO_TESTS, Multiplicity
from pairuni_eval.stats.paired import Counts, Evidence, Units
from pairuni_eval.stats.scope import NOBODY, Scope
from pairuni_eval.stats.verdict import Word


class Place(NamedTuple):
    """Where a number stands: a metric of a protocol, or one group of it."""

    benchmark: str
    protocol: str
    spec: MetricSpec
    headline: bool = False
    group: str | None = None

    @property
    def name(self) -> str:
        """The address of the number's random draws."""
        parts = [self.benchmark, self.protocol, self.spec.name, self.group]
        return "/".join(part for part in parts if part is not None)


class Difference(NamedTuple):
    """One metric on both sides, on the outputs that both have.

    Attributes:
        headline: Whether this is the first metric of the default protocol, over all groups.
        ours: The metric on our shared outputs; None if they make no number.
        theirs: The same for the other side.
        interval: 95 % interval of ours - theirs by itself.
        p: Two-sided p of "no difference" by itself.
        corrected: p after the correction for everything that is looked at together (`families`);
            where rows are missing, of the end that allows the least.
        shared: Outputs that have a value on both sides.
        clusters: Units that they belong to.
        same_settings: Whether decoding, judge and data revision agree.
        group: The group of `spec.by`, for a line of the per-task table.
        subject: What was measured, e.g. "tiny GenEval" or "counting (tiny GenEval)".
        test: Which test `p` comes from.
        error: Standard error of the difference.
        margin: The largest difference that counts as none, on the metric's own scale.
        tie_p: p of "the difference is at least the margin", on the shared outputs.
        detectable: The difference that would be found in 4 of 5 repetitions, at the level that the
            correction leaves to this test.
        units: How many units each side wins; None for a metric without a direction.
        counts: Right outputs, where every output is right or wrong.
        settings: What differs between the runs besides the checkpoint, in words.
        seeds: Runs on our side and on the other.
        reason: Why no test was made; None if one was.
        sentence: The verdict in words.
        joint: The simultaneous interval that belongs to `corrected`, which stands beside the word;
            it holds 0 unless the word is better or worse. For a tie `beside` has another.
        planned: Outputs that both sides planned, `shared` of which have a value on both.
        why: Why nothing can be told although something might have been said.
        ends: Ours - theirs at both ends of what the missing rows may be; None if none is missing,
            or if the range of their values is not known.
        deciding: What would decide it; None where something is told or more outputs would not help.
        equal: Whether every shared output has the same value on both sides.
        same_outputs: Whether every shared output is the same on both sides, as it must be for equal
            weights: decoding is greedy, or the draws have one seed.
        missing: Planned outputs without a value.
        at_ends: The evidence at both ends of what the missing rows may be.
        freedom: Degrees of freedom of `error`.
        between: The share of the error's variance that lies between training seeds.
        span: The farthest that two numbers can be apart, if known.
        available: Units of the whole benchmark, or group; None where nobody knows.
        available_counted: Whether they were counted, not estimated from a part.
        equivalence: The interval of the test for a tie, inside the margin; None where its p is not
            below .05. For a tie with rows missing it reaches over both ends of what they may be.
        about: Whom the verdict is about.
        partial: Whether some run of either side has not all of the benchmark.
        part: What was compared, where that is less than what one of the runs has: "on 46 of 204
            outputs"; None elsewhere.
        left_open: What missing outputs leave open of a difference about which a word stands.
    """

    benchmark: str
    protocol: str
    spec: MetricSpec
    headline: bool
    ours: float | None
    theirs: float | None
    interval: Interval | None
    p: float | None
    corrected: float | None
    shared: int
    clusters: int
    word: Word
    same_settings: bool
    group: str | None = None
    subject: str = ""
    test: str = ""
    error: float | None = None
    margin: float | None = None
    tie_p: float | None = None
    detectable: float | None = None
    units: Units | None = None
    counts: Counts | None = None
    settings: tuple[str, ...] = ()
    seeds: tuple[int, int] = (1, 1)
    reason: str | None = None
    sentence: str = ""
    joint: Interval | None = None
    planned: int = 0
    why: str | None = None
    ends: tuple[float, float] | None = None
    deciding: Deciding | None = None
    equal: bool = False
    same_outputs: bool = False
    missing: Missing = Missing(0, 0, 0)
    at_ends: tuple[Evidence, Evidence] | None = None
    freedom: float | None = None
    between: float | None = None
    span: float | None = None
    available: int | None = 0
    available_counted: bool = True
    equivalence: Interval | None = None
    about: Scope = NOBODY
    partial: bool = False
    part: str | None = None
    left_open: str | None = None

    @property
    def name(self) -> str:
        """The metric's key, and the group's where it is one: "overall" or "overall, counting"."""
        return self.spec.name if self.group is None else f"{self.spec.name}, {self.group}"

    @property
    def value(self) -> float | None:
        """Ours - theirs."""
        if self.ours is None or self.theirs is None:
            return None
        return self.ours - self.theirs

    @property
    def by_identity(self) -> bool:
        """Whether it is tied since both sides are the same weights and gave the same outputs."""
        return self.about.same_weights and self.same_outputs and self.equal and self.same_settings

    @property
    def beside(self) -> Interval | None:
        """The interval that stands beside the word: joint, or for a tie that of its test."""
        return self.equivalence if self.word is Word.TIED else self.joint

    @property
    def p_beside(self) -> float | None:
        """The p that stands beside the word: corrected, or for a tie that of its test.

        None for a tie that rests on no test; where rows are missing a tie has the largest p.
        """
        if self.word is not Word.TIED:
            return self.p if self.corrected is None else self.corrected
        return None if self.equivalence is None else self.p_tied

    @property
    def p_tied(self) -> float | None:
        """`tie_p`; where rows are missing the largest p, None where their range is not known."""
        if self.missing.any and self.at_ends is None:
            return None
        found = [self.tie_p, *(end.tie_p for end in self.at_ends or ())]
        return None if None in found else max(p for p in found if p is not None)


class NotCompared(NamedTuple):
    """Something that could not be compared, and why.

    Attributes:
        protocol: None where the whole benchmark is meant.
        metric: None where the whole protocol is meant.
        ours, theirs: Whether any run of a side was measured on the benchmark.
    """

    benchmark: str
    protocol: str | None
    metric: str | None
    reason: str
    ours: bool = True
    theirs: bool = True

    @property
    def sentence(self) -> str:
        """E.g. "mme@lmms-eval: the other side was not graded under this protocol"."""
        protocol = f"@{self.protocol}" if self.protocol else ""
        metric = f", {self.metric}" if self.metric else ""
        return f"{self.benchmark}{protocol}{metric}: {self.reason}"


def gathered(refusals: Sequence[NotCompared]) -> list[str]:
    """What could not be compared, a sentence for each benchmark and reason; what both have first.

    A benchmark or protocol that one side lacks is named as it is; of single numbers the first is
    named and the others are counted.
    """
    found: dict[tuple[str, str], list[NotCompared]] = {}
    for one in sorted(refusals, key=lambda one: not (one.ours and one.theirs)):
        found.setdefault((one.benchmark, one.reason), []).append(one)
    return [_together(rows) for rows in found.values()]


def _together(rows: Sequence[NotCompared]) -> str:
    first = rows[0]
    if len(rows) == 1:
        return first.sentence
    return f"{first.benchmark}, {len(rows)} numbers: {first.reason}"


class Comparison(NamedTuple):
    """Everything that two sides say about each other.

    Attributes:
        differences: Every metric that both have, in the order of our first run.
        groups: The groups of every headline.
        refusals: Whatever could not be compared.
        family: The tests that were corrected together, of this and of every other comparison that
            is shown beside it.
        about: Whom the verdicts are about.
    """

    differences: tuple[Difference, ...]
    groups: tuple[Difference, ...]
    refusals: tuple[NotCompared, ...]
    family: Multiplicity = NO_TESTS
    about: Scope = NOBODY

    @property
    def same_weights(self) -> bool:
        """Whether both sides are the same weights."""
        return self.about.same_weights

    @property
    def scope(self) -> str | None:
        """What the verdicts hold for, where it is less than the arm, in a few words."""
        return self.about.scope

    @property
    def note(self) -> str | None:
        """What the verdicts do not cover, in a sentence."""
        return self.about.note

    @property
    def headlines(self) -> tuple[Difference, ...]:
        """The first metric of every benchmark's default protocol."""
        return tuple(row for row in self.differences if row.headline)

    @property
    def regressions(self) -> tuple[Difference, ...]:
        """Headlines and groups that are worse."""
        return self._with(Word.WORSE)

    @property
    def gains(self) -> tuple[Difference, ...]:
        """Headlines and groups that are better."""
        return self._with(Word.BETTER)

    def _with(self, word: Word) -> tuple[Difference, ...]:
        return tuple(row for row in (*self.headlines, *self.groups) if row.word is word)

    def checked(self) -> Comparison:
        """The comparison itself.

        Raises:
            UserError: if no metric could be compared; it says why for the first few.
        """
        if any(row.reason is None for row in self.differences):
            return self
        reasons = "; ".join(gathered(self.refusals)[:5])
        raise UserError(
            f"Nothing can be compared: {reasons or 'the runs hold no benchmark'}.",
            hint="Measure both with the same suite, protocols and judge: pairuni-eval run --help",
        )
