"""Groups that are kept as they were sampled, and what a step says of its rewards and answers."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from support import small_training as small

from pairuni_eval.models.janus import JanusPolicy
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.training import read_rollouts
from pairuni_train.config import Recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.grpo import metrics
from pairuni_train.grpo.kept_rollouts import keep_groups
from pairuni_train.grpo.rollouts import TaskRollouts
from pairuni_train.grpo.trainer import StepResult, Trainer
from pairuni_train.journal import TrainingJournal


@pytest.fixture
def steps(policy: JanusPolicy) -> list[StepResult]:
    """Three steps that keep groups in every second one."""
    return list(trainer(policy, small.small_recipe(steps=3, rollouts_every=2)).steps(0))


def trainer(policy: JanusPolicy, recipe: Recipe) -> Trainer:
    return small.small_trainer(deepcopy(policy), recipe, small.tiny_pairs(8))


def test_every_second_step_keeps_a_group_of_each_task(steps: list[StepResult]) -> None:
    assert [[one.row.task for one in step.kept] for step in steps] == [
        ["und", "gen"],
        [],
        ["und", "gen"],
    ]
    und, gen = (one.row for one in steps[0].kept)
    assert len(und.answers) == len(gen.drawn) == 4
    assert all(answer is not None for answer in und.answers) and set(und.drawn) == {None}
    assert set(gen.answers) == {None} and gen.image is None and und.image is not None
    # The reward is the length of the answer: what is kept is what was paid.
    assert list(und.rewards["total"]) == [float(len(one or "")) for one in und.answers]
    assert sum(one or 0.0 for one in und.advantages) == pytest.approx(0.0, abs=1e-5)


def test_the_journal_has_them_with_their_pictures(steps: list[StepResult], tmp_path: Path) -> None:
    journal = TrainingJournal(tmp_path)
    for step in steps:
        journal.write(step)
    kept = read_rollouts(tmp_path)
    assert [(one.step, one.task) for one in kept] == [
        (0, "und"),
        (0, "gen"),
        (2, "und"),
        (2, "gen"),
    ]
    pictures = Pictures(tmp_path)
    assert {pictures.trouble(image) for one in kept for image in one.pictures} == {None}
    journal.cut_back(2)
    assert {one.step for one in read_rollouts(tmp_path)} == {0}


def test_none_are_kept_where_nobody_wants_them(policy: JanusPolicy) -> None:
    assert trainer(policy, small.small_recipe(steps=1, rollouts_every=0)).step(0).kept == ()


def test_what_is_learned_does_not_depend_on_it(
    policy: JanusPolicy, steps: list[StepResult]
) -> None:
    without = list(trainer(policy, small.small_recipe(steps=3, rollouts_every=0)).steps(0))
    assert [one.metrics for one in without] == [one.metrics for one in steps]


def test_spread_and_lengths_by_hand(policy: JanusPolicy) -> None:
    recipe = small.small_recipe()
    rollouts = small.sampled(policy, "und", small.tiny_pairs(2), recipe)
    engine = small.small_trainer(policy, recipe, small.tiny_pairs(4)).parts.engine
    tokens = (5, 2, 1, 4, 5, 5, 3, 3)  # of at most 5
    changed = rollouts._replace(
        replies=[
            reply._replace(tokens=n) for reply, n in zip(rollouts.replies, tokens, strict=True)
        ],
        rewards={"total": torch.tensor([0.0, 2.0, 0.0, 2.0, 1.0, math.nan, 1.0, 1.0])},
    )
    found = of(engine, changed)
    # Deviations: sqrt(4 / 3) of the first group, 0 of the three of the second that were judged.
    assert found["reward_std/und"] == pytest.approx(math.sqrt(4 / 3) / 2)
    assert found["completions/mean_length/und"] == pytest.approx(28 / 8)
    assert found["completions/clipped_ratio/und"] == pytest.approx(3 / 8)
    assert set(of(engine, small.sampled(policy, "gen", small.tiny_pairs(2), recipe))) == {
        "reward_std/gen"
    }


def of(engine: Engine, rollouts: TaskRollouts) -> dict[str, float]:
    return metrics._spread_metrics(engine, rollouts) | metrics._length_metrics(engine, rollouts)


def test_the_group_is_another_one_with_another_seed(policy: JanusPolicy) -> None:
    rollouts = {"gen": small.sampled(policy, "gen", small.tiny_pairs(6), small.small_recipe())}
    kept = {keep_groups(rollouts, 0, seed)[0].row.pair for seed in range(20)}
    assert 1 < len(kept) <= 6
    one, again = (keep_groups(rollouts, 0, 3)[0].row for _ in range(2))
    assert one == again
