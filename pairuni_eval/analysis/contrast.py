"""Two scenarios of the gradient probe against each other, on the batches that they share.

Shapes: N shared batches, B draws.

The scenarios are probed at the same weights with the same rollout budget, so a batch of one meets
the batch of the other at the same run and step. The p value is a permutation test: at each shared
batch the two are exchanged or not, up to 11 batches in every possible way, more in 2,000 random
ones. Its statistic is the mean of the paired differences, since a median hardly moves when few
batches are exchanged; what is printed is the difference of the medians. Several contrasts are
corrected together by Holm. The word needs both: p < 0.05 and an interval without 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.analysis.aggregate import Array
from pairuni_eval.analysis.gradient_rows import ALL
from pairuni_eval.analysis.interference import (
    Summary,
    combined,
    cosines,
    draws_of,
    median,
    shown,
    summary,
)
from pairuni_eval.analysis.intervals import DRAWS
from pairuni_eval.analysis.multiple import holm_where_known
from pairuni_eval.analysis.verdict import ALPHA, p_words
from pairuni_eval.seeds import seed_for

_EXACT_UP_TO = 11  # batches: 2,048 swaps are listed instead of drawn


class Contrast(NamedTuple):
    """Two scenarios on the batches that they share.

    Attributes:
        difference: Median cosine of the first minus that of the second.
        p: Two-sided paired permutation p.
        corrected: `p` after Holm over the contrasts made together.
        batches: Shared batches with a cosine in both.
        reason: Why no test was made.
    """

    ours: str
    theirs: str
    block: str
    preconditioned: bool
    difference: Summary
    p: float | None
    corrected: float | None
    batches: int
    reason: str | None = None

    @property
    def word(self) -> str:
        """Either "agree more", "agree less" or "cannot tell"."""
        p = self.p if self.corrected is None else self.corrected
        held = self.difference.interval
        if p is None or p >= ALPHA or held is None or held.low <= 0 <= held.high:
            return "cannot tell"
        return "agree more" if held.low > 0 else "agree less"

    @property
    def brief(self) -> str:
        """E.g. "against random: agree more"."""
        return f"against {self.theirs}: {'not compared' if self.reason else self.word}"

    @property
    def sentence(self) -> str:
        """E.g. "pairuni against random: gradients agree more, difference of the median ..."."""
        names = f"{self.ours} against {self.theirs}"
        if self.reason is not None:
            return f"{names}: not compared, {self.reason}."
        p = self.p if self.corrected is None else self.corrected
        word = self.word if self.word == "cannot tell" else f"gradients {self.word}"
        return (
            f"{names}: {word}, difference of the median cosine {shown(self.difference, '+')}, "
            f"{p_words(p)}, {self.batches} shared batches."
        )


def contrasts(
    table: pd.DataFrame,
    ours: str,
    others: Sequence[str] | None = None,
    *,
    block: str = ALL,
    preconditioned: bool = False,
    seed: int = 0,
) -> tuple[Contrast, ...]:
    """One scenario against others, batch by batch; p values corrected together by Holm.

    Args:
        table: Of `gradient_rows`. Batches meet by run and step: probe every scenario at the same
            weights and the same steps, or give the runs in the same order.
        ours: The scenario in question.
        others: The scenarios it is compared with; all others by default.
        block: Which block.
        preconditioned: Which gradients.
        seed: Seed of the draws.
    """
    names = [str(name) for name in table["scenario"].drop_duplicates() if name != ours]
    found = [
        _contrast(table, (ours, other), block, preconditioned, seed)
        for other in (names if others is None else others)
    ]
    p = holm_where_known([one.p for one in found])
    return tuple(one._replace(corrected=value) for one, value in zip(found, p, strict=True))


def _contrast(
    table: pd.DataFrame, names: tuple[str, str], block: str, preconditioned: bool, seed: int
) -> Contrast:
    one, two = (cosines(table, name, block, preconditioned) for name in names)
    both = one.merge(two, on=["run", "step"], suffixes=("", "_2"))
    if len(both) < 2:
        reason = f"they share {len(both) or 'no'} batch{'es' * (len(both) != 1)} with a cosine"
        nothing = Summary(None, None, reason)
        return Contrast(*names, block, preconditioned, nothing, None, None, len(both), reason)
    draws = draws_of(len(both), seed)
    sides = [median(both[column], draws) for column in ("cosine", "cosine_2")]
    change = (both["cosine"] - both["cosine_2"]).to_numpy()
    p = _flip_p(change, seed_for(seed, f"{names[0]}/{names[1]}/{block}", 0, "permutation"))
    difference = summary(combined(np.subtract, *sides))
    return Contrast(*names, block, preconditioned, difference, p, None, len(both))


def _flip_p(change: Array, seed: int) -> float:
    """Share of sign flips (N,) with a mean at least as far from 0 as the one seen."""
    exact = len(change) <= _EXACT_UP_TO
    if exact:
        flip = (np.arange(2 ** len(change))[:, None] >> np.arange(len(change))) & 1
    else:
        flip = np.random.default_rng(seed).integers(0, 2, size=(DRAWS, len(change)))
    as_large = int((np.abs((1 - 2 * flip) @ change) >= abs(change.sum()) - 1e-12).sum())
    return as_large / len(flip) if exact else (as_large + 1) / (DRAWS + 1)
