"""The probes behind a figure of gradients: every scenario at the recipe's own checkpoint.

Nothing is trained, so `seeds` are seeds of the probe: each draws other batches of the same pair
sets, other rollouts and another re-pairing, and all batches count alike. Within a seed no row comes
twice, so that batches are independent draws but for the pair sets and the weights, which are given.
A probe is `pairuni-train probe` in a process of its own; one that is finished is reused, one that
was stopped goes on. Folder of each:

    probe/RECIPE-KEY-PAIRS/seed-S/        KEY as in `jobs`, PAIRS in a batch
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import pandas as pd

from pairuni_eval.toolkit import UserError, unknown_name
from pairuni_eval.toolkit.gradients import read_gradients
from pairuni_eval.toolkit.store import GRADIENTS, whole_lines
from pairuni_train.pair_data.config import PAIR_ARMS
from pairuni_train.study.jobs import StudyOptions, ensure_pairs, pair_file
from pairuni_train.study.processes import Failure, run_logged, run_together
from pairuni_train.study.scenario_overlap import ProbeBatches, batches_in
from pairuni_train.study.spec import Experiment

CONTROLS = "controls.json"
_BATCHES = 32  # of each scenario, where the experiment names no other number


class Probes(NamedTuple):
    """What is probed.

    Attributes:
        scenarios: The pair set of each arm, by the arm's name.
    """

    experiment: Experiment
    options: StudyOptions
    scenarios: dict[str, str]
    batches: ProbeBatches


class WorstControl(NamedTuple):
    """A case with a known cosine, over all probes: the one that was found furthest from it."""

    name: str
    expected: float
    found: float


def plan_probes(
    experiment: Experiment, options: StudyOptions, batches: int | None = None
) -> Probes:
    """The probes of an experiment.

    Args:
        experiment: One of gradients.
        options: Its seeds are the probe's.
        batches: Of each scenario and seed, instead of the experiment's.

    Raises:
        UserError: for an arm whose pair set is no scenario, or lies beside none of the others.
    """
    files = {arm.name: pair_file(arm, options) for arm in experiment.arms}
    _check_scenarios(experiment.name, files)
    name, recipe = options.recipe.name, options.recipe
    count = batches or experiment.batches.get(name, _BATCHES)
    pairs = experiment.pairs_per_batch.get(name, recipe.batch.pairs_per_step)
    return Probes(
        experiment,
        options,
        {arm: file.stem for arm, file in files.items()},
        ProbeBatches(next(iter(files.values())).parent, count, pairs, options.seeds),
    )


def _check_scenarios(experiment: str, files: Mapping[str, Path]) -> None:
    arm_of: dict[str, str] = {}
    for arm, file in files.items():
        if file.stem not in PAIR_ARMS:
            raise unknown_name(
                "pair set",
                file.stem,
                PAIR_ARMS,
                of=f"the arm '{arm}' of {experiment}",
                list_command="pairuni-train pairs build --help",
            )
        if file.stem in arm_of:
            raise UserError(
                f"{experiment}: the arm '{arm}' has the pairs '{file.stem}' of the arm "
                f"'{arm_of[file.stem]}': without training there is nothing that could differ."
            )
        arm_of[file.stem] = arm
    if len({file.parent for file in files.values()}) > 1:
        raise UserError(
            f"{experiment}: its arms have different `changes`, but the scenarios of one probe are "
            "cut from the same rows."
        )


def run_probes(probes: Probes, done: Callable[[str], None]) -> list[Failure]:
    """Run what is left; `done` hears of every pair set and every probe.

    Raises:
        UserError: if a pair set is too small for so many batches.
    """
    for arm in probes.experiment.arms:
        ensure_pairs(arm, probes.options)
        done(f"pairs for {arm.name}")
    for arm_name, scenario in probes.scenarios.items():
        fits = batches_in(scenario, probes.batches)
        if fits < probes.batches.per_seed:
            raise UserError(
                f"The pairs of {arm_name} fill {fits} batches of {probes.batches.pairs}, not "
                f"{probes.batches.per_seed}: rows would come twice, with the same gradient.",
                hint=f"--batches {fits}",
            )
    work = {f"probe, seed {seed}": partial(_probe, probes, seed) for seed in _seeds(probes)}
    return run_together(work, probes.options.workers, done)


def probe_folder(probes: Probes, seed: int) -> Path:
    """Where the probe of a seed lies."""
    batches, options = probes.batches, probes.options
    name = f"{options.recipe.name}-{batches.folder.name}-{batches.pairs}"
    return options.root / "probe" / name / f"seed-{seed}"


def read_probes(probes: Probes) -> pd.DataFrame:
    """The rows of all finished probes, each scenario under its arm's name.

    Raises:
        UserError: if no probe is finished.
    """
    folders = _finished_folders(probes)
    if not folders:
        raise UserError(
            f"No probe of {probes.experiment.name} is finished.",
            hint=f"Look into {probes.options.root / 'logs'}.",
        )
    table = _wanted(read_gradients(folders), probes)
    arms = {scenario: arm for arm, scenario in probes.scenarios.items()}
    return table.assign(scenario=table["scenario"].map(arms))


def read_controls(probes: Probes) -> tuple[WorstControl, ...]:
    """The controls of all finished probes, each once."""
    worst: dict[str, WorstControl] = {}
    for folder in _finished_folders(probes):
        for line in whole_lines(folder / CONTROLS):
            one = WorstControl(*msgspec.json.decode(line, type=tuple[str, float, float]))
            held = worst.setdefault(one.name, one)
            if abs(one.found - one.expected) > abs(held.found - held.expected):
                worst[one.name] = one
    return tuple(worst.values())


def unfinished_seeds(probes: Probes) -> tuple[int, ...]:
    """Seeds whose probe is not finished, so that none of its batches is read."""
    done = set(_finished_folders(probes))
    return tuple(seed for seed in _seeds(probes) if probe_folder(probes, seed) not in done)


def _seeds(probes: Probes) -> range:
    return range(probes.batches.seeds)


def _finished_folders(probes: Probes) -> list[Path]:
    every = [probe_folder(probes, seed) for seed in _seeds(probes)]
    return [folder for folder in every if _finished(folder, probes)]


def _finished(folder: Path, probes: Probes) -> bool:
    """Whether every batch of every scenario is there with all its rows."""
    if not (folder / GRADIENTS).is_file():
        return False
    rows = _wanted(read_gradients([folder]), probes).groupby(["scenario", "step"]).size()
    return len(rows) == len(probes.scenarios) * probes.batches.per_seed and rows.nunique() == 1


def _wanted(table: pd.DataFrame, probes: Probes) -> pd.DataFrame:
    keep = table["scenario"].isin(probes.scenarios.values())
    return table[keep & (table["step"] < probes.batches.per_seed)]


def _probe(probes: Probes, seed: int) -> Failure | None:
    folder, options = probe_folder(probes, seed), probes.options
    if _finished(folder, probes):
        return None
    command = [
        *(options.launcher or (sys.executable,)),
        *("-m", "pairuni_train.cli", "probe", "--checkpoint", options.recipe.checkpoint),
        *("--recipe", options.recipe.name, "--pairs", str(probes.batches.folder)),
        *("--scenario", ",".join(probes.scenarios.values())),
        *("--batches", str(probes.batches.per_seed), "--seed", str(seed), "--out", str(folder)),
        *("--set", f"pairs_per_step={probes.batches.pairs}"),
    ]
    log = options.root / "logs" / f"{folder.parent.name}-probe-seed-{seed}.txt"
    return run_logged(command, log, workers=options.workers)
