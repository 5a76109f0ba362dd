"""Runs of the checkpoints of made-up trainings: two arms, one of them with two seeds."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pairuni_eval.records import GradientRow, RunCard
from pairuni_eval.report.evaluations import evaluation_row
from pairuni_eval.report.timeline import build_timeline
from pairuni_eval.store import layout
from pairuni_eval.store.evaluations import EvaluationPlan, keep_evaluation, keep_plan, run_of
from pairuni_eval.store.json_lines import encode_lines
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.training import ROLLOUTS, RolloutGroup
from support import example_run as example
from support.renamed_runs import change_card

COUNT = 60
CARDS = {card.name: card for card in example.cards(COUNT)}
TAKEN = ("tiny-mmstar", "tiny-geneval")
BASE = "0" * 64
ARMS: dict[tuple[str, int], dict[int, tuple[float, float]]] = {
    ("grpo on tiny", 0): {10: (0.5, 0.4), 20: (0.55, 0.45)},
    ("pairuni on tiny", 0): {10: (0.6, 0.5), 20: (0.97, 0.97)},
    ("pairuni on tiny", 1): {10: (0.55, 0.5), 20: (0.97, 0.95)},
}
"""How often each is right on both benchmarks, by arm and seed and step."""


def write_point(
    folder: Path, skills: tuple[float, float], taken: Sequence[str] = TAKEN, **checkpoint: Any
) -> Path:
    """A finished run whose checkpoint says what is given."""
    rows = {
        name: example.graded(CARDS[name], COUNT, skill, random.Random(f"{name}/{folder.name}"))
        for name, skill in zip(taken, skills, strict=True)
    }
    cards = [CARDS[name] for name in taken]
    weights = checkpoint.pop("weights", None)
    example.store(folder, cards, rows, name=folder.name, with_images=False, weights=weights)
    card = msgspec.json.decode((folder / layout.RUN_FILE).read_bytes(), type=RunCard)
    return change_card(folder, checkpoint=msgspec.structs.replace(card.checkpoint, **checkpoint))


def write_runs(root: Path) -> Path:
    """The base and every checkpoint of all arms."""
    write_point(root / "base", (0.5, 0.4), weights=BASE, step=3000, recipe="base")
    for (arm, seed), points in ARMS.items():
        for step, skills in points.items():
            write_point(
                root / f"{arm.partition(' ')[0]}-{seed}-{step}",
                skills,
                recipe=f"{arm}, seed {seed}",
                step=step,
                parent=BASE,
            )
    return root


def write_probe(training: Path, steps: int = 20) -> Path:
    """A training folder with metrics and a gradient probe."""
    training.mkdir(parents=True)
    (training / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')
    rows = [
        GradientRow(
            scenario="pairuni",
            step=step,
            block="all",
            preconditioned=False,
            tasks=(1.0, 0.1 + 0.01 * step, 1.0),
            und_halves=None,
            gen_halves=None,
            und_live=1.0,
            gen_live=1.0,
            rows=4,
        )
        for step in range(0, steps, 2)
    ]
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    (training / "gradients.jsonl").write_bytes(lines)
    return training


HELD_OUT = ("tiny-pope", "tiny-wise")


def write_training(
    folder: Path, skills: Mapping[int, tuple[float, float]], *, held_out: bool, **plan: Any
) -> Path:
    """A training that measured its checkpoints: at each step both skills, on held-out rows too."""
    write_probe(folder)
    asked = EvaluationPlan(
        **{"base": "base", "suite": "tuning", "every": 10, **plan},
        held_out="heldout" if held_out else None,
    )
    keep_plan(folder, asked)
    suites = {"tuning": TAKEN, **({"heldout": HELD_OUT} if held_out else {})}
    for suite, taken in suites.items():
        for step, skill in skills.items():
            made = {} if step else {"weights": BASE, "step": 3000, "recipe": "base"}
            trained = {"recipe": "grpo on tiny, seed 0", "step": step, "parent": BASE}
            run = write_point(run_of(folder, suite, step), skill, taken, **(made or trained))
            keep_evaluation(folder, evaluation_row(StoredRun(run), suite, step))
    return folder


def keep_rollouts(training: Path, said: str = "red") -> Path:
    """Two groups as a training keeps them, one of pictures; a rollout said what is given."""
    drawn = [example.picture(color, "circle") for color in ("red", "blue")]
    with Pictures(training) as store:
        for one in drawn:
            store.add(one)
    shared = {"step": 0, "pair": "p", "gold": None, "advantages": (0.7, -0.7)}
    rewards = {"total": (1.0, 0.0)}
    groups = [
        RolloutGroup(
            **shared, rewards=rewards, task="und", asked="Which color?", image=drawn[0].id,
            answers=(said, "blue"), drawn=(None, None),
        ),
        RolloutGroup(
            **shared, rewards=rewards, task="gen", asked="a red circle", image=None,
            answers=(None, None), drawn=(drawn[0].id, drawn[1].id),
        ),
    ]  # fmt: skip
    (training / ROLLOUTS).write_bytes(encode_lines(groups))
    return training


def watched_page(root: Path, said: str = "red") -> Path:
    """The timeline of a training that chose a step, with held-out rows and what it sampled."""
    skills = {0: (0.3, 0.3), 10: (0.95, 0.9), 20: (0.6, 0.6)}
    training = write_training(root / "training", skills, held_out=True)
    return build_timeline([keep_rollouts(training, said)], root / "timeline")


def timeline_page(root: Path) -> Path:
    """The timeline of all of it."""
    runs = write_runs(root / "runs")
    return build_timeline([runs, write_probe(root / "training")], root / "timeline")
