"""Scenarios of the gradient probe compared two by two: one test over all blocks and batches.

Shapes: N and M batches of the two sides, K blocks.

Scenarios are probed at the same weights with the same rollout budget. Where their batches hold the
same rows (`compare_paired`), a batch of one meets that of the other at the same run and step, and
each pair of them is exchanged or not in all blocks at once. Where they share no row
(`compare_unpaired`), the batches of both are allotted to either side anew (which of the N + M
belong to whom), in all blocks at once, and the statistic is Welch's. The number is the difference
of the mean cosines, block by block, all shared parameters first; a median hardly moves when few
batches are exchanged. One p value says whether anything differs in any block, that of a block is
corrected for all blocks (max-T, `permutation`), and several comparisons are corrected together by
Holm. Intervals belong to these p values.

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
from pairuni_eval.stats.aggregate import Array, Codes
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
        table: Of `gradient_rows`. Batches meet by run and step: probe every scenario at the same
            weights and the same steps, or give the runs in the same order.
        ours: The scenario in question.
        others: The scenarios it is compared with; all others by default.
        preconditioned: Which gradients.
        seed: Seed of the draws.
    """
    names = [str(name) for name in table["scenario"].drop_duplicates() if name != ours]
    return corrected_together(
        [
            compare_paired(table, ours, other, preconditioned=preconditioned, seed=seed)
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


def compare_paired(
    table: pd.DataFrame, ours: str, theirs: str, *, preconditioned: bool = False, seed: int = 0
) -> Uncorrected:
    """Two scenarios whose batches hold the same rows, before correction.

    Args:
        table: Of `gradient_rows`.
        ours: The scenario in question.
        theirs: The other one.
        preconditioned: Which gradients.
        seed: Seed of the draws.
    """
    one, two, blocks = _cosines(table, ours, theirs, preconditioned)
    shared = one.index.intersection(two.index)
    change = _array(one.loc[shared, blocks] - two.loc[shared, blocks])
    used = np.isfinite(change).any(axis=1)
    count = int(used.sum())
    comparison = ScenarioComparison(
        *(ours, theirs, preconditioned, BatchStatistic(None), None, None, count),
        left_out=LeftOut(len(one) - len(shared), len(two) - len(shared), int((~used).sum())),
        reason=_too_few("they share", count),
    )
    counts = np.isfinite(change).sum(axis=0)
    return _uncorrected(comparison, blocks, counts, partial(flip_test, change[used]), seed)


def compare_unpaired(
    table: pd.DataFrame, ours: str, theirs: str, *, preconditioned: bool = False, seed: int = 0
) -> Uncorrected:
    """As `compare_paired`, where batches share no row; its `batches` are of the side with fewer."""
    one, two, blocks = _cosines(table, ours, theirs, preconditioned)
    sides = [_array(side[blocks]) for side in (one, two)]
    sides = [side[np.isfinite(side).any(axis=1)] for side in sides]
    fewest, short = min(zip(map(len, sides), (ours, theirs), strict=True), key=lambda side: side[0])
    comparison = ScenarioComparison(
        *(ours, theirs, preconditioned, BatchStatistic(None), None, None, fewest),
        left_out=LeftOut(silent=len(one) + len(two) - sum(map(len, sides))),
        reason=_too_few(f"{short} has", fewest),
    )
    counts = np.min([np.isfinite(side).sum(axis=0) for side in sides], axis=0)
    return _uncorrected(comparison, blocks, counts, partial(allotment_test, *sides), seed)


def _cosines(
    table: pd.DataFrame, ours: str, theirs: str, preconditioned: bool
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The cosines of both scenarios, and the blocks that both have."""
    one, two = (
        cosine_matrix(table, name, preconditioned=preconditioned) for name in (ours, theirs)
    )
    return one, two, [name for name in one.columns if name in set(two.columns)]


def _array(cosines: pd.DataFrame) -> Array:
    return cosines.to_numpy(dtype=np.float64)


def _too_few(who: str, batches: int) -> str | None:
    """Why no test is made; None where there are two batches."""
    if batches >= 2:
        return None
    return f"{who} {batches or 'no'} batch{'es' * (batches != 1)} with a cosine"


def _uncorrected(
    comparison: ScenarioComparison,
    blocks: Sequence[str],
    counts: Codes,
    test: Callable[..., Tested],
    seed: int,
) -> Uncorrected:
    """The comparison with its test, if one can be made."""
    if comparison.reason is not None:
        nothing = BatchStatistic(None, None, comparison.reason)
        return Uncorrected(comparison._replace(difference=nothing))
    address = f"{comparison.ours}/{comparison.theirs}"
    tested = test(seed=seed_for(seed, address, 0, "permutation"))
    names = tuple(map(str, blocks))
    return Uncorrected(comparison._replace(p=tested.p), names, tuple(counts.tolist()), tested)
