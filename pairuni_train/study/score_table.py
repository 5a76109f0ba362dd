"""The scores behind a flagship's page as one table: a row for each output of each run.

    base         number of the base that training starts from
    overlap      how much both sources know in common; null for the base itself
    arm, seed    what was trained; the base is the arm "base", seed 0
    registered   whether training and evaluation were made under the experiment's file
    benchmark    of the suite
    sample, draw which output: the sample's id and the number of the draw
    unit         what is independent: outputs of one picture or one prompt are one unit
    group        "new" or "common"
    kind         what was asked
    concept      the names that it is about, with commas; "none" for a common skill
    status       scored, or why there is no score of its own (an unparsed answer counts 0)
    score        from 0 to 1 under the benchmark's default protocol; null where there is none

Every number of the page but those of gradients follows from these columns. The file is Parquet that
needs nothing beside it; its columns are repeated words, so that it stays small.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.stats import ScoredArm, Tables
from pairuni_eval.toolkit.store import StoredRun, atomic_path
from pairuni_train.study.design import ScoreSpec
from pairuni_train.study.flagship_jobs import (
    Flagship,
    FlagshipJob,
    evaluation_of,
    flagship_jobs,
    registered,
)
from pairuni_train.study.jobs import is_finished
from pairuni_train.study.spec import BASE

SCORES_FILE = "scores.parquet"
WORDS = ("arm", "benchmark", "sample", "unit", "group", "kind", "concept", "status")
COLUMNS = (
    *("base", "overlap", "arm", "seed", "registered", "benchmark", "sample", "draw"),
    *("unit", "group", "kind", "concept", "status", "score"),
)


def gather_scores(flagship: Flagship) -> pd.DataFrame:
    """The rows of every job that is measured.

    Raises:
        UserError: if none is.
    """
    found = [
        _rows(one, flagship)
        for one in flagship_jobs(flagship)
        if is_finished(evaluation_of(one, flagship))
    ]
    if not found:
        raise UserError(
            f"No arm of {flagship.experiment.name} has been measured yet.",
            hint=f"Look into {flagship.options.root / 'logs'}.",
        )
    return pd.concat(found, ignore_index=True)


def _rows(one: FlagshipJob, flagship: Flagship) -> pd.DataFrame:
    tables = Tables(StoredRun(evaluation_of(one, flagship)))
    frames = [_of_benchmark(name, tables) for name in tables.run.card.benchmarks]
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(
        base=flagship.base,
        overlap=pd.array([one.overlap] * len(frame), dtype="Float64"),
        arm=one.job.arm.name,
        seed=one.job.seed,
        registered=registered(one, flagship),
    )[list(COLUMNS)]


def _of_benchmark(name: str, tables: Tables) -> pd.DataFrame:
    protocol = tables.protocols(name)[0]
    spec = tables.spec(name, protocol)
    joined = tables.joined(name, protocol, spec.metric(spec.headline).of)
    return pd.DataFrame(
        {
            "benchmark": name,
            "sample": joined["sample"],
            "draw": joined["draw"],
            "unit": joined["unit"],
            "group": joined["tag.skill"],
            "kind": joined["tag.kind"],
            "concept": joined["tag.concept"],
            "status": joined["status"].astype(str),
            "score": joined["value"],
        }
    )


class ScoredArms:
    """The arms of a table of one base, each found by its score and overlap.

    Args:
        scores: The table.
    """

    def __init__(self, scores: pd.DataFrame) -> None:
        by = ["benchmark", "group", "overlap", "arm", "seed"]
        # One order and numbers for names: what is compared many times is compared faster so.
        numbers = {name: pd.factorize(scores[name], sort=True)[0] for name in ("sample", "unit")}
        scores = scores.assign(**numbers).sort_values(["sample", "draw"], kind="stable")
        self._frames: dict[tuple[str, str, float | None, str], list[pd.DataFrame]] = {}
        for key, frame in scores.groupby(by, sort=True, dropna=False, observed=True):
            benchmark, group, _, arm, _ = map(str, key)
            overlap = frame["overlap"].astype("float64").iloc[0]
            place = (benchmark, group, None if np.isnan(overlap) else float(overlap), arm)
            self._frames.setdefault(place, []).append(frame)

    def arm(self, name: str, score: ScoreSpec, overlap: float | None) -> ScoredArm:
        """An arm's frames, one a seed, none where it has no run; the base is at every overlap."""
        trained = name != BASE
        place = (score.benchmark, score.group, overlap if trained else None, name)
        return ScoredArm(name, tuple(self._frames.get(place, ())), trained)

    def overlaps(self) -> list[float]:
        """Where some arm has a run."""
        return sorted({key[2] for key in self._frames if key[2] is not None})


def write_scores(path: Path, scores: pd.DataFrame) -> None:
    """Write the table with its columns in their order, whole or not at all."""
    narrow = scores[list(COLUMNS)].astype(
        dict.fromkeys(WORDS, "category") | {"seed": "int16", "draw": "int16"}
    )
    narrow = narrow.astype({"base": "int16", "score": "float32"})
    with atomic_path(path) as partial:
        narrow.to_parquet(partial, index=False, compression="zstd")


def read_scores(path: Path) -> pd.DataFrame:
    """The table of a file.

    Raises:
        UserError: if there is none, or a column is missing.
    """
    if not path.is_file():
        raise UserError(f"There is no table of scores {path}.")
    try:
        found = pd.read_parquet(path)
    except (ValueError, OSError) as failure:
        raise UserError(f"{path} is no table of scores: {failure}.") from failure
    missing = sorted(set(COLUMNS) - set(found.columns))
    if missing:
        raise UserError(f"{path} is no table of scores: it has no column {', '.join(missing)}.")
    return found.astype(dict.fromkeys(WORDS, "object"))
