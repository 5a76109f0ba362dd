"""The work behind a flagship: one base, some overlaps, every arm at every seed, each done once.

As everywhere in a study a job is a command that a person could type, and finished work is found
again (`jobs`). A job trains an arm and measures the end of its training on the design's suite, in a
process each; the base is measured once, and its gradient matrix once. All arms of one overlap train
on pair sets that are cut from the same rows. What is made is stamped with the experiment file that
it is made under before it begins (`registration`). Folders below the root beside those of `jobs`:

    eval/ARM-KEY-STEPS/seed-S/suite-SUITE/   one run folder for all benchmarks of the suite
    matrix/CHECKPOINT-KEY/                   the gradient matrix of a base
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.gradients import MATRIX_FILE, SUMMARY_FILE
from pairuni_train.study.design import Design
from pairuni_train.study.jobs import (
    StudyOptions,
    TrainJob,
    ensure_pairs,
    is_finished,
    is_trained,
    measured_checkpoint,
    pair_file,
    run_folder,
    train_command,
    train_folder,
)
from pairuni_train.study.processes import Failure, measure_command, run_logged, run_together
from pairuni_train.study.registration import Registration, is_registered, stamp
from pairuni_train.study.spec import BASE, Experiment, StudyArm


class Flagship(NamedTuple):
    """What is done of an experiment: one base, some of the overlaps.

    Attributes:
        overlaps: Those asked for, in the order of the design.
        seeds: Training seeds of every arm, instead of the design's.
        registration: The file that all of it is made under.
    """

    experiment: Experiment
    design: Design
    options: StudyOptions
    base: int
    overlaps: tuple[float, ...]
    seeds: int | None
    registration: Registration

    @property
    def checkpoint(self) -> str:
        """What training starts from."""
        return self.design.bases[self.base]


class FlagshipJob(NamedTuple):
    """One arm at one seed and overlap; the base at none."""

    overlap: float | None
    job: TrainJob

    @property
    def title(self) -> str:
        """For people."""
        where = "" if self.overlap is None else f", overlap {self.overlap:g}"
        return f"{self.job.title}{where}"


def plan_flagship(
    experiment: Experiment,
    options: StudyOptions,
    registration: Registration,
    *,
    base: int = 0,
    overlaps: tuple[float, ...] = (),
    seeds: int | None = None,
) -> Flagship:
    """What is done.

    Args:
        experiment: One with a design.
        options: How; its number of seeds does not count.
        registration: Of the experiment's file.
        base: Number of the base.
        overlaps: Some of the design's; none are all.
        seeds: Of every arm, instead of the design's.

    Raises:
        UserError: for a base or an overlap that the design does not have.
    """
    design = experiment.design
    if design is None:
        raise UserError(f"{experiment.name} has no bases and overlaps.")
    if not 0 <= base < len(design.bases):
        raise UserError(
            f"{experiment.name} has no base {base}.", hint=f"--base 0 to {len(design.bases) - 1}"
        )
    for overlap in overlaps:
        if overlap not in design.overlaps:
            known = ", ".join(f"{one:g}" for one in design.overlaps)
            raise UserError(
                f"{experiment.name} has no overlap {overlap:g}; it has {known}.",
                hint=f"--overlap {min(design.overlaps, key=lambda one: abs(one - overlap)):g}",
            )
    chosen = tuple(one for one in design.overlaps if not overlaps or one in overlaps)
    return Flagship(experiment, design, options, base, chosen, seeds, registration)


def flagship_jobs(flagship: Flagship) -> list[FlagshipJob]:
    """The base, then every arm at every seed, overlap by overlap."""
    return [FlagshipJob(None, TrainJob(_base(flagship), 0)), *_trainings(flagship)]


def _trainings(flagship: Flagship) -> Iterator[FlagshipJob]:
    for overlap in flagship.overlaps:
        for arm in flagship.experiment.arms:
            if arm.trained and overlap in flagship.design.overlaps_of(arm.name):
                seeds = flagship.seeds or flagship.design.seeds_of(arm.name)
                placed = _placed(arm, overlap, flagship)
                yield from (FlagshipJob(overlap, TrainJob(placed, seed)) for seed in range(seeds))


def _base(flagship: Flagship) -> StudyArm:
    return StudyArm(name=BASE, trained_as=BASE, settings=_from(flagship))


def _placed(arm: StudyArm, overlap: float, flagship: Flagship) -> StudyArm:
    """An arm on the pairs of an overlap, trained from the base."""
    return StudyArm(
        name=arm.name,
        trained_as=arm.trained_as,
        pairs=arm.pairs,
        changes={**arm.changes, "overlap": overlap},
        settings={**arm.settings, **_from(flagship)},
    )


def _from(flagship: Flagship) -> dict[str, str]:
    """The setting that starts from another checkpoint than the recipe's."""
    other = flagship.checkpoint != flagship.options.recipe.checkpoint
    return {"checkpoint": flagship.checkpoint} if other else {}


def evaluation_of(one: FlagshipJob, flagship: Flagship) -> Path:
    """Where the evaluation of a job lies."""
    return run_folder(one.job, f"suite-{flagship.design.suite}", flagship.options)


def deviations(flagship: Flagship) -> tuple[str, ...]:
    """In what the trainings are not those of the experiment's file, in words."""
    recipe, design = flagship.options.recipe, flagship.design
    found = []
    if recipe.name != design.recipe:
        found.append(f"the recipe is {recipe.name}, not {design.recipe}")
    if recipe.steps != design.steps:
        found.append(f"{recipe.steps} training steps, not {design.steps}")
    return tuple(found)


def registered(one: FlagshipJob, flagship: Flagship) -> bool:
    """Whether training and evaluation of a job were made under the experiment's file."""
    if one.job.arm.trained and deviations(flagship):
        return False
    folders = [evaluation_of(one, flagship)]
    if one.job.arm.trained:
        folders.append(train_folder(one.job, flagship.options))
    return all(is_registered(folder, flagship.registration) for folder in folders)


def run_flagship(flagship: Flagship, done: Callable[[str], None]) -> list[Failure]:
    """Do what is left; `done` hears of the pair sets of each overlap, and of every job.

    Pair sets of a later overlap are built while arms of an earlier one train, and what fails does
    not stop the others.
    """
    failures: list[Failure] = []
    for overlap in _build_order(flagship):
        failure = _build(overlap, flagship)
        done(f"pairs at overlap {overlap:g}")
        if failure is not None:
            failures.append(failure)
    work = {
        one.title: partial(_train_and_measure, one, flagship) for one in flagship_jobs(flagship)
    }
    base, *rest = work.items()
    matrix = {"gradients at the base": partial(_measure_matrix, flagship)}
    return failures + run_together(
        dict([base]) | matrix | dict(rest), flagship.options.workers, done
    )


def work_of(flagship: Flagship) -> tuple[int, int]:
    """How many sets of pairs, and how many jobs, `run_flagship` tells of."""
    return len(_build_order(flagship)), len(flagship_jobs(flagship)) + 1


def _build_order(flagship: Flagship) -> list[float]:
    """The overlaps whose pairs are needed: the matrix has one of its own."""
    return list(dict.fromkeys((*flagship.overlaps, flagship.design.matrix.overlap)))


def _build(overlap: float, flagship: Flagship) -> Failure | None:
    """Build the pair sets of an overlap, those of all arms at once."""
    arms = [_placed(arm, overlap, flagship) for arm in flagship.experiment.arms if arm.trained]
    options, matrix = flagship.options, flagship.design.matrix
    names = [pair_file(arm, options).stem for arm in arms]
    wanted = names if overlap in flagship.overlaps else []
    wanted += [matrix.scenario] if overlap == matrix.overlap else []
    log = options.root / "logs" / f"pairs-overlap-{overlap:g}.txt"
    try:
        first = next(arm for arm in arms if pair_file(arm, options).stem in wanted or not names)
        ensure_pairs(first, options, also=wanted)
    except UserError as failure:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"Error: {failure}\nNext:  {failure.hint}\n", encoding="utf-8")
        return Failure(f"pairs at overlap {overlap:g}", log)
    return None


def _train_and_measure(one: FlagshipJob, flagship: Flagship) -> Failure | None:
    """Do what is left of a job; the first command that fails ends it."""
    options, job = flagship.options, one.job
    run, training = evaluation_of(one, flagship), train_folder(job, options)
    log = options.root / "logs" / f"{training.parent.name}-seed-{job.seed}.txt"
    if job.arm.trained and not is_trained(job, options):
        stamp(training, flagship.registration)
        failure = run_logged(train_command(job, options), log, workers=options.workers)
        if failure is not None:
            return failure
    if is_finished(run):
        return None
    stamp(run, flagship.registration)
    what = ("--suite", flagship.design.suite, "--baseline", "none")
    command = measure_command(measured_checkpoint(job, options), run, *what, report=False)
    return run_logged(command, log, workers=options.workers)


def matrix_folder(flagship: Flagship) -> Path:
    """Where the gradient matrix of the base lies."""
    name = Path(flagship.checkpoint).name
    return flagship.options.root / "matrix" / f"{name}-{_matrix_pairs(flagship).name}"


def _matrix_pairs(flagship: Flagship) -> Path:
    """The folder of the pair sets that the matrix is measured on."""
    arm = next(arm for arm in flagship.experiment.arms if arm.trained)
    placed = _placed(arm, flagship.design.matrix.overlap, flagship)
    return pair_file(placed, flagship.options).parent


def _measure_matrix(flagship: Flagship) -> Failure | None:
    folder, options, spec = matrix_folder(flagship), flagship.options, flagship.design.matrix
    if (folder / MATRIX_FILE).is_file() and (folder / SUMMARY_FILE).is_file():
        return None
    stamp(folder, flagship.registration)
    command = [
        *(sys.executable, "-m", "pairuni_train.cli", "probe", "--matrix"),
        *("--checkpoint", flagship.checkpoint, "--recipe", options.given or options.recipe.name),
        *("--pairs", str(_matrix_pairs(flagship)), "--scenario", spec.scenario),
        *("--matrix-pairs", str(spec.pairs), "--out", str(folder)),
    ]
    log = options.root / "logs" / f"matrix-{folder.name}.txt"
    return run_logged(command, log, workers=options.workers)
