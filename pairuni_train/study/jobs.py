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
from pairuni_train.pair_data.config import Read, check_arms, find_preset
from pairuni_train.pair_data.dataset import read_pairs
from pairuni_train.study.overrides import as_options, changed_pairs, real_changes
from pairuni_train.study.spec import BASE, Arm, Experiment

_PRESETS = {True: "tiny", False: "orsta-blip3o"}


class Setting(NamedTuple):
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


class Trial(NamedTuple):
    """One arm at one seed."""

    arm: Arm
    seed: int


class Failure(NamedTuple):
    """A command that did not end well, and where its words are."""

    command: str
    log: Path


def trials(experiment: Experiment, setting: Setting) -> list[Trial]:
    """Every arm at every seed; the base needs no seed, for nothing is trained."""
    return [
        Trial(arm, seed)
        for arm in experiment.arms
        for seed in range(1 if arm.recipe == BASE else setting.seeds)
    ]


def run_all(experiment: Experiment, setting: Setting, done: Callable[[str], None]) -> list[Failure]:
    """Do what is left of an experiment; `done` hears of every trial.

    What fails does not stop the others; an arm without its pair set has no trials.
    """
    failures: list[Failure] = []
    able: list[Trial] = []
    for arm in experiment.arms:
        mine = [trial for trial in trials(experiment, setting) if trial.arm == arm]
        failure = None if arm.recipe == BASE else _paired(arm, setting)
        if arm.recipe != BASE:
            done(f"pairs for {arm.name}")
        if failure is None:
            able += mine
            continue
        for trial in mine:
            failures.append(failure)
            done(f"{arm.name}, seed {trial.seed}")
    fixed = None if failures else ensure_fixed(experiment, setting)
    return failures + _run(able, experiment, setting, done, fixed)


def _run(
    able: Sequence[Trial],
    experiment: Experiment,
    setting: Setting,
    done: Callable[[str], None],
    fixed: FixedPrompts | None,
) -> list[Failure]:
    """Train and measure trials, as many at a time as there are workers."""
    failures: list[Failure] = []
    pool = ThreadPoolExecutor(setting.workers)
    try:
        futures = {pool.submit(_one, trial, experiment, setting, fixed): trial for trial in able}
        for future in as_completed(futures):
            trial = futures[future]
            failure = future.result()
            if failure is not None:
                failures.append(failure)
            done(f"{trial.arm.name}, seed {trial.seed}")
    finally:  # an interruption reaches the running commands as well; none begins after it
        pool.shutdown(cancel_futures=True)
    return failures


def run_folder(trial: Trial, benchmark: str, setting: Setting) -> Path:
    """Where the evaluation of a trial on a benchmark lies."""
    return setting.root / "eval" / _name(trial, setting) / f"seed-{trial.seed}" / benchmark


def train_folder(trial: Trial, setting: Setting) -> Path:
    """Where the training of a trial lies."""
    return setting.root / "train" / _name(trial, setting) / f"seed-{trial.seed}"


def pair_file(arm: Arm, setting: Setting) -> Path:
    """The pair set of an arm."""
    name = arm.pairs or find_recipe(arm.recipe).pairs
    return setting.root / "pairs" / _key(_pair_changes(arm, setting)) / f"{name}.parquet"


def _pair_changes(arm: Arm, setting: Setting) -> dict[str, Any]:
    return real_changes(_preset(setting).config, arm.changes)


def _preset(setting: Setting) -> Read:
    return find_preset(_PRESETS[setting.tiny])


def _key(changes: Mapping[str, Any]) -> str:
    return stable_hash("changes/1", dict(changes))[:8] if changes else "preset"


def _name(trial: Trial, setting: Setting) -> str:
    arm, backbone = trial.arm, setting.backbone
    if arm.recipe == BASE:
        return f"{backbone.name}-base"
    own = f"set{_key(arm.settings)}" if arm.settings else ""
    words = [backbone.name, arm.recipe, arm.pairs or "", _key(_pair_changes(arm, setting)), own]
    return "-".join([word for word in words if word] + [str(backbone.steps)])


def _paired(arm: Arm, setting: Setting) -> Failure | None:
    """Build the pair set of an arm; what a person can mend is a failure of this arm alone."""
    log = setting.root / "logs" / f"pairs-{pair_file(arm, setting).parent.name}.txt"
    try:
        ensure_pairs(arm, setting)
    except UserError as failure:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"Error: {failure}\nNext:  {failure.hint}\n", encoding="utf-8")
        return Failure(f"pairs for {arm.name}", log)
    return None


def ensure_pairs(arm: Arm, setting: Setting) -> None:
    """Build the pair set of an arm, unless it is there."""
    target = pair_file(arm, setting)
    if target.is_file():
        return
    preset = _preset(setting)
    config = changed_pairs(preset.config, arm.changes)
    stages = setting.root / "pairs" / "stages"
    arms = check_arms((target.stem,))
    build(Read(config, preset.path), target.parent, arms=arms, stages=stages)


def ensure_fixed(experiment: Experiment, setting: Setting) -> FixedPrompts | None:
    """The prompts that all arms of an experiment are measured on while they train, if it has some.

    They are drawn from the halves that every arm trains on; where there is none, nothing is
    measured.
    """
    asked = experiment.fixed
    files = [pair_file(arm, setting) for arm in experiment.arms if arm.recipe != BASE]
    if asked is None or not files:
        return None
    chosen = choose_prompts(files, asked.prompts, seed=asked.seed)
    if not any(chosen.values()):
        return None
    file = write_prompts(setting.root / "pairs" / "fixed", chosen, files[0])
    return FixedPrompts(file, math.ceil(setting.backbone.steps / asked.points), asked.draws)


def _trained(folder: Path, setting: Setting, fixed: FixedPrompts | None) -> bool:
    """Whether a training is finished, and measured on its fixed prompts at the start and the end.

    One that was trained without them is measured at the checkpoints that it has kept.
    """
    if not (folder / f"checkpoint-{setting.backbone.steps}").is_dir():
        return False
    if fixed is None:
        return True
    name = set_name(read_pairs(fixed.file), fixed.draws)
    steps = {row.step for row in read_fixed(folder) if row.set == name}
    return {0, setting.backbone.steps} <= steps


def _one(
    trial: Trial, experiment: Experiment, setting: Setting, fixed: FixedPrompts | None
) -> Failure | None:
    """Train a trial and measure it; the first command that fails ends it."""
    checkpoint = setting.backbone.checkpoint
    log = setting.root / "logs" / f"{_name(trial, setting)}-seed-{trial.seed}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    if trial.arm.recipe != BASE:
        folder = train_folder(trial, setting)
        checkpoint = str(folder / f"checkpoint-{setting.backbone.steps}")
        command = _training(trial, setting, folder, fixed)
        done = _trained(folder, setting, fixed)
        if not done and not run_logged(command, log, threads(setting)):
            return Failure(shlex.join(command), log)
    for benchmark in experiment.benchmarks(tiny=setting.tiny):
        out = run_folder(trial, benchmark, setting)
        command = _measuring(checkpoint, benchmark, out, setting)
        if not _measured(out, benchmark) and not run_logged(command, log, threads(setting)):
            return Failure(shlex.join(command), log)
    return None


def _measured(run: Path, benchmark: str) -> bool:
    """Whether a finished run is of the benchmark as it is now; else the command says what to do."""
    if not (run / layout.COMPLETE).exists():
        return False
    return StoredRun(run).cards[benchmark].version == find_card(benchmark).version


def _training(
    trial: Trial, setting: Setting, folder: Path, fixed: FixedPrompts | None
) -> list[str]:
    measured: list[str] = []
    if fixed is not None:
        measured += ["--fixed-prompts", str(fixed.file), "--fixed-every", str(fixed.every)]
        measured += ["--fixed-draws", str(fixed.draws)]
    return [
        *(setting.launcher or (sys.executable,)),
        *("-m", "pairuni_train.cli", "run", "--recipe", trial.arm.recipe),
        *("--backbone", setting.backbone.name, "--steps", str(setting.backbone.steps)),
        *("--pairs", str(pair_file(trial.arm, setting))),
        *("--seed", str(trial.seed), "--out", str(folder)),
        *as_options(trial.arm.settings),
        *measured,
    ]


def _measuring(checkpoint: str, benchmark: str, out: Path, setting: Setting) -> list[str]:
    words = [
        *(sys.executable, "-m", "pairuni_eval.cli", "run", "--checkpoint", checkpoint),
        *("--benchmarks", benchmark, "--out", str(out), "--report", str(out / "report")),
    ]
    if setting.data is not None:
        words += ["--data", str(setting.data)]
    if setting.judge is not None:
        words += ["--judge", setting.judge]
    return words


def threads(setting: Setting) -> int | None:
    """Threads of each process where several run at a time, so that they do not fight for cores."""
    if setting.workers == 1:
        return None
    return max(1, (os.cpu_count() or 1) // setting.workers)


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
