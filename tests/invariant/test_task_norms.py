"""The norm of each task's gradient alone, told without holding it."""

from __future__ import annotations

from copy import deepcopy

import pytest
from support import small_training as small

from pairuni_eval.models.janus import JanusPolicy
from pairuni_train.config import Arm
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.trainer import StepResult


def stepped(policy: JanusPolicy, *, arm: Arm | None = None, **changes: object) -> StepResult:
    """Step 1 of a run, which by default probes in step 0 and tells norms in every step."""
    recipe = small.small_recipe(**{"steps": 2, "probe.every": 9, **changes})
    return small.small_trainer(deepcopy(policy), recipe, small.tiny_pairs(8), arm=arm).step(1)


def norms(result: StepResult) -> dict[str, float]:
    return {one: result.metrics[one] for one in result.metrics if one.startswith("grad_norm/")}


@pytest.fixture
def told(policy: JanusPolicy) -> dict[str, float]:
    return norms(stepped(policy))


def test_they_are_those_of_the_gradients_themselves(
    policy: JanusPolicy, told: dict[str, float]
) -> None:
    """Against gradients that are made task by task, by the functions of a step."""
    from pairuni_train.grpo.batch import task_batches
    from pairuni_train.grpo.update import accumulate
    from pairuni_train.phase_timer import PhaseTimer

    trainer = small.small_trainer(policy, small.small_recipe(steps=2), small.tiny_pairs(8))
    parts, objective = trainer.parts, trainer.recipe.objective
    drawn = trainer._drawing.draw(1, PhaseTimer())
    batches = task_batches(
        parts.engine, policy, None, drawn.rollouts, objective, size=8, spare=drawn.spare
    )
    for task in TASKS:
        parts.optimizer.zero_grad()
        accumulate(parts.engine, policy, batches[task], objective)
        parts.engine.sum_gradients()
        assert told[f"grad_norm/{task}"] == pytest.approx(
            float(small.flat_gradient(policy).norm()), rel=1e-5
        )
        assert told[f"grad_norm/{task}"] > 0


@pytest.mark.parametrize(
    "changes",
    [{"probe.every": 1}, {"probe.every": 1, "probe.halves": False}],
    ids=["halves", "tasks"],
)
def test_steps_that_hold_the_gradients_tell_the_same(
    policy: JanusPolicy, told: dict[str, float], changes: dict[str, object]
) -> None:
    assert norms(stepped(policy, **changes)) == pytest.approx(told, rel=1e-4)


def test_projected_gradients_are_told_as_they_were(
    policy: JanusPolicy, told: dict[str, float]
) -> None:
    arm = Arm(name="pcgrad", summary="", pairs="random", surgery="pcgrad")
    assert norms(stepped(policy, arm=arm)) == pytest.approx(told, rel=1e-4)


def test_a_run_without_a_probe_holds_no_second_gradient(policy: JanusPolicy) -> None:
    result = stepped(policy, **{"probe.every": 0})
    assert norms(result) == {} and result.metrics["grad_norm"] > 0


def test_looking_changes_nothing(policy: JanusPolicy, told: dict[str, float]) -> None:
    """The sum is that of two vectors: no longer than both, no shorter than their difference."""
    result = stepped(policy)
    und, gen = told["grad_norm/und"], told["grad_norm/gen"]
    assert abs(und - gen) <= result.metrics["grad_norm"] <= und + gen


def test_a_task_without_spread_has_none(policy: JanusPolicy) -> None:
    rewards = {**small.REWARDS, "gen": small.summed(small.Same())}
    recipe = small.small_recipe(steps=2, **{"probe.every": 9})
    trainer = small.small_trainer(deepcopy(policy), recipe, small.tiny_pairs(8), rewards=rewards)
    found = trainer.step(1).metrics
    assert found["grad_norm/gen"] == 0.0
    assert found["grad_norm/und"] == pytest.approx(found["grad_norm"], rel=1e-5)
