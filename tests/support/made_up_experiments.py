"""Small experiments made up for tests: runs of three arms, training folders, and their pages."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from pairuni_eval.store.training import FixedRow
from pairuni_train.config import find_recipe
from pairuni_train.grpo.fixed_reward import write_rows
from pairuni_train.study.curves import make_curves
from pairuni_train.study.jobs import StudyOptions, TrainJob, run_folder, train_folder, train_jobs
from pairuni_train.study.pages import write_curves, write_table
from pairuni_train.study.spec import Column, Experiment, PaperRow, StudyArm, find_experiment
from pairuni_train.study.table import make_table
from support import example_run as example

CARDS = {card.name: card for card in example.cards(40)}
SKILLS = {"base": 0.5, "GRPO": 0.5, "PairUni": 0.95}
TABLE = Experiment(
    name="made_up",
    title="Made up",
    question="Does it?",
    source="nowhere",
    arms=(
        StudyArm(name="base", trained_as="base"),
        StudyArm(name="GRPO", trained_as="grpo"),
        StudyArm(name="PairUni", trained_as="pairuni"),
    ),
    against=("GRPO",),
    method="PairUni",
    columns=(
        Column(title="MMMU", benchmark="mmmu"),
        Column(title="MMStar", benchmark="mmstar"),
        Column(title="Style", benchmark="imgedit", only="real"),
    ),
    sisters={"mmmu": "tiny-mmmu", "mmstar": "tiny-mmstar"},
    printed=(PaperRow(row="theirs | <b>", cells=(40.0, "-", 4.18)),),
)
STEPS, EVERY = 20, 5  # of a training; between two measurements on fixed prompts
Rewards = Callable[[int, int], tuple[float, float]]
"""Understanding and generation reward of a seed and a step."""


def write_runs(
    experiment: Experiment, options: StudyOptions, skills: Mapping[str, float] = SKILLS
) -> None:
    """A measured run of every job on every benchmark."""
    for job in train_jobs(experiment, options):
        for number, benchmark in enumerate(experiment.benchmarks(tiny=True)):
            example.write_run(
                run_folder(job, benchmark, options),
                name=job.arm.name,
                skill=skills[job.arm.name] + 0.01 * job.seed,
                seed=number,
                count=40,
                benchmarks=[CARDS[benchmark]],
                with_images=False,
            )


def training(root: Path, seeds: int = 3, steps: int = STEPS) -> StudyOptions:
    """How the trainings of `write_trainings` were made."""
    return StudyOptions(find_recipe("tiny", {"steps": steps}), seeds, root)


def write_trainings(
    root: Path,
    experiment: Experiment,
    rewards: Mapping[str, Rewards],
    *,
    fixed: Mapping[str, Rewards] | None = None,
    seeds: int = 3,
    steps: int = STEPS,
    every: int = EVERY,
) -> None:
    """Training folders whose training rewards, and rewards on fixed prompts, are given by arm."""
    for arm in experiment.arms:
        if arm.name not in rewards:
            continue
        for seed in range(seeds):
            folder = train_folder(TrainJob(arm, seed), training(root, steps=steps))
            (folder / f"checkpoint-{steps}").mkdir(parents=True)
            pairs = [rewards[arm.name](seed, step) for step in range(steps)]
            lines = [
                json.dumps({"step": step, "reward/und": und, "reward/gen": gen}) + "\n"
                for step, (und, gen) in enumerate(pairs)
            ]
            (folder / "metrics.jsonl").write_text("".join(lines))
            if fixed is not None and arm.name in fixed:
                measured = range(0, steps + 1, every)
                given = [fixed_rows(step, fixed[arm.name](seed, step)) for step in measured]
                write_rows(folder, [row for rows in given for row in rows])


def fixed_rows(step: int, rewards: Sequence[float], *, name: str = "set") -> list[FixedRow]:
    """What a training leaves of its reward on fixed prompts after a step."""
    return [
        FixedRow(
            step=step,
            set=name,
            task=task,
            draws=2,
            reward=float(reward),
            declined=0.0,
            values=(float(reward) - 0.1, float(reward) + 0.1),
        )
        for task, reward in zip(("und", "gen"), rewards, strict=True)
    ]


def study_pages(root: Path) -> dict[str, Path]:
    """The page of a wide table and that of figure 4, by kind."""
    options = StudyOptions(find_recipe("tiny"), 1, root)
    wide = msgspec.structs.replace(
        TABLE,
        columns=TABLE.columns * 3,
        printed=tuple(msgspec.structs.replace(row, cells=row.cells * 3) for row in TABLE.printed),
    )
    write_runs(wide, options)
    table = make_table(wide, options)
    curves = find_experiment("figure4").on(tiny=True)
    rising = {
        arm.name: lambda seed, step: (0.3 + 0.02 * step, 0.5 + 0.1 * math.sin(seed + step))
        for arm in curves.arms
    }
    write_trainings(root / "curves", curves, rising, fixed=rising)
    figure = make_curves(curves, training(root / "curves"))
    again = f"pairuni-train reproduce figure4 --steps {STEPS}"
    return {
        "table": write_table(
            table, wide, root / "table", tiny=True, steps=STEPS, command=again, figures=[]
        ),
        "figure": write_curves(figure, root / "figure", command=again, figures=[]),
    }
