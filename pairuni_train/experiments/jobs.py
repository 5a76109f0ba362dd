"""The work behind an experiment: pair sets, training runs and evaluations, each done once.

Every job is a command that a person could type, run as a process of its own, and every one of them
continues where it was stopped; so an interrupted experiment continues by the same command, and arms
that another experiment has finished are reused. Folders below the root:

    pairs/KEY/ARM.parquet               KEY names what differs from the backbone's pair preset
    train/ARM-KEY-STEPS/seed-S/         checkpoints, metrics, gradients
    eval/ARM-KEY-STEPS/seed-S/BENCH/    one run folder per benchmark
    logs/                               what each command printed
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pairuni_eval.errors import UserError
from pairuni_eval.models.checkpoint import TINY
from pairuni_eval.seeds import stable_hash
from pairuni_train.experiments.spec import BASE, Arm, Experiment
from pairuni_train.pairs.build import build
from pairuni_train.pairs.config import PairConfig, Read, check_arms, find_preset
from pairuni_train.recipe import Backbone, find_recipe

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

    A trial that fails does not stop the others.
    """
    for arm in experiment.arms:
        if arm.recipe != BASE:
            ensure_pairs(arm, setting)
            done(f"pairs for {arm.name}")
    failures: list[Failure] = []
    with ThreadPoolExecutor(setting.workers) as pool:
        futures = {
            pool.submit(_one, trial, experiment, setting): trial
            for trial in trials(experiment, setting)
        }
        for future in as_completed(futures):
            trial = futures[future]
            failure = future.result()
            if failure is not None:
                failures.append(failure)
            done(f"{trial.arm.name}, seed {trial.seed}")
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
    return setting.root / "pairs" / _key(arm) / f"{name}.parquet"


def changed(config: PairConfig, changes: dict[str, str | int | float]) -> PairConfig:
    """A pair configuration with some keys replaced.

    Raises:
        UserError: for a key it does not have, or a value that does not fit.
    """
    table = msgspec.to_builtins(config)
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        inner: Any = table
        for step in path:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or last not in inner:
            raise UserError(f"The pair configuration has no key '{dotted}'.")
        inner[last] = value
    try:
        return msgspec.convert(table, PairConfig)
    except msgspec.ValidationError as failure:
        raise UserError(f"changes {changes}: {failure}.") from failure


def _key(arm: Arm) -> str:
    return stable_hash("changes/1", arm.changes)[:8] if arm.changes else "preset"


def _name(trial: Trial, setting: Setting) -> str:
    if trial.arm.recipe == BASE:
        return f"{setting.backbone.name}-base"
    words = [setting.backbone.name, trial.arm.recipe, trial.arm.pairs or "", _key(trial.arm)]
    return "-".join([word for word in words if word] + [str(setting.backbone.steps)])


def ensure_pairs(arm: Arm, setting: Setting) -> None:
    """Build the pair set of an arm, unless it is there."""
    target = pair_file(arm, setting)
    if target.is_file():
        return
    preset = find_preset(_PRESETS[setting.tiny])
    config = changed(preset.config, arm.changes)
    build(Read(config, preset.path), target.parent, arms=check_arms((target.stem,)))


def _one(trial: Trial, experiment: Experiment, setting: Setting) -> Failure | None:
    """Train a trial and measure it; the first command that fails ends it."""
    checkpoint = setting.backbone.checkpoint
    log = setting.root / "logs" / f"{_name(trial, setting)}-seed-{trial.seed}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    if trial.arm.recipe != BASE:
        folder = train_folder(trial, setting)
        checkpoint = str(folder / f"checkpoint-{setting.backbone.steps}")
        if not Path(checkpoint).is_dir() and not run_logged(_training(trial, setting, folder), log):
            return Failure(" ".join(_training(trial, setting, folder)), log)
    for benchmark in experiment.benchmarks(tiny=setting.tiny):
        command = _measuring(checkpoint, benchmark, run_folder(trial, benchmark, setting), setting)
        if not (run_folder(trial, benchmark, setting) / "COMPLETE").exists() and not run_logged(
            command, log
        ):
            return Failure(" ".join(command), log)
    return None


def _training(trial: Trial, setting: Setting, folder: Path) -> list[str]:
    return [
        *(setting.launcher or (sys.executable,)),
        *("-m", "pairuni_train.cli", "run", "--recipe", trial.arm.recipe),
        *("--backbone", setting.backbone.name, "--steps", str(setting.backbone.steps)),
        *("--pairs", str(pair_file(trial.arm, setting))),
        *("--seed", str(trial.seed), "--out", str(folder)),
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


def run_logged(command: Sequence[str], log: Path) -> bool:
    """Run a command, its words appended to a log; whether it ended well."""
    with log.open("ab") as stream:
        stream.write(f"\n$ {' '.join(command)}\n".encode())
        stream.flush()
        ended = subprocess.run(list(command), stdout=stream, stderr=stream, check=False)
    return ended.returncode == 0


def last_words(log: Path) -> str:
    """The last error line of a log, for people."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if re.match(r"(\w*Error|Error):", line)]
    return (errors or lines or [""])[-1]
