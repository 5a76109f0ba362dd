"""Small experiments made up for tests: runs of three arms, and training folders with rewards.

Imported by name: `tests` is on pytest's path, though it is no package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import example_run as example

from pairuni_train.experiments.jobs import Setting, Trial, run_folder, train_folder, trials
from pairuni_train.experiments.spec import Arm, Column, Experiment, Printed
from pairuni_train.recipe import find_backbone

CARDS = {card.name: card for card in example.cards(40)}
SKILLS = {"base": 0.5, "GRPO": 0.5, "PairUni": 0.95}
TABLE = Experiment(
    name="made_up",
    title="Made up",
    question="Does it?",
    source="nowhere",
    arms=(
        Arm(name="base", recipe="base"),
        Arm(name="GRPO", recipe="grpo"),
        Arm(name="PairUni", recipe="pairuni"),
    ),
    against=("GRPO",),
    method="PairUni",
    columns=(
        Column(title="MMMU", benchmark="mmmu"),
        Column(title="MMStar", benchmark="mmstar"),
        Column(title="Style", benchmark="imgedit", only="real"),
    ),
    sisters={"mmmu": "tiny-mmmu", "mmstar": "tiny-mmstar"},
    printed=(Printed(row="theirs | <b>", cells=(40.0, "-", 4.18)),),
)
STEPS = 20
Rewards = Callable[[int, int], tuple[float, float]]
"""Understanding and generation reward of a seed and a step."""


def write_runs(
    experiment: Experiment, setting: Setting, skills: Mapping[str, float] = SKILLS
) -> None:
    """A measured run of every trial on every benchmark."""
    for trial in trials(experiment, setting):
        for number, benchmark in enumerate(experiment.benchmarks(tiny=True)):
            example.write_run(
                run_folder(trial, benchmark, setting),
                name=trial.arm.name,
                skill=skills[trial.arm.name] + 0.01 * trial.seed,
                seed=number,
                count=40,
                benchmarks=[CARDS[benchmark]],
                with_images=False,
            )


def training(root: Path, seeds: int = 3) -> Setting:
    """How the trainings of `write_trainings` were made."""
    return Setting(find_backbone("tiny", {"steps": STEPS}), seeds, root)


def write_trainings(
    root: Path, experiment: Experiment, rewards: Mapping[str, Rewards], seeds: int = 3
) -> None:
    """Training folders whose rewards are given by arm."""
    for arm in experiment.arms:
        if arm.name not in rewards:
            continue
        for seed in range(seeds):
            folder = train_folder(Trial(arm, seed), training(root))
            (folder / f"checkpoint-{STEPS}").mkdir(parents=True)
            pairs = [rewards[arm.name](seed, step) for step in range(STEPS)]
            lines = [
                json.dumps({"step": step, "reward/und": und, "reward/gen": gen}) + "\n"
                for step, (und, gen) in enumerate(pairs)
            ]
            (folder / "metrics.jsonl").write_text("".join(lines))
