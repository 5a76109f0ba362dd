"""Scenarios of the gradient probe compared two by two: one test over all blocks and batches.

Shapes: N and M batches of the two sides, K blocks.

Scenarios are probed at the same weights with the same rollout budget. Where their batches hold the
same rows, a batch of one meets that of the other at the same run and step, and each pair of them is
exchanged or not in all blocks at once. Where they share no row, the batches of both are allotted to
either side anew (which of the N + M belong to whom), in all blocks at once, and the statistic is
Welch's. The number is the difference of the mean cosines, block by block, all shared parameters
first; a median hardly moves when few batches are exchanged. One p value says whether anything
differs in any block, that of a block is corrected for all blocks (max-T, `permutation`), and
several comparisons are corrected together by Holm. Intervals belong to these p values.

No batch is left out unsaid: those without a counterpart, and those in which a task had no gradient,
are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.gradients.blocks import (
    BlockCosine,
    block_means,
    clearest,
    counted,
    overall,
    signs,
)
from pairuni_eval.gradients.interference import BatchStatistic, cosine_matrix, shown
from pairuni_eval.seeds import seed_for
from pairuni_eval.stats.aggregate import Codes
from pairuni_eval.stats.multiple import steps_where_known
from pairuni_eval.stats.permutation import Tested, allotment_test, flip_test
from pairuni_eval.stats.verdict import p_words


class ScenarioVerdict(StrEnum):
    """What may be said about two scenarios."""

    MORE = "agree more"
    LESS = "agree less"
    MIXED = "agree more in some blocks and less in others"
    CANNOT_TELL = "cannot tell"


class LeftOut(NamedTuple):
    """Batches that a comparison does not use, and why.

    Attributes:
        ours: Of ours without a counterpart.
        theirs: Of theirs.
        silent: In which a task had no gradient, on one side of a pair or on a side alone.
    """

    ours: int = 0
    theirs: int = 0
    silent: int = 0

    def words(self, ours: str, theirs: str) -> str:
        """E.g. "left out: 1 of random without a counterpart"; "" if none is."""
        said = [
            f"{count} of {name} without a counterpart"
            for count, name in ((self.ours, ours), (self.theirs, theirs))
            if count
        ]
        if self.silent:
            said.append(f"{self.silent} in which a task had no gradient")
        return f"left out: {', '.join(said)}" if said else ""


class ScenarioComparison(NamedTuple):
    """Two scenarios compared.

    Attributes:
        difference: Mean cosine of the first minus that of the second over all shared parameters,
            with the interval that belongs to `corrected`.
        p: Of "no difference in any block".
        corrected: `p` after Holm over the comparisons made together.
        batches: Shared batches with a cosine in some block; if unpaired, of the side with fewer.
        blocks: The difference in every block, all shared parameters first.
        left_out: Batches that are not used.
        reason: Why no test was made.
    """

    ours: str
    theirs: str
    preconditioned: bool
    difference: BatchStatistic
    p: float | None
    corrected: float | None
    batches: int
    blocks: tuple[BlockCosine, ...] = ()
    left_out: LeftOut = LeftOut()
    reason: str | None = None

    @property
    def word(self) -> ScenarioVerdict:
        """What may be said."""
        found = signs(self.blocks)
        if not found:
            return ScenarioVerdict.CANNOT_TELL
        if len(found) == 2:
            return ScenarioVerdict.MIXED
        return ScenarioVerdict.MORE if found == {1} else ScenarioVerdict.LESS

    @property
    def brief(self) -> str:
        """E.g. "against random: agree more"."""
        return f"against {self.theirs}: {'not compared' if self.reason else self.word}"

    @property
    def description(self) -> str:
        """What was found, without the names; the end of a sentence."""
        left = self.left_out.words(self.ours, self.theirs)
        left = f"; {left}" if left else ""
        if self.reason is not None:
            return f"not compared, {self.reason}{left}"
        word = self.word if self.word is ScenarioVerdict.CANNOT_TELL else f"gradients {self.word}"
        parts = clearest(self.blocks, "+")
        where = f"; by block {parts}" if parts else ""
        return (
            f"{word}, {p_words(self.corrected)} ({counted(self.blocks, self.batches)}); difference "
            f"of the mean cosine over all shared parameters {shown(self.difference, '+')}"
            f"{where}{left}"
        )

    @property
    def sentence(self) -> str:
        """E.g. "pairuni against random: gradients agree more, p = .01 (one test of ...)."."""
        return f"{self.ours} against {self.theirs}: {self.description}."


class Uncorrected(NamedTuple):
    """A comparison before its p value is corrected.

    Attributes:
        names: Its blocks.
        counts: Batches of each.
        tested: None where no test was made.
    """

    comparison: ScenarioComparison
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    tested: Tested | None = None


def compare_scenarios(
    table: pd.DataFrame,
    ours: str,
    others: Sequence[str] | None = None,
    *,
    preconditioned: bool = False,
    seed: int = 0,
) -> tuple[ScenarioComparison, ...]:
    """One scenario against others, batch by batch; p values corrected together by Holm.

    Args:
        table: Of `gradient_table`. Batches meet by run and step: probe every scenario at the same
            weights and the same steps, or give the runs in the same order.
        ours: The scenario in question.
        others: The scenarios it is compared with; all others by default.
        preconditioned: Which gradients.
        seed: Seed of the draws.
    """
    names = [str(name) for name in table["scenario"].drop_duplicates() if name != ours]
    return corrected_together(
        [
            compare_two(table, ours, other, preconditioned=preconditioned, seed=seed)
            for other in (names if others is None else others)
        ]
    )


def corrected_together(uncorrected: Sequence[Uncorrected]) -> tuple[ScenarioComparison, ...]:
    """Comparisons after Holm over all of them, with the intervals that belong to what it leaves."""
    steps = steps_where_known([one.comparison.p for one in uncorrected])
    found = []
    for one, step in zip(uncorrected, steps, strict=True):
        if one.tested is None or step is None:
            found.append(one.comparison)
            continue
        blocks = block_means(one.tested, one.names, one.counts, step)
        found.append(
            one.comparison._replace(corrected=step.p, blocks=blocks, difference=overall(blocks))
        )
    return tuple(found)


def compare_two(
    table: pd.DataFrame,
    ours: str,
    theirs: str,
    *,
    paired: bool = True,
    preconditioned: bool = False,
    seed: int = 0,
) -> Uncorrected:
    """One scenario against another, before correction.

    Args:
        table: Of `gradient_table`.
        ours: The scenario in question.
        theirs: The other one.
        paired: Whether their batches hold the same rows.
        preconditioned: Which gradients.
        seed: Seed of the draws.
    """
    names = (ours, theirs)
    one, two = (cosine_matrix(table, name, preconditioned=preconditioned) for name in names)
    blocks = [name for name in one.columns if name in set(two.columns)]
    batches = (
        _shared(one[blocks], two[blocks]) if paired else _separate(one[blocks], two[blocks], names)
    )
    found = ScenarioComparison(
        *(ours, theirs, preconditioned, BatchStatistic(None), None, None, batches.used),
        left_out=batches.left_out,
    )
    if batches.used < 2:
        count = f"{batches.used or 'no'} batch{'es' * (batches.used != 1)}"
        reason = f"{batches.who} {count} with a cosine"
        return Uncorrected(
            found._replace(difference=BatchStatistic(None, None, reason), reason=reason)
        )
    tested = batches.test(seed=seed_for(seed, "/".join(names), 0, "permutation"))
    counts = tuple(batches.by_block.tolist())
    return Uncorrected(found._replace(p=tested.p), tuple(map(str, blocks)), counts, tested)


class _Batches(NamedTuple):
    """The batches that two scenarios are compared by.

    Attributes:
        test: Takes the seed of its draws.
        by_block: (K,) batches of each block.
        used: How many are used.
        who: Of whom they are counted, to be followed by the count.
    """

    test: Callable[..., Tested]
    by_block: Codes
    used: int
    left_out: LeftOut
    who: str


def _shared(one: pd.DataFrame, two: pd.DataFrame) -> _Batches:
    """The batches of the same run and step, pair by pair."""
    shared = one.index.intersection(two.index)
    change = (one.loc[shared] - two.loc[shared]).to_numpy(dtype=np.float64)
    known = np.isfinite(change)
    used = known.any(axis=1)
    left = LeftOut(len(one) - len(shared), len(two) - len(shared), int((~used).sum()))
    test = partial(flip_test, change[used])
    return _Batches(test, known.sum(axis=0), int(used.sum()), left, "they share")


def _separate(one: pd.DataFrame, two: pd.DataFrame, names: Sequence[str]) -> _Batches:
    """The batches of each side; counted are those of the side with fewer."""
    sides = [side.to_numpy(dtype=np.float64) for side in (one, two)]
    sides = [side[np.isfinite(side).any(axis=1)] for side in sides]
    left = LeftOut(silent=len(one) + len(two) - sum(map(len, sides)))
    by_block = np.min([np.isfinite(side).sum(axis=0) for side in sides], axis=0)
    fewest = min((0, 1), key=lambda n: len(sides[n]))
    test = partial(allotment_test, *sides)
    return _Batches(test, by_block, len(sides[fewest]), left, f"{names[fewest]} has")
