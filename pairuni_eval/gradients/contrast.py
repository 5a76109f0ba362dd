"""Two scenarios of the gradient probe against each other: one test over all blocks and batches.

Shapes: N batches of a side, K blocks.

Scenarios are probed at the same weights with the same rollout budget. Where their batches belong
together (`contrasts`), a batch of one meets that of the other at the same run and step, and each
pair of them is exchanged or not in all blocks at once; where they do not (`unpaired`), batches are
allotted to either side anew. The number is the difference of the mean cosines, block by block, all
shared parameters first; a median hardly moves when few batches are exchanged. One p value says
whether anything differs in any block, that of a block is corrected for all blocks (max-T,
`permutation`), and several contrasts are corrected together by Holm. Intervals belong to these p
values.

No batch is left out unsaid: those without a counterpart, and those in which a task had no gradient,
are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.gradients.blocks import BlockCosine, block_means, clearest, counted, overall
from pairuni_eval.gradients.interference import BatchStatistic, cosine_matrix, shown
from pairuni_eval.seeds import seed_for
from pairuni_eval.stats.aggregate import Array
from pairuni_eval.stats.multiple import steps_where_known
from pairuni_eval.stats.permutation import Tested, flip_test
from pairuni_eval.stats.verdict import p_words


class Leaning(StrEnum):
    """What may be said about two scenarios."""

    MORE = "agree more"
    LESS = "agree less"
    MIXED = "agree more in some blocks and less in others"
    CANNOT_TELL = "cannot tell"


class LeftOut(NamedTuple):
    """Batches that a contrast does not use, and why.

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
        told = [
            f"{count} of {name} without a counterpart"
            for count, name in ((self.ours, ours), (self.theirs, theirs))
            if count
        ]
        if self.silent:
            told.append(f"{self.silent} in which a task had no gradient")
        return f"left out: {', '.join(told)}" if told else ""


class Contrast(NamedTuple):
    """Two scenarios.

    Attributes:
        difference: Mean cosine of the first minus that of the second over all shared parameters,
            with the interval that belongs to `corrected`.
        p: Of "no difference in any block".
        corrected: `p` after Holm over the contrasts made together.
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
    def word(self) -> Leaning:
        """What may be said."""
        signs = {one.sign for one in self.blocks} - {0}
        if not signs:
            return Leaning.CANNOT_TELL
        if len(signs) == 2:
            return Leaning.MIXED
        return Leaning.MORE if signs == {1} else Leaning.LESS

    @property
    def brief(self) -> str:
        """E.g. "against random: agree more"."""
        return f"against {self.theirs}: {'not compared' if self.reason else self.word}"

    @property
    def told(self) -> str:
        """What was found, without the names; the end of a sentence."""
        left = self.left_out.words(self.ours, self.theirs)
        left = f"; {left}" if left else ""
        if self.reason is not None:
            return f"not compared, {self.reason}{left}"
        word = self.word if self.word is Leaning.CANNOT_TELL else f"gradients {self.word}"
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
        return f"{self.ours} against {self.theirs}: {self.told}."


class Weighed(NamedTuple):
    """A contrast before its p value is corrected.

    Attributes:
        names: Its blocks.
        counts: Batches of each.
        tested: None where no test was made.
    """

    contrast: Contrast
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    tested: Tested | None = None


def contrasts(
    table: pd.DataFrame,
    ours: str,
    others: Sequence[str] | None = None,
    *,
    preconditioned: bool = False,
    seed: int = 0,
) -> tuple[Contrast, ...]:
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
            paired_contrast(table, ours, other, preconditioned=preconditioned, seed=seed)
            for other in (names if others is None else others)
        ]
    )


def corrected_together(weighed: Sequence[Weighed]) -> tuple[Contrast, ...]:
    """Contrasts after Holm over all of them, with the intervals that belong to what it leaves."""
    steps = steps_where_known([one.contrast.p for one in weighed])
    found = []
    for one, step in zip(weighed, steps, strict=True):
        if one.tested is None or step is None:
            found.append(one.contrast)
            continue
        blocks = block_means(one.tested, one.names, one.counts, step)
        found.append(
            one.contrast._replace(corrected=step.p, blocks=blocks, difference=overall(blocks))
        )
    return tuple(found)


def paired_contrast(
    table: pd.DataFrame, ours: str, theirs: str, *, preconditioned: bool = False, seed: int = 0
) -> Weighed:
    """Two scenarios whose batches belong together, before correction; see `contrasts`."""
    one, two = (
        cosine_matrix(table, name, preconditioned=preconditioned) for name in (ours, theirs)
    )
    shared = one.index.intersection(two.index)
    blocks = [name for name in one.columns if name in set(two.columns)]
    change: Array = (one.loc[shared, blocks] - two.loc[shared, blocks]).to_numpy(dtype=np.float64)
    used = np.isfinite(change).any(axis=1)
    left = LeftOut(len(one) - len(shared), len(two) - len(shared), int((~used).sum()))
    count = int(used.sum())
    if count < 2:
        reason = f"they share {count or 'no'} batch{'es' * (count != 1)} with a cosine"
        return not_compared(ours, theirs, preconditioned, count, left, reason)
    tested = flip_test(change[used], seed=seed_for(seed, f"{ours}/{theirs}", 0, "permutation"))
    counts = np.isfinite(change).sum(axis=0).tolist()
    contrast = Contrast(
        ours, theirs, preconditioned, BatchStatistic(None), tested.p, None, count, left_out=left
    )
    return Weighed(contrast, tuple(map(str, blocks)), tuple(counts), tested)


def not_compared(
    ours: str, theirs: str, preconditioned: bool, batches: int, left: LeftOut, reason: str
) -> Weighed:
    """A contrast without a test, and why."""
    nothing = BatchStatistic(None, None, reason)
    return Weighed(
        Contrast(
            ours, theirs, preconditioned, nothing, None, None, batches, (), left, reason=reason
        )
    )
