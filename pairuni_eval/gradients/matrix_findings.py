"""What matrices of per-pair gradients allow to be said, corrected over all that was tried.

Questions whose answer is "no" pull another way than the rest, since what they ask about is not in
the picture: pairs with such a question are a group of their own, and only halves of one group meet.
Each group of each scenario is asked twice over all shared parameters (does pairing matter; does it
matter beyond the concept in common, see `re_pairing`), and once in every block. The tests over all
shared parameters are corrected together by Holm, those of blocks are another family. Matrices that
were measured before count as well if they are handed over: who tries ten designs and shows one has
made ten times the tests.

What is found in "within the pair" alone is never called an effect of the picture where halves that
name the same concept in other pictures are not shown to agree less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from pairuni_eval.gradients.pair_matrix import (
    SHARED,
    ClassMean,
    PairTable,
    class_means,
)
from pairuni_eval.gradients.re_pairing import DRAWS, RePaired, re_pair, re_pair_among
from pairuni_eval.gradients.rows import ALL
from pairuni_eval.seeds import seed_for, stable_hash
from pairuni_eval.stats.aggregate import Mask
from pairuni_eval.stats.multiple import ALPHA, steps_where_known

ENOUGH_PAIRS = 4  # 3 pairs have 6 permutations, and no p below 1/6
_FOUND = 1.96 + 0.84  # standard errors of what is found in 4 of 5 repetitions


class Answers(StrEnum):
    """Groups of pairs by the answer to their question."""

    EVERY = "any answer"  # where no answer is "no"
    OTHER = 'any but "no"'
    NO = '"no"'


class PairingStance(StrEnum):
    """What may be said about halves that are paired as they are against others."""

    MORE = "agree more"
    LESS = "agree less"
    CANNOT_TELL = "cannot tell"
    NOT_TESTED = "not tested"


class PairingTest(msgspec.Struct, frozen=True, kw_only=True):
    """Partners as they are against re-paired ones.

    Attributes:
        pairs: Pairs whose halves both have a gradient.
        within: Mean cosine of the partners as they are.
        re_paired: Mean cosine over re-pairings.
        p: Two-sided, of "it does not matter"; None where nothing was tested.
        corrected: After Holm over the tests made together.
        detectable: The difference that would be found in 4 of 5 repetitions at p < .05 before any
            correction.
        draws: Re-pairings.
        exact: Whether they are all there are.
        reason: Why nothing was tested.
    """

    pairs: int
    within: float | None = None
    re_paired: float | None = None
    p: float | None = None
    corrected: float | None = None
    detectable: float | None = None
    draws: int = 0
    exact: bool = False
    reason: str | None = None

    @property
    def least_p(self) -> float:
        """The smallest p that so few re-pairings can give, before any correction."""
        return 1 / (self.draws + (not self.exact))

    @property
    def stance(self) -> PairingStance:
        """What may be said, at the corrected p."""
        if self.corrected is None or self.within is None or self.re_paired is None:
            return PairingStance.NOT_TESTED
        if self.corrected >= ALPHA:
            return PairingStance.CANNOT_TELL
        return PairingStance.MORE if self.within > self.re_paired else PairingStance.LESS


class BlockPairing(msgspec.Struct, frozen=True, kw_only=True):
    """One block of parameters of a group."""

    block: str
    classes: tuple[ClassMean, ...]
    pairing: PairingTest


class GroupFinding(msgspec.Struct, frozen=True, kw_only=True):
    """The pairs of a scenario whose answers are of one kind.

    Attributes:
        count: Pairs of the group, with and without gradients.
        und_dead: Understanding halves without a gradient.
        gen_dead: Generation halves without one.
        known: Whether the concepts of any two of its halves are known.
        classes: Over all shared parameters.
        pairing: Against any re-pairing.
        picture: Against re-pairings within the same concepts.
        blocks: The blocks, where there are several.
    """

    scenario: str
    answers: Answers
    count: int
    und_dead: int
    gen_dead: int
    known: bool
    classes: tuple[ClassMean, ...]
    pairing: PairingTest
    picture: PairingTest
    blocks: tuple[BlockPairing, ...]


class MatrixFindings(msgspec.Struct, frozen=True, kw_only=True):
    """All groups of all scenarios.

    Attributes:
        groups: In the order of the tables.
        tests: Tests over all shared parameters, corrected together.
        block_tests: Tests of blocks, corrected together.
    """

    groups: tuple[GroupFinding, ...]
    tests: int
    block_tests: int


def matrix_findings(tables: Sequence[PairTable], *, seed: int = 0) -> MatrixFindings:
    """Everything that some matrices allow to be said, corrected together.

    Args:
        tables: All designs that were tried; their scenarios have different names.
        seed: Seed of the re-pairings.
    """
    found = [_group(table, one, seed) for table in tables for one in _groups(table)]
    whole = _corrected([test for group in found for test in (group.pairing, group.picture)])
    by_block = _corrected([one.pairing for group in found for one in group.blocks])
    tests, block_tests = iter(whole), iter(by_block)
    groups = tuple(
        msgspec.structs.replace(
            group,
            pairing=next(tests),
            picture=next(tests),
            blocks=tuple(
                msgspec.structs.replace(one, pairing=next(block_tests)) for one in group.blocks
            ),
        )
        for group in found
    )
    return MatrixFindings(groups=groups, tests=_made(whole), block_tests=_made(by_block))


class _Group(NamedTuple):
    answers: Answers
    chosen_N: Mask


def _groups(table: PairTable) -> Iterator[_Group]:
    if not table.no_N.any():
        yield _Group(Answers.EVERY, ~table.no_N)
        return
    if not table.no_N.all():
        yield _Group(Answers.OTHER, ~table.no_N)
    yield _Group(Answers.NO, table.no_N)


def _group(whole: PairTable, group: _Group, seed: int) -> GroupFinding:
    table = whole.among(group.chosen_N)
    # Of the pairs alone: a p is the same whatever else is looked at, and under any name.
    address = f"{stable_hash(table.pairs)}/{group.answers}"
    parts = [block for block in table.blocks if block != ALL] if len(table.blocks) > 2 else []
    return GroupFinding(
        scenario=table.scenario,
        answers=group.answers,
        count=len(table.pairs),
        und_dead=int(np.isnan(table.und[ALL]).sum()),
        gen_dead=int(np.isnan(table.gen[ALL]).sum()),
        known=bool((table.common_NN >= 0).any()),
        classes=class_means(table),
        pairing=_pairing(table, ALL, seed_for(seed, address, 0, "re-pairing")),
        picture=_picture(table, seed_for(seed, address, 0, "re-pairing of a concept")),
        blocks=tuple(
            BlockPairing(
                block=block,
                classes=class_means(table, block),
                pairing=_pairing(table, block, seed_for(seed, address, 0, "re-pairing")),
            )
            for block in parts
        ),
    )


def _pairing(table: PairTable, block: str, seed: int) -> PairingTest:
    cosines, both = table.cosines(block), _both(table, block)
    count = int(both.sum())
    if count < ENOUGH_PAIRS:
        return PairingTest(pairs=count, reason=_too_few(count))
    return _test(re_pair(cosines[np.ix_(both, both)], seed=seed, draws=DRAWS), count)


def _picture(table: PairTable, seed: int) -> PairingTest:
    both = _both(table, ALL)
    square, count = np.ix_(both, both), int(both.sum())
    if not (table.common_NN >= 0).any():
        return PairingTest(pairs=count, reason="what the halves ask for is not known")
    if count < ENOUGH_PAIRS:
        return PairingTest(pairs=count, reason=_too_few(count))
    shared = table.common_NN[square] == SHARED
    found = re_pair_among(table.cosines()[square], shared, seed=seed)
    if found is None:
        return PairingTest(pairs=count, reason="no two pairs could swap halves of one concept")
    return _test(found, count)


def _both(table: PairTable, block: str) -> Mask:
    """(N,): pairs whose halves both have a gradient in a block."""
    found: Mask = np.isfinite(np.diagonal(table.cosines(block)))
    return found


def _too_few(count: int) -> str:
    had = "no pair has" if not count else f"only {count} pair{'s have' if count > 1 else ' has'}"
    return f"{had} gradients of both halves"


def _test(found: RePaired, pairs: int) -> PairingTest:
    return PairingTest(
        pairs=pairs,
        within=found.seen,
        re_paired=found.mean,
        p=found.p,
        detectable=_FOUND * found.spread,
        draws=found.draws,
        exact=found.exact,
    )


def _corrected(tests: Sequence[PairingTest]) -> list[PairingTest]:
    steps = steps_where_known([one.p for one in tests])
    return [
        msgspec.structs.replace(one, corrected=None if step is None else step.p)
        for one, step in zip(tests, steps, strict=True)
    ]


def _made(tests: Sequence[PairingTest]) -> int:
    return sum(one.p is not None for one in tests)
