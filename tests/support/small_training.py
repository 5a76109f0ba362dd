"""Training at a size for tests: a few tiny pairs, rewards that always have spread, a trainer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from pairuni_eval.models.base import Task
from pairuni_eval.tiny.bagel import TinyBagelSize
from pairuni_train.config import Arm, Recipe, find_recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.hooks import gradient_hooks
from pairuni_train.grpo.advantages import Weighting, no_weight
from pairuni_train.grpo.batch import TaskBatch, micro_batches, normalizers, with_old_log_probs
from pairuni_train.grpo.optimizer import make_optimizer
from pairuni_train.grpo.rewards import Judged, Reward, WeightedSum
from pairuni_train.grpo.rollouts import TASKS, TaskRollouts, sample_task
from pairuni_train.grpo.sampler import PairSampler
from pairuni_train.grpo.trainable_parameters import select_trainable, trainable_parameters
from pairuni_train.grpo.trainer import Trainer, TrainerParts
from pairuni_train.grpo.update import accumulate
from pairuni_train.pair_data.record import Kind, Pair
from pairuni_train.pair_data.tiny_rows import generation_rows, understanding_rows
from pairuni_train.phase_timer import PhaseTimer
from pairuni_train.setup import RewardScheme, samplings

SMALL = {
    "pairs_per_step": 4,
    "rollout_batch": 8,
    "micro_batch": 8,
    "und.rollouts": 4,
    "gen.rollouts": 4,
    "und.decoding.max_tokens": 5,
    "gen.decoding.cfg_scale": 2.0,
    "probe.every": 0,
}

BAGEL = TinyBagelSize(
    hidden=32, layers=2, heads=2, feed_forward=48, vision_hidden=16, vision_layers=1,
    vision_feed_forward=24,
)  # fmt: skip
# What a masked-diffusion policy takes: several views of each rollout, few steps.
DIFFUSION: dict[str, object] = {
    "checkpoint": "tiny-dimoo",
    "trainable": '["network."]',
    "und.decoding": "{ temperature = 1.0, steps = 2, answer_tokens = 8 }",
    "gen.decoding.steps": 4,
    "view_groups": 2,
}


class Letters(Reward):
    """Length of the answer: an untrained model's answers all differ."""

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        return [float(len(one.reply.text or "")) for one in batch]


class Redness(Reward):
    """Mean of the red channel: no two pictures are alike."""

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        found = []
        for one in batch:
            assert one.reply.image is not None
            red = one.reply.image.getchannel("R").tobytes()
            found.append(sum(red) / len(red) / 255)
        return found


class Same(Reward):
    """Everything is worth the same."""

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        return [0.1] * len(batch)


def summed(*rewards: Reward) -> WeightedSum:
    return WeightedSum(tuple((type(one).__name__.lower(), 1.0, one) for one in rewards))


REWARDS: dict[Task, WeightedSum] = {"und": summed(Letters()), "gen": summed(Redness())}


def small_recipe(**changes: Any) -> Recipe:
    """The tiny recipe with small batches; keys may hold "__" for a dot."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return find_recipe("tiny", {**SMALL, **named})


def tiny_pairs(count: int, *, seed: int = 0) -> list[Pair]:
    """Retrieved pairs of rows of the tiny world, their similarities evenly spread."""
    halves = zip(understanding_rows(count, seed), generation_rows(count, seed), strict=True)
    return [
        Pair(
            id=f"pair{number}",
            kind=Kind.RETRIEVED,
            understanding=understanding,
            generation=generation,
            similarity=0.5 + 0.5 * number / count,
        )
        for number, (understanding, generation) in enumerate(halves)
    ]


def unpaired(pairs: Sequence[Pair]) -> list[Pair]:
    """The halves of pairs as rows of their own, all questions first."""
    und = [Pair(id=f"u{p.id}", kind=Kind.UNPAIRED, understanding=p.understanding) for p in pairs]
    gen = [Pair(id=f"g{p.id}", kind=Kind.UNPAIRED, generation=p.generation) for p in pairs]
    return und + gen


def small_trainer(
    policy: Any,
    recipe: Recipe,
    pairs: Sequence[Pair],
    *,
    arm: Arm | None = None,
    rewards: Mapping[Task, WeightedSum] = REWARDS,
    weighting: Weighting = no_weight,
    reference: Any = None,
    seed: int = 0,
    accelerator: Any = None,
) -> Trainer:
    """A trainer of a policy, as `setup_trainer` makes it; on the CPU unless it is told where."""
    parameters = select_trainable(policy, recipe.trainable, recipe.lora)
    optimizer = make_optimizer(parameters, recipe.optimizer)
    process = accelerator or Accelerator(cpu=True)
    engine = Engine(process, policy, bfloat16=recipe.parallelism.bfloat16)
    sampler = PairSampler(pairs, pairs_per_step=recipe.batch.pairs_per_step, seed=seed)
    asked = arm or Arm(name="arm", summary="", pairs="random")
    rows = sampler.rows_per_step
    parts = TrainerParts(
        engine=engine,
        policy=policy,
        reference=reference,
        optimizer=optimizer,
        sampler=sampler,
        sampling=samplings(recipe, RewardScheme(dict(rewards), weighting), seed),
        hooks=gradient_hooks(asked, recipe.probe, engine, parameters, optimizer, rows=rows),
    )
    return Trainer(recipe, parts)


def sampled(
    policy: Any,
    task: Task,
    pairs: Sequence[Pair],
    recipe: Recipe,
    *,
    rewards: Mapping[Task, WeightedSum] = REWARDS,
    weighting: Weighting = no_weight,
) -> TaskRollouts:
    """The rollouts of one task for some pairs."""
    sampling = samplings(recipe, RewardScheme(dict(rewards), weighting), 0)[task]
    return sample_task(policy, pairs, sampling, 0, PhaseTimer())


def loss_and_gradient(policy: Any, rollouts: TaskRollouts, recipe: Recipe) -> tuple[float, Tensor]:
    """Loss of some rollouts and its gradient, all trained parameters in one float64 vector."""
    for parameter in select_trainable(policy, recipe.trainable, recipe.lora).values():
        parameter.grad = None
    engine = Engine(Accelerator(cpu=True), policy, bfloat16=recipe.parallelism.bfloat16)
    objective = recipe.objective
    cut = micro_batches(policy, rollouts, objective, size=recipe.batch.micro_batch)
    compared = with_old_log_probs(engine, policy, None, cut, objective)
    # Two tasks of as many prompts make as many pairs.
    sequences = normalizers(engine, dict.fromkeys(TASKS, rollouts))[rollouts.task]
    totals = accumulate(engine, policy, TaskBatch(rollouts, compared, sequences), objective)
    engine.sum_gradients()
    return float(totals.terms.loss), flat_gradient(policy)


def flat_gradient(policy: Any) -> Tensor:
    """Gradients of all trained parameters in one float64 vector."""
    return torch.cat([p.grad.double().flatten() for p in trainable_parameters(policy).values()])


def shuffled(pairs: Sequence[Pair]) -> list[Pair]:
    return random.Random(5).sample(list(pairs), len(pairs))


def negative(pair: Pair) -> float:
    """A weighting that no pair can have."""
    return -1.0
