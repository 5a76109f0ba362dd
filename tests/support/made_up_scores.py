"""Tables of the flagship's scores made up for tests: shares of right outputs by arm and overlap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pairuni_eval.seeds import seed_for
from pairuni_train.study.design import Design
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
    frames = []
    for (arm, overlap), by_score in shares.items():
        for seed in range(1 if arm == BASE else seeds or design.seeds_of(arm)):
            frames += [
                _rows(design, name, share, spread, arm=arm, overlap=overlap, seed=seed)
                for name, share in by_score.items()
            ]
    found = pd.concat(frames, ignore_index=True)
    return found.assign(
        registered=~found["arm"].isin(unregistered), overlap=found["overlap"].astype("Float64")
    )


def _rows(
    design: Design,
    name: str,
    share: float,
    spread: float,
    *,
    arm: str,
    overlap: float | None,
    seed: int,
) -> pd.DataFrame:
    score = next(one for one in design.scores if one.name == name)
    hard = np.random.default_rng(seed_for(0, name, 0, "difficulty")).permutation(UNITS) / UNITS
    own = np.random.default_rng(seed_for(seed, f"{arm}/{overlap}/{name}", 0, "run"))
    noisy = hard + own.normal(0, 0.02, UNITS)
    right = noisy < share + own.normal(0, spread)
    return pd.DataFrame(
        {
            "base": 0,
            "overlap": overlap,
            "arm": arm,
            "seed": seed,
            "benchmark": score.benchmark,
            "sample": [f"{name}/{unit}" for unit in range(UNITS)],
            "draw": 0,
            "unit": [f"{name}/{unit}" for unit in range(UNITS)],
            "group": score.group,
            "kind": "made up",
            "concept": "none",
            "status": "scored",
            "score": right.astype(float),
        }
    )
