"""The work behind an experiment: pair sets, training runs and evaluations, each done once.

Every job is a command that a person could type, run as a process of its own, and every one of them
continues where it was stopped; so an interrupted experiment continues by the same command, and arms
that another experiment has finished are reused. Folders below the root:

    pairs/KEY/ARM.parquet               KEY names what differs from the backbone's pair preset
    pairs/stages/                       what all pair sets are cut from, each stage made once
    train/ARM-KEY-STEPS/seed-S/         checkpoints, metrics, gradients
    eval/ARM-KEY-STEPS/seed-S/BENCH/    one run folder per benchmark
    pairs/fixed/KEY.parquet             prompts that the arms of a figure are measured on
    logs/                               what each command printed
"""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.catalog import find_card
from pairuni_eval.errors import UserError
from pairuni_eval.models.checkpoint import TINY
from pairuni_eval.seeds import stable_hash
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.training import read_fixed
from pairuni_train.config import Backbone, find_recipe
from pairuni_train.grpo.fixed_prompts import FixedPrompts, choose_prompts, set_name, write_prompts
from pairuni_train.pair_data.build import build
from pairuni_train.pair_data.config import LoadedConfig, check_arms, find_preset
from pairuni_train.pair_data.dataset import read_pairs
from pairuni_train.study.overrides import as_options, changed, real_changes
from pairuni_train.study.spec import BASE, Experiment, StudyArm

_PRESETS = {True: "tiny", False: "orsta-blip3o"}


class StudyOptions(NamedTuple):
    """How an experiment is run: the same file, another backbone, other numbers of seeds and steps.

    Attributes:
        workers: Processes at a time; 1 where each fills the machine.
        launcher: Words before the training module, e.g. ("accelerate", "launch").
    """

    backbone: Backbone
    seeds: int
    root: Path
    workers: int = 1
    launcher: tuple[str, ...] = ()
    data: Path | None = None
    judge: str | None = None

    @property
    def tiny(self) -> bool:
        """Whether this is the embedded model, measured in the tiny world."""
        return self.backbone.checkpoint == TINY


class TrainJob(NamedTuple):
    """One arm at one seed."""

    arm: StudyArm
    seed: int


class Failure(NamedTuple):
    """A command that did not end well, and where its words are."""

    command: str
    log: Path


def train_jobs(experiment: Experiment, options: StudyOptions) -> list[TrainJob]:
    """Every arm at every seed; the base needs no seed, for nothing is trained."""
    return [
        TrainJob(arm, seed)
        for arm in experiment.arms
        for seed in range(1 if arm.recipe == BASE else options.seeds)
    ]


def run_all(
    experiment: Experiment, options: StudyOptions, done: Callable[[str], None]
) -> list[Failure]:
    """Do what is left of an experiment; `done` hears of every job.

    What fails does not stop the others; an arm without its pair set has no jobs.
    """
    failures: list[Failure] = []
    able: list[TrainJob] = []
    for arm in experiment.arms:
        mine = [job for job in train_jobs(experiment, options) if job.arm == arm]
        failure = None if arm.recipe == BASE else _paired(arm, options)
        if arm.recipe != BASE:
            done(f"pairs for {arm.name}")
        if failure is None:
            able += mine
            continue
        for job in mine:
            failures.append(failure)
            done(f"{arm.name}, seed {job.seed}")
    fixed = None if failures else ensure_fixed(experiment, options)
    return failures + _run(able, experiment, options, done, fixed)


def _run(
    able: Sequence[TrainJob],
    experiment: Experiment,
    options: StudyOptions,
    done: Callable[[str], None],
    fixed: FixedPrompts | None,
) -> list[Failure]:
    """Train and measure jobs, as many at a time as there are workers."""
    failures: list[Failure] = []
    pool = ThreadPoolExecutor(options.workers)
    try:
        futures = {pool.submit(_one, job, experiment, options, fixed): job for job in able}
        for future in as_completed(futures):
            job = futures[future]
            failure = future.result()
            if failure is not None:
                failures.append(failure)
            done(f"{job.arm.name}, seed {job.seed}")
    finally:  # an interruption reaches the running commands as well; none begins after it
        pool.shutdown(cancel_futures=True)
    return failures


def run_folder(job: TrainJob, benchmark: str, options: StudyOptions) -> Path:
    """Where the evaluation of a job on a benchmark lies."""
    return options.root / "eval" / _name(job, options) / f"seed-{job.seed}" / benchmark


def train_folder(job: TrainJob, options: StudyOptions) -> Path:
    """Where the training of a job lies."""
    return options.root / "train" / _name(job, options) / f"seed-{job.seed}"


def pair_file(arm: StudyArm, options: StudyOptions) -> Path:
    """The pair set of an arm."""
    name = arm.pairs or find_recipe(arm.recipe).pairs
    return options.root / "pairs" / _key(_pair_changes(arm, options)) / f"{name}.parquet"


def _pair_changes(arm: StudyArm, options: StudyOptions) -> dict[str, Any]:
    return real_changes(_preset(options).config, arm.changes)


def _preset(options: StudyOptions) -> LoadedConfig:
    return find_preset(_PRESETS[options.tiny])


def _key(changes: Mapping[str, Any]) -> str:
    return stable_hash("changes/1", dict(changes))[:8] if changes else "preset"


def _name(job: TrainJob, options: StudyOptions) -> str:
    arm, backbone = job.arm, options.backbone
    if arm.recipe == BASE:
        return f"{backbone.name}-base"
    own = f"set{_key(arm.settings)}" if arm.settings else ""
    words = [backbone.name, arm.recipe, arm.pairs or "", _key(_pair_changes(arm, options)), own]
    return "-".join([word for word in words if word] + [str(backbone.steps)])


def _paired(arm: StudyArm, options: StudyOptions) -> Failure | None:
    """Build the pair set of an arm; what a person can mend is a failure of this arm alone."""
    log = options.root / "logs" / f"pairs-{pair_file(arm, options).parent.name}.txt"
    try:
        ensure_pairs(arm, options)
    except UserError as failure:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"Error: {failure}\nNext:  {failure.hint}\n", encoding="utf-8")
        return Failure(f"pairs for {arm.name}", log)
    return None


def ensure_pairs(arm: StudyArm, options: StudyOptions) -> None:
    """Build the pair set of an arm, unless it is there."""
    target = pair_file(arm, options)
    if target.is_file():
        return
    preset = _preset(options)
    config = changed(preset.config, arm.changes)
    stages = options.root / "pairs" / "stages"
    arms = check_arms((target.stem,))
    build(LoadedConfig(config, preset.path), target.parent, arms=arms, stages=stages)


def ensure_fixed(experiment: Experiment, options: StudyOptions) -> FixedPrompts | None:
    """The prompts that all arms of an experiment are measured on while they train, if it has some.

    They are drawn from the halves that every arm trains on; where there is none, nothing is
    measured.
    """
    asked = experiment.fixed
    files = [pair_file(arm, options) for arm in experiment.arms if arm.recipe != BASE]
    if asked is None or not files:
        return None
    chosen = choose_prompts(files, asked.prompts, seed=asked.seed)
    if not any(chosen.values()):
        return None
    file = write_prompts(options.root / "pairs" / "fixed", chosen, files[0])
    return FixedPrompts(file, math.ceil(options.backbone.steps / asked.points), asked.draws)


def _trained(folder: Path, options: StudyOptions, fixed: FixedPrompts | None) -> bool:
    """Whether a training is finished, and measured on its fixed prompts at the start and the end.

    One that was trained without them is measured at the checkpoints that it has kept.
    """
    if not (folder / f"checkpoint-{options.backbone.steps}").is_dir():
        return False
    if fixed is None:
        return True
    name = set_name(read_pairs(fixed.file), fixed.draws)
    steps = {row.step for row in read_fixed(folder) if row.set == name}
    return {0, options.backbone.steps} <= steps


def _one(
    job: TrainJob, experiment: Experiment, options: StudyOptions, fixed: FixedPrompts | None
) -> Failure | None:
    """Train a job and measure it; the first command that fails ends it."""
    checkpoint = options.backbone.checkpoint
    log = options.root / "logs" / f"{_name(job, options)}-seed-{job.seed}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    if job.arm.recipe != BASE:
        folder = train_folder(job, options)
        checkpoint = str(folder / f"checkpoint-{options.backbone.steps}")
        command = _training(job, options, folder, fixed)
        done = _trained(folder, options, fixed)
        if not done and not run_logged(command, log, threads(options)):
            return Failure(shlex.join(command), log)
    for benchmark in experiment.benchmarks(tiny=options.tiny):
        out = run_folder(job, benchmark, options)
        command = _measuring(checkpoint, benchmark, out, options)
        if not _measured(out, benchmark) and not run_logged(command, log, threads(options)):
            return Failure(shlex.join(command), log)
    return None


def _measured(run: Path, benchmark: str) -> bool:
    """Whether a finished run is of the benchmark as it is now; else the command says what to do."""
    if not (run / layout.COMPLETE).exists():
        return False
    return StoredRun(run).cards[benchmark].version == find_card(benchmark).version


def _training(
    job: TrainJob, options: StudyOptions, folder: Path, fixed: FixedPrompts | None
) -> list[str]:
    measured: list[str] = []
    if fixed is not None:
        measured += ["--fixed-prompts", str(fixed.file), "--fixed-every", str(fixed.every)]
        measured += ["--fixed-draws", str(fixed.draws)]
    return [
        *(options.launcher or (sys.executable,)),
        *("-m", "pairuni_train.cli", "run", "--recipe", job.arm.recipe),
        *("--backbone", options.backbone.name, "--steps", str(options.backbone.steps)),
        *("--pairs", str(pair_file(job.arm, options))),
        *("--seed", str(job.seed), "--out", str(folder)),
        *as_options(job.arm.settings),
        *measured,
    ]


def _measuring(checkpoint: str, benchmark: str, out: Path, options: StudyOptions) -> list[str]:
    words = [
        *(sys.executable, "-m", "pairuni_eval.cli", "run", "--checkpoint", checkpoint),
        *("--benchmarks", benchmark, "--out", str(out), "--report", str(out / "report")),
    ]
    if options.data is not None:
        words += ["--data", str(options.data)]
    if options.judge is not None:
        words += ["--judge", options.judge]
    return words


def threads(options: StudyOptions) -> int | None:
    """Threads of each process where several run at a time, so that they do not fight for cores."""
    if options.workers == 1:
        return None
    return max(1, (os.cpu_count() or 1) // options.workers)


def run_logged(
    command: Sequence[str], log: Path, threads: int | None = None, folder: Path | None = None
) -> bool:
    """Run a command from a folder, its words appended to a log; whether it ended well."""
    environment = dict(os.environ)
    if threads is not None:
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    with log.open("ab") as stream:
        stream.write(f"\n$ {shlex.join(command)}\n".encode())
        stream.flush()
        ended = subprocess.run(
            list(command), stdout=stream, stderr=stream, env=environment, cwd=folder, check=False
        )
    return ended.returncode == 0


def last_words(log: Path) -> str:
    """The last error line of a log, for people."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if re.match(r"(\w*Error|Error):", line)]
    return (errors or lines or [""])[-1]
