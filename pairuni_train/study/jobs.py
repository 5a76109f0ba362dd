"""The work behind an experiment: pair sets, training runs and evaluations, each done once.

Every job is a command that a person could type, run as a process of its own, and every one of them
continues where it was stopped; so an interrupted experiment continues by the same command, and arms
that another experiment has finished are reused. Folders below the root:

    pairs/KEY/ARM.parquet               KEY names what differs from the pair preset, and a preset
                                        that is the recipe's own
    pairs/stages/                       what all pair sets are cut from, each stage made once
    train/ARM-KEY-STEPS/seed-S/         checkpoints, metrics, gradients
    eval/ARM-KEY-STEPS/seed-S/BENCH/    one run folder per benchmark
    pairs/fixed/KEY.parquet             prompts that the arms of a figure are measured on
    logs/                               what each command printed
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.toolkit import UserError, stable_hash
from pairuni_eval.toolkit.models import SHIPPED, find_card
from pairuni_eval.toolkit.store import StoredRun, layout, read_fixed
from pairuni_train.config import Recipe, find_arm
from pairuni_train.grpo.fixed_prompts import FixedPrompts, choose_prompts, set_name, write_prompts
from pairuni_train.pair_data.build import build
from pairuni_train.pair_data.config import LoadedConfig, TinySource, check_arms, find_preset
from pairuni_train.pair_data.dataset import read_pairs
from pairuni_train.study.overrides import as_options, changed_pairs, real_changes
from pairuni_train.study.processes import (
    Failure,
    given_options,
    measure_command,
    run_logged,
    run_together,
)
from pairuni_train.study.spec import Experiment, Method, StudyArm

_VERBS: dict[Method, str] = {"grpo": "run", "sft": "sft"}  # commands of pairuni-train
_PRESETS = {True: "tiny", False: "orsta-blip3o"}  # of a recipe that names none


class StudyOptions(NamedTuple):
    """How an experiment is run: the same file, another recipe, other numbers of seeds and steps.

    Attributes:
        workers: Processes at a time; 1 where each fills the machine.
        launcher: Words before the training module, e.g. ("accelerate", "launch").
        given: What named the recipe, where it is a file of the user's.
    """

    recipe: Recipe
    seeds: int
    root: Path
    workers: int = 1
    launcher: tuple[str, ...] = ()
    data: Path | None = None
    judge: str | None = None
    given: str | None = None

    @property
    def tiny(self) -> bool:
        """Whether this is measured in the tiny world: the embedded model, or one on tiny pairs."""
        config = preset_of(self.recipe).config
        sources = (*config.understanding, *config.generation)
        return all(isinstance(source, TinySource) for source in sources)


def preset_of(recipe: Recipe) -> LoadedConfig:
    """The pair preset that a recipe names; where it names none, that of its world."""
    return find_preset(recipe.pairs or _PRESETS[recipe.checkpoint in SHIPPED])


class TrainJob(NamedTuple):
    """One arm at one seed."""

    arm: StudyArm
    seed: int

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.arm.name}, seed {self.seed}"


def jobs_of(arm: StudyArm, options: StudyOptions) -> list[TrainJob]:
    """An arm at every seed; the base needs no seed, for nothing is trained."""
    return [TrainJob(arm, seed) for seed in range(options.seeds if arm.trained else 1)]


def train_jobs(experiment: Experiment, options: StudyOptions) -> list[TrainJob]:
    """Every arm at every seed."""
    return [job for arm in experiment.arms for job in jobs_of(arm, options)]


def run_all(
    experiment: Experiment, options: StudyOptions, done: Callable[[str], None]
) -> list[Failure]:
    """Do what is left of an experiment; `done` hears of every job.

    What fails does not stop the others; an arm without its pair set has no jobs.
    """
    failures: list[Failure] = []
    able: list[TrainJob] = []
    for arm in experiment.arms:
        failure = _build_pairs(arm, options, done) if arm.trained else None
        if failure is None:
            able += jobs_of(arm, options)
            continue
        for job in jobs_of(arm, options):
            failures.append(failure)
            done(job.title)
    fixed = None if failures else choose_fixed_prompts(experiment, options)
    work = {job.title: partial(_train_and_measure, job, experiment, options, fixed) for job in able}
    return failures + run_together(work, options.workers, done)


def run_folder(job: TrainJob, benchmark: str, options: StudyOptions) -> Path:
    """Where the evaluation of a job on a benchmark lies."""
    return options.root / "eval" / _name(job, options) / f"seed-{job.seed}" / benchmark


def train_folder(job: TrainJob, options: StudyOptions) -> Path:
    """Where the training of a job lies."""
    return options.root / "train" / _name(job, options) / f"seed-{job.seed}"


def last_checkpoint(job: TrainJob, options: StudyOptions) -> Path:
    """The checkpoint that a finished training has left."""
    return train_folder(job, options) / f"checkpoint-{options.recipe.steps}"


def measured_checkpoint(job: TrainJob, options: StudyOptions) -> Path | str:
    """What a job's scores are of: its last checkpoint, or of a base the base itself."""
    if job.arm.trained:
        return last_checkpoint(job, options)
    return str(job.arm.settings.get("checkpoint", options.recipe.checkpoint))


def is_finished(run: Path) -> bool:
    """Whether an evaluation is whole."""
    return (run / layout.COMPLETE).exists()


def pair_file(arm: StudyArm, options: StudyOptions) -> Path:
    """The pair set of an arm."""
    name = arm.pairs or find_arm(arm.trained_as).pairs
    return options.root / "pairs" / _pairs_key(arm, options) / f"{name}.parquet"


def _pairs_key(arm: StudyArm, options: StudyOptions) -> str:
    """E.g. "preset", "1a2b3c4d" where the arm changes it, "tiny-names" of a preset of its own."""
    preset = preset_of(options.recipe)
    changes = real_changes(preset.config, arm.changes)
    if preset.config.name in _PRESETS.values():
        return _key(changes)
    return "-".join([preset.config.name, *([_key(changes)] if changes else [])])


def _key(changes: Mapping[str, Any]) -> str:
    return stable_hash("changes/1", dict(changes))[:8] if changes else "preset"


def _name(job: TrainJob, options: StudyOptions) -> str:
    arm, recipe = job.arm, options.recipe
    own = f"set{_key(arm.settings)}" if arm.settings else ""
    if not arm.trained:
        return "-".join(filter(None, (recipe.name, "base", own)))
    method = "" if arm.method == "grpo" else arm.method
    words = [recipe.name, method, arm.trained_as, arm.pairs or "", _pairs_key(arm, options), own]
    return "-".join([word for word in words if word] + [str(recipe.steps)])


def _build_pairs(
    arm: StudyArm, options: StudyOptions, done: Callable[[str], None]
) -> Failure | None:
    """Build the pair set of an arm; what a person can mend is a failure of this arm alone."""
    log = options.root / "logs" / f"pairs-{pair_file(arm, options).parent.name}.txt"
    title = f"pairs for {arm.name}"
    try:
        ensure_pairs(arm, options)
    except UserError as failure:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"Error: {failure}\nNext:  {failure.hint}\n", encoding="utf-8")
        return Failure(title, log)
    finally:
        done(title)
    return None


def ensure_pairs(arm: StudyArm, options: StudyOptions, *, also: Sequence[str] = ()) -> None:
    """Build the pair set of an arm, and others of the same rows, unless they are there."""
    target = pair_file(arm, options)
    lacking = [
        name for name in dict.fromkeys((target.stem, *also)) if not target.with_stem(name).is_file()
    ]
    if not lacking:
        return
    preset = preset_of(options.recipe)
    config = changed_pairs(preset.config, arm.changes)
    stages, arms = options.root / "pairs" / "stages", check_arms(tuple(lacking))
    build(LoadedConfig(config, preset.path), target.parent, arms=arms, stages=stages)


def choose_fixed_prompts(experiment: Experiment, options: StudyOptions) -> FixedPrompts | None:
    """The prompts that all arms of an experiment are measured on while they train, if it has some.

    They are drawn from the halves that every arm trains on; where there is none, nothing is
    measured.
    """
    asked = experiment.fixed
    files = [pair_file(arm, options) for arm in experiment.arms if arm.trained]
    if asked is None or not files:
        return None
    chosen = choose_prompts(files, asked.prompts, seed=asked.seed)
    if not any(chosen.values()):
        return None
    file = write_prompts(options.root / "pairs" / "fixed", chosen, files[0])
    return FixedPrompts(file, math.ceil(options.recipe.steps / asked.points), asked.draws)


def is_trained(job: TrainJob, options: StudyOptions, fixed: FixedPrompts | None = None) -> bool:
    """Whether a training is finished, and measured on its fixed prompts at the start and the end.

    One that was trained without them is measured at the checkpoints that it has kept.
    """
    if not last_checkpoint(job, options).is_dir():
        return False
    if fixed is None:
        return True
    name = set_name(read_pairs(fixed.file), fixed.draws)
    steps = {row.step for row in read_fixed(train_folder(job, options)) if row.set == name}
    return {0, options.recipe.steps} <= steps


def _is_measured(run: Path, benchmark: str) -> bool:
    """Whether a finished run is of the benchmark as it is now; else the command says what to do."""
    return (
        is_finished(run) and StoredRun(run).cards[benchmark].version == find_card(benchmark).version
    )


def _train_and_measure(
    job: TrainJob, experiment: Experiment, options: StudyOptions, fixed: FixedPrompts | None
) -> Failure | None:
    """Do what is left of a job; the first command that fails ends it."""
    log = options.root / "logs" / f"{_name(job, options)}-seed-{job.seed}.txt"
    commands = []
    if job.arm.trained and not is_trained(job, options, fixed):
        commands.append(train_command(job, options, fixed))
    checkpoint = measured_checkpoint(job, options)
    for benchmark in experiment.benchmarks(tiny=options.tiny):
        out = run_folder(job, benchmark, options)
        if not _is_measured(out, benchmark):
            command = measure_command(checkpoint, out, "--benchmarks", benchmark)
            commands.append(
                [*command, *given_options({"--data": options.data, "--judge": options.judge})]
            )
    failures = (run_logged(command, log, workers=options.workers) for command in commands)
    return next(filter(None, failures), None)


def train_command(
    job: TrainJob, options: StudyOptions, fixed: FixedPrompts | None = None
) -> list[str]:
    """The command that trains a job, or goes on with it.

    An arm that is taught has the recipe of that name of `pairuni-train sft`.
    """
    command = [
        *(options.launcher or (sys.executable,)),
        *("-m", "pairuni_train.cli", _VERBS[job.arm.method], "--arm", job.arm.trained_as),
        *("--recipe", options.given or options.recipe.name, "--steps", str(options.recipe.steps)),
        *("--pairs", str(pair_file(job.arm, options))),
        *("--seed", str(job.seed), "--out", str(train_folder(job, options))),
        *as_options(job.arm.settings),
    ]
    if fixed is not None:
        command += ["--fixed-prompts", str(fixed.file), "--fixed-every", str(fixed.every)]
        command += ["--fixed-draws", str(fixed.draws)]
    return command
