"""Tables of the flagship's scores made up for tests: shares of right outputs by arm and overlap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pairuni_eval.seeds import seed_for
from pairuni_train.study.spec import BASE, Experiment

UNITS = 800  # of each score
Shares = Mapping[tuple[str, float | None], Mapping[str, float]]
"""Shares of right outputs by arm and overlap, and by score; what has no line is not there."""


def made_up_scores(
    experiment: Experiment,
    shares: Shares,
    *,
    seeds: int | None = None,
    spread: float = 0.003,
    unregistered: frozenset[str] = frozenset(),
) -> pd.DataFrame:
    """A table whose arms have about these shares.

    An output is right where the difficulty of its unit, which all runs share, is below the share of
    its run; so that the runs of one arm differ by `spread` and arms by what they are given.

    Args:
        experiment: Names the arms and scores.
        shares: By arm and overlap, then by score.
        seeds: Of every arm, instead of the design's.
        spread: Standard deviation of an arm's share between seeds.
        unregistered: Arms whose runs were made under another file.
    """
    design = experiment.design
    assert design is not None
    scores = {one.name: one for one in design.scores}
    runs = [
        _RunScore(arm, overlap, seed, name, _right(name, share, spread, f"{arm}/{overlap}", seed))
        for (arm, overlap), by_score in shares.items()
        for seed in range(1 if arm == BASE else seeds or design.seeds_of(arm))
        for name, share in by_score.items()
    ]
    units = _by_run([f"{one.name}/{unit}" for one in design.scores for unit in range(UNITS)])
    first = {name: number * UNITS for number, name in enumerate(scores)}
    units = units.take(np.concatenate([first[run.score] + np.arange(UNITS) for run in runs]))
    return pd.DataFrame(
        {
            "base": 0,
            "overlap": pd.array([run.overlap for run in runs], dtype="Float64").repeat(UNITS),
            "arm": _by_run([run.arm for run in runs]).repeat(UNITS),
            "seed": np.repeat([run.seed for run in runs], UNITS),
            "benchmark": _by_run([scores[run.score].benchmark for run in runs]).repeat(UNITS),
            "sample": units,
            "draw": 0,
            "unit": units,
            "group": _by_run([scores[run.score].group for run in runs]).repeat(UNITS),
            "kind": "made up",
            "concept": "none",
            "status": "scored",
            "score": np.concatenate([run.right for run in runs]).astype(float),
            "registered": np.repeat([run.arm not in unregistered for run in runs], UNITS),
        }
    )


class _RunScore(NamedTuple):
    """The outputs of one run under one score."""

    arm: str
    overlap: float | None
    seed: int
    score: str
    right: NDArray[np.bool_]


def _by_run(values: list[str]) -> Any:
    """Texts as a column of a frame holds them."""
    return pd.Series(values).array


def _right(name: str, share: float, spread: float, run: str, seed: int) -> NDArray[np.bool_]:
    hard = np.random.default_rng(seed_for(0, name, 0, "difficulty")).permutation(UNITS) / UNITS
    own = np.random.default_rng(seed_for(seed, f"{run}/{name}", 0, "run"))
    noisy = hard + own.normal(0, 0.02, UNITS)
    right: NDArray[np.bool_] = noisy < share + own.normal(0, spread)
    return right
