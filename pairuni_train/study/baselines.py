"""The baselines that a suite ships: trained arms, measured on the whole suite and packed.

Of an experiment's root it takes the checkpoints of the arms that others are compared with, at one
seed, and writes one file each. So that the files stay small, a benchmark of many outputs keeps only
the pictures that a report's gallery comes to first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.toolkit import UserError, as_typed
from pairuni_eval.toolkit.report import choose_rows, verdicts
from pairuni_eval.toolkit.stats import Tables
from pairuni_eval.toolkit.store import StoredRun, given_pictures, pack
from pairuni_train.study.jobs import StudyOptions, TrainJob, last_checkpoint, run_folder
from pairuni_train.study.processes import last_words, measure_command, run_logged
from pairuni_train.study.spec import Experiment

_SMALL = 220  # outputs of a benchmark that keeps all of its pictures
_FIRST = 100  # outputs of a larger one whose pictures are kept


class Baseline(NamedTuple):
    """A packed run, and the name that reports print."""

    name: str
    file: Path


def make_baselines(
    experiment: Experiment, options: StudyOptions, suite: str, out: Path
) -> Iterator[Baseline]:
    """Measure and pack the arms named in `against`, at the first seed.

    Raises:
        UserError: for an arm that was not trained, or a run that fails.
    """
    for arm in experiment.arms:
        if arm.name in experiment.against:
            run = _measured(TrainJob(arm, 0), options, suite, experiment.name)
            file = out / f"{arm.trained_as}.zip"
            pack(run, file, pictures=_shown_first(StoredRun(run)))
            yield Baseline(arm.name, file)


def _measured(job: TrainJob, options: StudyOptions, suite: str, experiment: str) -> Path:
    """The run of a suite at a job's last checkpoint, made unless it is there."""
    root, checkpoint = options.root, last_checkpoint(job, options)
    if not checkpoint.is_dir():
        steps = options.recipe.steps
        raise UserError(
            f"The arm '{job.arm.name}' was not trained: {checkpoint} is not there.",
            hint=as_typed(
                *("pairuni-train", "reproduce", experiment, "--recipe", options.recipe.name),
                *("--steps", steps, "--root", root),
            ),
        )
    run = run_folder(job, f"suite-{suite}", options)
    log = root / "logs" / f"suite-{suite}-{job.arm.trained_as}.txt"
    # From the root, so that no path of this machine is kept.
    inside = (checkpoint.relative_to(root), run.relative_to(root))
    command = measure_command(*inside, "--suite", suite, "--baseline", "none")
    failure = run_logged(command, log, folder=root)
    if failure is not None:
        raise UserError(f"{failure.command} failed: {last_words(log)}", hint=f"Read {log}.")
    return run


def _shown_first(run: StoredRun) -> set[str]:
    """The pictures that are kept: those that a gallery comes to first."""
    tables = Tables(run)
    found: set[str] = set()
    for benchmark in run.card.benchmarks:
        frame = verdicts(tables, benchmark)
        chosen = frame if len(frame) <= _SMALL else choose_rows(frame, at_most=_FIRST)
        found |= given_pictures(run.outputs[run.outputs["id"].isin(chosen["id"])])
    return found
