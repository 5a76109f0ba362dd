"""Everything that the page of a flagship prints, gathered from what lies below the root.

Goes in: finished runs of one base. Comes out: the table of scores, the number of every arm at every
overlap, the hypotheses with their verdicts, the gradient matrix, and what the pair sets have shown
of the held-out suite. Scores and matrix are all that it takes: both are kept as files, and from a
table of scores alone everything but gradients can be found again (`examined`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.contamination import describe_leaks
from pairuni_eval.toolkit.gradients import (
    MATRIX_FILE,
    GroupFinding,
    MatrixFindings,
    matrix_findings,
    read_matrix,
)
from pairuni_eval.toolkit.stats import ScoreNumber, score_number
from pairuni_train.pair_data.check import check_pairs
from pairuni_train.study.design import Design
from pairuni_train.study.flagship_jobs import (
    Flagship,
    FlagshipJob,
    deviations,
    evaluation_of,
    flagship_jobs,
    matrix_folder,
)
from pairuni_train.study.hypotheses import FlagshipOutcome, PairAgreement, examine_hypotheses
from pairuni_train.study.jobs import is_finished, pair_file
from pairuni_train.study.registration import Registration, is_registered
from pairuni_train.study.score_table import ScoredArms, gather_scores
from pairuni_train.study.spec import BASE, Experiment


class ArmLine(NamedTuple):
    """One arm at one overlap: its number of every score, in the order of the design."""

    arm: str
    overlap: float | None
    seeds: int
    wanted: int
    numbers: tuple[ScoreNumber, ...]


class Examined(NamedTuple):
    """What a table of scores says: every arm's numbers, and the hypotheses."""

    lines: tuple[ArmLine, ...]
    outcome: FlagshipOutcome


class FlagshipFigure(NamedTuple):
    """Everything that is printed.

    Attributes:
        scores: The rows that all numbers are of.
        matrix: What the gradient matrix of the base says; None if it was not measured.
        unregistered: Runs that were made under another file, or not as the file says.
        missing: Runs that are not there, of how many.
        seen: What each pair set has shown of the held-out suite, a sentence each.
        deviations: In what this is not the experiment of the file, in words.
    """

    experiment: Experiment
    design: Design
    checkpoint: str
    base: int
    tiny: bool
    steps: int
    overlaps: tuple[float, ...]
    registration: Registration
    scores: pd.DataFrame
    examined: Examined
    matrix: MatrixFindings | None
    unregistered: tuple[str, ...]
    missing: tuple[int, int]
    seen: tuple[str, ...]
    deviations: tuple[str, ...]

    @property
    def outcome(self) -> FlagshipOutcome:
        """The hypotheses."""
        return self.examined.outcome


def make_flagship(flagship: Flagship) -> FlagshipFigure:
    """Read what is finished and examine it.

    Raises:
        UserError: if nothing has been measured.
    """
    scores = gather_scores(flagship)
    jobs = flagship_jobs(flagship)
    there = [one for one in jobs if is_finished(evaluation_of(one, flagship))]
    matrix = _matrix(flagship)
    group = None if matrix is None else asked_group(matrix)
    stamped = is_registered(matrix_folder(flagship), flagship.registration)
    return FlagshipFigure(
        experiment=flagship.experiment,
        design=flagship.design,
        checkpoint=flagship.checkpoint,
        base=flagship.base,
        tiny=flagship.options.tiny,
        steps=flagship.options.recipe.steps,
        overlaps=flagship.overlaps,
        registration=flagship.registration,
        scores=scores,
        examined=examined(
            scores,
            flagship.experiment,
            agreement=None if group is None else agreement_of(group),
            agreement_registered=stamped and not deviations(flagship),
        ),
        matrix=matrix,
        unregistered=_unregistered(scores),
        missing=(len(jobs) - len(there), len(jobs)),
        seen=tuple(_seen(flagship, jobs)),
        deviations=deviations(flagship),
    )


def examined(
    scores: pd.DataFrame,
    experiment: Experiment,
    *,
    agreement: PairAgreement | None = None,
    agreement_registered: bool = True,
) -> Examined:
    """What a table of scores of one base says.

    Raises:
        UserError: for an experiment without a design.
    """
    design = experiment.design
    if design is None:
        raise UserError(f"{experiment.name} has no hypotheses.")
    arms = ScoredArms(scores)
    outcome = examine_hypotheses(arms, design, agreement, agreement_registered=agreement_registered)
    return Examined(tuple(_lines(arms, experiment, design)), outcome)


def _lines(arms: ScoredArms, experiment: Experiment, design: Design) -> Iterator[ArmLine]:
    """The base first, then the arms that have a run, overlap by overlap."""
    yield _line(arms, design, BASE, None)
    for overlap in arms.overlaps():
        for arm in experiment.arms:
            line = _line(arms, design, arm.name, overlap)
            if arm.trained and line.seeds:
                yield line


def _line(arms: ScoredArms, design: Design, arm: str, overlap: float | None) -> ArmLine:
    found = [arms.arm(arm, score, overlap) for score in design.scores]
    seeds = min(len(one.frames) for one in found)
    wanted = 1 if arm == BASE else design.seeds_of(arm)
    return ArmLine(arm, overlap, seeds, wanted, tuple(map(score_number, found)))


def _matrix(flagship: Flagship) -> MatrixFindings | None:
    folder = matrix_folder(flagship)
    if not (folder / MATRIX_FILE).is_file():
        return None
    return matrix_findings(read_matrix(folder))


def asked_group(matrix: MatrixFindings) -> GroupFinding | None:
    """The pairs that the hypothesis of gradients is about: those whose answer is not "no"."""
    return next((group for group in matrix.groups if group.answers != '"no"'), None)


def agreement_of(group: GroupFinding) -> PairAgreement | None:
    """The test of a group's pairing; None where nothing was tested."""
    test = group.pairing
    if test.p is None or test.within is None or test.re_paired is None:
        return None
    return PairAgreement(test.within, test.re_paired, test.p, test.pairs)


def _unregistered(scores: pd.DataFrame) -> tuple[str, ...]:
    """E.g. "PairUni, seed 0, overlap 0"."""
    runs = scores[~scores["registered"].astype(bool)][["arm", "seed", "overlap"]].drop_duplicates()
    overlaps = runs["overlap"].astype("float64").tolist()
    return tuple(
        f"{arm}, seed {seed}" + ("" if math.isnan(overlap) else f", overlap {overlap:g}")
        for arm, seed, overlap in zip(runs["arm"], runs["seed"], overlaps, strict=True)
    )


def _seen(flagship: Flagship, jobs: Sequence[FlagshipJob]) -> list[str]:
    """What each set of pairs that was trained on has shown of the suite."""
    sets = {
        pair_file(one.job.arm, flagship.options): one.overlap for one in jobs if one.job.arm.trained
    }
    said = []
    for file, overlap in sets.items():
        if file.is_file() and overlap is not None:
            found = check_pairs(file, against=flagship.design.suite, data=None)
            words = describe_leaks(found.seen, found.rows)
            said.append(f"Pairs '{file.stem}' at overlap {overlap:g}: {words.rstrip('.')}.")
    return said
