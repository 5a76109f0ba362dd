"""What the scores of a flagship say about its hypotheses, and in which words.

Goes in: a table of scores of one base (`score_table`) and the gradient matrix of that base. Comes
out: every part with its difference, interval, p and word, and every hypothesis with one verdict.

Two corrections by Holm, each over all that the design announces, whether it has been run or not:
what has not been run keeps its place with p = 1, so that doing a part of the experiment costs no
correction and saves none.

    parts        the p values of "no difference" of all comparisons. better and worse stand where
                 the corrected p is below .05 and the joint interval leaves out 0; tied, as
                 everywhere, is not corrected
    hypotheses   one p each, the largest of its parts: of "no difference" where it expects "better"
                 (1 where the difference has the other sign), of "the margin or more" where it
                 expects "equal" or "not worse", of a re-pairing where it expects "agree". It is
                 held where the corrected p is below .05 and, where it expects "better", each of
                 its parts has that word

A hypothesis counts as registered where all runs that it rests on were made under the experiment's
file, and as many of them as the file says.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from pairuni_eval.toolkit.stats import (
    ALPHA,
    Interval,
    ScoredArm,
    ScoreDifference,
    Step,
    Word,
    choose_word,
    compare_scores,
    joint_interval,
    steps_where_known,
)
from pairuni_train.study.design import Design, Expect, Hypothesis, HypothesisPart, PlacedHypothesis
from pairuni_train.study.score_table import ScoredArms


class Verdict(StrEnum):
    """What may be said of a hypothesis."""

    HELD = "held"
    AGAINST = "spoken against"
    NOT_SHOWN = "not shown"
    NOT_RUN = "not run"


class PairAgreement(NamedTuple):
    """Partners' gradients at the base against re-paired ones: mean cosines, two-sided p, pairs."""

    within: float
    re_paired: float
    p: float
    pairs: int


class PartResult(NamedTuple):
    """A part with what was found.

    Attributes:
        margin: The largest difference that counts as none, where the hypothesis has one.
        step: What Holm makes of the p of "no difference"; None where nothing was tested.
        joint: The simultaneous interval that belongs to it.
        registered: Whether its runs were made under the file, as many as it says.
    """

    part: HypothesisPart
    expect: Expect
    margin: float | None
    found: ScoreDifference
    step: Step | None
    joint: Interval | None
    word: Word
    registered: bool

    @property
    def beside(self) -> Interval | None:
        """The interval that stands beside the word: joint, or for a tie that of its test."""
        tied = self.word is Word.TIED and self.found.evidence is not None
        return self.found.evidence.equivalence if tied and self.found.evidence else self.joint

    @property
    def tie_p(self) -> float | None:
        """P of "at least the margin apart"."""
        return None if self.found.evidence is None else self.found.evidence.tie_p


class HypothesisResult(NamedTuple):
    """A hypothesis with its verdict; without p where a part of it has not been run."""

    placed: PlacedHypothesis
    parts: tuple[PartResult, ...]
    p: float | None
    corrected: float | None
    verdict: Verdict
    registered: bool

    @property
    def title(self) -> str:
        """E.g. "H1 at overlap 0"."""
        return self.placed.title


class FlagshipOutcome(NamedTuple):
    """All of it: the hypotheses in the order of the file, and how many tests were corrected."""

    hypotheses: tuple[HypothesisResult, ...]
    agreement: PairAgreement | None
    hypotheses_tested: int
    comparisons_tested: int

    def of(self, id_: str) -> tuple[HypothesisResult, ...]:
        """The results of a hypothesis at all of its overlaps."""
        return tuple(one for one in self.hypotheses if one.placed.hypothesis.id == id_)


def examine_hypotheses(
    arms: ScoredArms,
    design: Design,
    agreement: PairAgreement | None,
    *,
    agreement_registered: bool = True,
) -> FlagshipOutcome:
    """Test everything that a design announces.

    Args:
        arms: Of one base.
        design: The design.
        agreement: Of the gradients at that base, if they were measured.
        agreement_registered: Whether these were measured under the experiment's file.
    """
    asked = [(placed, part) for placed in design.placed for part in placed.parts]
    compared = [_compared(arms, design, placed.hypothesis, part) for placed, part in asked]
    steps = steps_where_known(
        [one.found.evidence.p if one.found.evidence else 1.0 for one in compared]
    )
    parts = iter([_worded(one, step) for one, step in zip(compared, steps, strict=True)])
    found = [
        _uncorrected(
            placed,
            tuple(next(parts) for _ in placed.parts),
            agreement,
            agreement_registered=agreement_registered,
        )
        for placed in design.placed
    ]
    corrected = steps_where_known([1.0 if one.p is None else one.p for one in found])
    return FlagshipOutcome(
        tuple(_concluded(one, step) for one, step in zip(found, corrected, strict=True)),
        agreement,
        design.hypotheses_tested,
        design.comparisons_tested,
    )


def _compared(
    arms: ScoredArms, design: Design, hypothesis: Hypothesis, part: HypothesisPart
) -> PartResult:
    score = next(one for one in design.scores if one.name == part.score)
    sides = [arms.arm(name, score, part.overlap) for name in (part.arm, part.against)]
    found = compare_scores(*sides, margin=hypothesis.margin)
    registered = all(_is_registered(side, design) for side in sides)
    return PartResult(
        part, hypothesis.expect, hypothesis.margin, found, None, None, Word.CANNOT_TELL, registered
    )


def _is_registered(arm: ScoredArm, design: Design) -> bool:
    """Whether all runs of an arm were made under the file, and as many as it says."""
    wanted = design.seeds_of(arm.name) if arm.trained else 1
    return len(arm.frames) == wanted and all(frame["registered"].all() for frame in arm.frames)


def _worded(one: PartResult, step: Step | None) -> PartResult:
    evidence = one.found.evidence
    if evidence is None:
        return one
    joint = None if step is None else joint_interval(evidence, step)
    word = choose_word(joint, None if step is None else step.p, one.tie_p, "up")
    if joint is not None and word not in (Word.BETTER, Word.WORSE):
        joint = Interval(min(joint.low, 0.0), max(joint.high, 0.0))
    return one._replace(step=step, joint=joint, word=word)


def _uncorrected(
    placed: PlacedHypothesis,
    parts: tuple[PartResult, ...],
    agreement: PairAgreement | None,
    *,
    agreement_registered: bool,
) -> HypothesisResult:
    if placed.hypothesis.expect == "agree":
        p = None
        if agreement is not None:
            p = agreement.p if agreement.within > agreement.re_paired else 1.0
        against = agreement is not None and agreement.within < agreement.re_paired
        against = against and agreement is not None and agreement.p < ALPHA
        registered = agreement_registered
    else:
        known = [_part_p(placed.hypothesis, one) for one in parts]
        p = None if None in known else max(one for one in known if one is not None)
        against = any(one.word in _contrary(placed.hypothesis) for one in parts)
        registered = all(one.registered for one in parts)
    verdict = Verdict.AGAINST if against else Verdict.NOT_SHOWN
    return HypothesisResult(placed, parts, p, None, verdict, registered)


def _part_p(hypothesis: Hypothesis, one: PartResult) -> float | None:
    """The p of what a part would have to be if the hypothesis did not hold."""
    evidence, value = one.found.evidence, one.found.value
    if evidence is None or value is None:
        return None
    if hypothesis.expect == "better":
        return evidence.p if value > 0 else 1.0
    found = evidence.tie_p if hypothesis.expect == "equal" else one.found.not_worse
    return 1.0 if found is None else found


def _contrary(hypothesis: Hypothesis) -> tuple[Word, ...]:
    """Words of a part that speak against it."""
    return (Word.BETTER, Word.WORSE) if hypothesis.expect == "equal" else (Word.WORSE,)


def _concluded(one: HypothesisResult, step: Step | None) -> HypothesisResult:
    if one.p is None or step is None:
        return one._replace(verdict=Verdict.NOT_RUN)
    apart = all(part.word is Word.BETTER for part in one.parts)
    sure = step.p < ALPHA and (one.placed.hypothesis.expect != "better" or apart)
    verdict = Verdict.HELD if sure else one.verdict
    return one._replace(corrected=step.p, verdict=verdict)


def held(found: Sequence[HypothesisResult]) -> bool:
    """Whether there are some, and all of them held."""
    return bool(found) and all(one.verdict is Verdict.HELD for one in found)
