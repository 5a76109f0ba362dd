"""What an experiment with hypotheses lays down before anything runs.

A design names bases, overlaps, training seeds, scores and hypotheses with their margins, and says
how many tests there are; a file whose hypotheses make another number is refused. A hypothesis about
several overlaps is one hypothesis for each of them. It has a *part* for each score and each arm
that it is against, and holds only where all parts do, so its p is the largest of theirs: an
intersection-union test (Berger 1982), which needs no correction inside. A part compares two arms by
one score.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Literal, NamedTuple

import msgspec

from pairuni_eval.toolkit.data import Count, Strict

Expect = Literal["better", "equal", "not worse", "agree"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_DEFAULT = "default"


class ScoreSpec(Strict, frozen=True, kw_only=True):
    """A number that arms are compared by: the mean score of one group of a benchmark's outputs."""

    name: str
    benchmark: str
    group: str


class MatrixSpec(Strict, frozen=True, kw_only=True):
    """The gradient matrix at the base: which pairs, how many, from sources that know how much."""

    scenario: str
    overlap: Share
    pairs: Count


class Hypothesis(Strict, frozen=True, kw_only=True):
    """What is expected, and of what.

    Attributes:
        id: How the page calls it.
        claim: What is expected, in a sentence.
        expect: "better" (than each arm that it is against), "equal" (closer than the margin), "not
            worse" (by the margin or more), or "agree": the gradients of pairs at the base.
        arm: The arm that it is about.
        against: Arms that it is compared with.
        scores: Names of scores.
        overlaps: Where it is expected; each is a hypothesis of its own.
        margin: Of "equal" and "not worse", as a share of all outputs.
    """

    id: str
    claim: str
    expect: Expect
    arm: str = ""
    against: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    overlaps: tuple[Share, ...] = ()
    margin: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None


class HypothesisPart(NamedTuple):
    """One comparison of a hypothesis."""

    overlap: float
    arm: str
    against: str
    score: str


class PlacedHypothesis(NamedTuple):
    """A hypothesis at one overlap, with its parts; of gradients it has no parts and no overlap."""

    hypothesis: Hypothesis
    overlap: float | None
    parts: tuple[HypothesisPart, ...]

    @property
    def title(self) -> str:
        """E.g. "H1 at overlap 0.5", or "H6" where it is expected at one place only."""
        many = len(self.hypothesis.overlaps) > 1
        return self.hypothesis.id + (f" at overlap {self.overlap:g}" if many else "")


class Design(Strict, frozen=True, kw_only=True):
    """The whole design.

    Attributes:
        recipe: Under which all arms are trained.
        steps: Training steps.
        suite: That every checkpoint is measured on.
        bases: Checkpoints that training starts from, by number.
        overlaps: How much both sources know in common.
        seeds: Training seeds by arm, and of all others by "default".
        only_at: The one overlap of arms that are not trained at all of them.
        scores: What is printed and tested.
        matrix: The gradients that are measured at each base.
        hypotheses: See `Hypothesis`.
        hypotheses_tested: How many there are, each overlap counted.
        comparisons_tested: Parts that they have together.
    """

    recipe: str
    steps: Count
    suite: str
    bases: tuple[str, ...]
    overlaps: tuple[Share, ...]
    seeds: dict[str, Count]
    scores: tuple[ScoreSpec, ...]
    matrix: MatrixSpec
    hypotheses: tuple[Hypothesis, ...]
    hypotheses_tested: Count
    comparisons_tested: Count
    only_at: dict[str, Share] = {}

    @property
    def placed(self) -> tuple[PlacedHypothesis, ...]:
        """Every hypothesis at every overlap where it is expected."""
        return tuple(
            PlacedHypothesis(one, overlap, tuple(_parts(one, overlap)))
            for one in self.hypotheses
            for overlap in one.overlaps or (None,)
        )

    def seeds_of(self, arm: str) -> int:
        """Training seeds of an arm."""
        return self.seeds.get(arm, self.seeds[_DEFAULT])

    def overlaps_of(self, arm: str) -> tuple[float, ...]:
        """The overlaps that an arm is trained at."""
        return (self.only_at[arm],) if arm in self.only_at else self.overlaps


def _parts(one: Hypothesis, overlap: float | None) -> Iterator[HypothesisPart]:
    if overlap is not None:
        for against, score in product(one.against, one.scores):
            yield HypothesisPart(overlap, one.arm, against, score)


def design_troubles(design: Design, arms: tuple[str, ...]) -> Iterator[str]:
    """What is wrong between the keys of a design, which their types cannot say.

    Args:
        design: The design.
        arms: Names of the experiment's arms.
    """
    if not design.bases or not design.overlaps:
        yield "design names no base or no overlap"
    if _DEFAULT not in design.seeds:
        yield f"design.seeds lacks '{_DEFAULT}'"
    named = [one.name for one in design.scores]
    yield from (f"two scores are called '{name}'" for name in set(named) if named.count(name) > 1)
    for name in (*design.seeds, *design.only_at):
        if name not in (*arms, _DEFAULT):
            yield f"design names '{name}', which is not one of its arms"
    for name, overlap in (*design.only_at.items(), ("design.matrix", design.matrix.overlap)):
        if overlap not in design.overlaps:
            yield f"'{name}' is at overlap {overlap:g}, which is not one of design.overlaps"
    for one in design.hypotheses:
        yield from _hypothesis_troubles(one, design, arms)
    parts = sum(len(one.parts) for one in design.placed)
    counted = (
        ("hypotheses_tested", design.hypotheses_tested, len(design.placed)),
        ("comparisons_tested", design.comparisons_tested, parts),
    )
    for key, said, found in counted:
        if said != found:
            yield f"design.{key} is {said}, but its hypotheses make {found}"


def _hypothesis_troubles(one: Hypothesis, design: Design, arms: tuple[str, ...]) -> Iterator[str]:
    if one.expect == "agree":
        if one.arm or one.against or one.scores or one.overlaps or one.margin:
            yield f"{one.id} is about gradients and compares no arms"
        return
    if not (one.against and one.scores and one.overlaps):
        yield f"{one.id} needs against, scores and overlaps"
    if (one.margin is not None) != (one.expect in ("equal", "not worse")):
        yield f"{one.id} expects '{one.expect}': a margin belongs to 'equal' and 'not worse'"
    for name in (one.arm, *one.against):
        if name not in arms:
            yield f"{one.id} names '{name}', which is not one of its arms"
        elif missing := set(one.overlaps) - {*design.overlaps_of(name)}:
            yield f"{one.id}: '{name}' is not trained at overlap {min(missing):g}"
    for name in one.scores:
        if name not in [score.name for score in design.scores]:
            yield f"{one.id} names the score '{name}', which is not one of design.scores"
