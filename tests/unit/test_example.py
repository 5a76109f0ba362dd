"""The example of one PairGRPO step: it runs, it is short, and its step is the trainer's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from support import small_training as small

from pairuni_eval.models.base import Task
from pairuni_train.distributed.engine import start_process
from pairuni_train.grpo.advantages import sqrt_weight
from pairuni_train.grpo.rewards import WeightedSum, load_rewards
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.setup import load_trainable

FILE = Path(__file__).parents[2] / "examples" / "pairgrpo.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pairgrpo", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_takes_the_trainers_step(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(FILE.read_text().splitlines()) < 200
    example.main()
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    recipe = example.small_recipe()
    policy = load_trainable(recipe.checkpoint, start_process().device).policy
    rewards: dict[Task, WeightedSum] = {
        task: load_rewards(recipe.task(task).rewards) for task in TASKS
    }
    pairs = example.make_pairs(2 * recipe.batch.pairs_per_step)
    trainer = small.small_trainer(policy, recipe, pairs, rewards=rewards, weighting=sqrt_weight)
    metrics = trainer.step(0).metrics
    shared = sorted(printed.keys() & metrics.keys())
    of_tasks = (f"{name}/{task}" for name in ("live_groups", "loss", "reward") for task in TASKS)
    assert shared == sorted(["grad_norm", *of_tasks])
    for name in shared:
        assert float(printed[name]) == pytest.approx(metrics[name], rel=1e-2, abs=1e-4), name
    assert 0 < float(printed["moved"]) <= 1.01 * recipe.optimizer.lr, (
        "Adam's first step is the rate"
    )
