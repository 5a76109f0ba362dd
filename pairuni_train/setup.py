"""From what a user asked for to the loaded parts of a trainer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.models import (
    LoadOptions,
    Policy,
    Task,
    catalog,
    load_model,
    read_declaration,
)
from pairuni_train.checkpoints import LastCheckpoint, load_resume_state, restore_sharded
from pairuni_train.config import Arm, Recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.distributed.sharded import ShardedEngine, shard
from pairuni_train.gradient_probe.hooks import gradient_hooks
from pairuni_train.grpo.advantages import Weighting
from pairuni_train.grpo.fixed_prompts import FixedPrompts
from pairuni_train.grpo.optimizer import make_optimizer
from pairuni_train.grpo.reference import Reference, WithoutAdapters
from pairuni_train.grpo.rewards import WeightedSum, load_rewards
from pairuni_train.grpo.rollouts import TASKS, Sampling
from pairuni_train.grpo.sampler import PairSampler
from pairuni_train.grpo.trainable_parameters import (
    halve_frozen,
    restore_optimizer,
    select_trainable,
    trainable_parameters,
)
from pairuni_train.grpo.trainer import Trainer, TrainerParts
from pairuni_train.pair_data.record import Pair
from pairuni_train.watching import Watched


class Job(NamedTuple):
    """What a user asks of `pairuni-train run`.

    Attributes:
        pairs: The pair set, or the folder that `pairs build` wrote; None builds the recipe's.
        tracker: A tracker of accelerate's that hears the metrics too, e.g. "tensorboard".
        fixed: Prompts that the reward is measured on beside; None measures nothing.
        watched: What is measured of its checkpoints meanwhile; None measures nothing.
    """

    arm: Arm
    recipe: Recipe
    pairs: Path | None
    seed: int
    out: Path
    tracker: str | None = None
    fixed: FixedPrompts | None = None
    watched: Watched | None = None


class TrainingOrigin(NamedTuple):
    """What training began from.

    Attributes:
        parent: Hash of the weights.
        capabilities: What the model was trained for before.
    """

    parent: str
    capabilities: list[str]


class TrainerSetup(NamedTuple):
    """A trainer that is ready for its next step, and what it began from."""

    trainer: Trainer
    origin: TrainingOrigin


class RewardScheme(NamedTuple):
    """What says how much a rollout is worth and a pair counts."""

    rewards: dict[Task, WeightedSum]
    weighting: Weighting


def load_reward_scheme(recipe: Recipe, weighting: str) -> RewardScheme:
    """Load rewards and a weighting: what is missing is found before a row is read.

    Raises:
        UserError: for a reward or a weighting that cannot be used.
    """
    weigh = find_weighting(weighting)
    return RewardScheme({task: load_rewards(recipe.task(task).rewards) for task in TASKS}, weigh)


def samplings(recipe: Recipe, scheme: RewardScheme, seed: int) -> dict[Task, Sampling]:
    """How each task is sampled and rewarded."""
    return {
        task: Sampling(
            task,
            recipe.task(task),
            scheme.rewards[task],
            scheme.weighting,
            recipe.batch.rollout_batch,
            seed,
            recipe.objective.scale_rewards,
        )
        for task in TASKS
    }


def setup_trainer(
    job: Job,
    pairs: Sequence[Pair],
    scheme: RewardScheme,
    accelerator: Any,
    former: LastCheckpoint | None,
) -> TrainerSetup:
    """Load the rest of what a run needs, from its beginning or from a former checkpoint.

    Raises:
        UserError: for a checkpoint or a pair set that cannot be used.
    """
    recipe = job.recipe
    sampler = PairSampler(
        pairs,
        pairs_per_step=recipe.batch.pairs_per_step,
        seed=job.seed,
        repaired=job.arm.repaired,
    )
    torch.manual_seed(job.seed)  # adapters begin at random
    model = load_trainable(
        _weights_of(recipe, former), accelerator.device, compiled=recipe.parallelism.compiled
    )
    policy = model.policy
    copy = _reference_copy(recipe, former, policy, accelerator.device)
    select_trainable(policy, recipe.trainable, recipe.lora)
    if recipe.parallelism.frozen_as == "bfloat16":
        for each in filter(None, (policy, copy)):
            halve_frozen(each)
    if recipe.parallelism.gradient_checkpointing:
        policy.checkpoint_activations()
        policy.train()
    engine = _engine(recipe, accelerator, policy, copy)
    parameters = trainable_parameters(policy)  # sharding has put others in their place
    optimizer = make_optimizer(parameters, recipe.optimizer)
    if former is not None and not (
        engine.sharded and restore_sharded(former.folder, policy, optimizer)
    ):
        state = load_resume_state(former.folder)
        policy.load_state_dict({**state.adapters, **state.trained}, strict=False)
        restore_optimizer(policy, optimizer, state.optimizer)
    hooks = gradient_hooks(
        job.arm, recipe.probe, engine, parameters, optimizer, rows=sampler.rows_per_step
    )
    parts = TrainerParts(
        engine=engine,
        policy=policy,
        reference=_reference(recipe, policy, copy),
        optimizer=optimizer,
        sampler=sampler,
        sampling=samplings(recipe, scheme, job.seed),
        hooks=hooks,
    )
    origin = TrainingOrigin(_parent(recipe, former, model), model.capabilities)
    return TrainerSetup(Trainer(recipe, parts), origin)


def _engine(recipe: Recipe, accelerator: Any, policy: Policy, reference: Policy | None) -> Engine:
    """The engine of this process; shards the weights if they are to be."""
    bfloat16 = recipe.parallelism.bfloat16
    if recipe.parallelism.sharding == "none":
        return Engine(accelerator, policy, bfloat16=bfloat16)
    _check_sharding(recipe, accelerator.num_processes)
    for model in (policy, reference):
        if model is not None:
            # A policy is a module, whose hooks gather the weights of a pass.
            module = cast(nn.Module, model)
            shard(module, model.layers(), accelerator.device, bfloat16=bfloat16)
    return ShardedEngine(accelerator, policy, bfloat16=bfloat16)


def _check_sharding(recipe: Recipe, ranks: int) -> None:
    """Raise a UserError for settings that sharded weights cannot have."""
    if ranks == 1:
        raise UserError(
            f"{recipe.name}: weights are sharded over several processes, and this is one.",
            hint="accelerate launch --num_processes N -m pairuni_train.cli run ...",
        )
    if recipe.batch.pairs_per_step < ranks:
        raise UserError(
            f"{recipe.name}: a step has {recipe.batch.pairs_per_step} pairs for {ranks} processes; "
            "where weights are sharded, each needs one.",
            hint=f"--pairs-per-step {ranks}, or fewer processes.",
        )
    if recipe.lora is not None:
        raise UserError(
            f"{recipe.name}: adapters (lora) are small enough for every rank; sharding is for "
            "whole weights.",
            hint="Leave out one of lora and sharding.",
        )
    logits = recipe.objective.policy_logits
    if logits != "conditional":
        raise UserError(
            f"{recipe.name}: with policy_logits = {logits!r} pictures take more passes than "
            "answers, and sharded ranks would wait for each other forever.",
            hint="Use policy_logits = 'conditional', or no sharding.",
        )


class Trainable(NamedTuple):
    """A loaded policy, the hash of its weights, and what its model can do."""

    policy: Policy
    weights: str
    capabilities: list[str]


def load_trainable(checkpoint: str, device: torch.device, *, compiled: bool = False) -> Trainable:
    """A model's policy, its master weights in float32.

    Args:
        checkpoint: A folder, hub id or "tiny".
        device: Where it goes.
        compiled: Sample by compiled steps.

    Raises:
        UserError: for one that only evaluates, or that has no steps to compile.
    """
    options = LoadOptions(device=str(device), dtype="float32", compiled=compiled)
    model = load_model(checkpoint, None, options)
    policy: Policy | None = getattr(model, "policy", None)
    if policy is None:
        raise UserError(
            f"{checkpoint} has no policy that could be trained: its adapter "
            f"'{model.identity.adapter}' only evaluates.",
            hint="Train a Janus checkpoint: pairuni-train run --recipe tiny",
        )
    if compiled and not getattr(policy, "compiled", False):
        raise UserError(
            f"{checkpoint}: rollouts of the adapter '{model.identity.adapter}' are not compiled; "
            "those of Janus are.",
            hint="Leave out --compile and compiled = true.",
        )
    return Trainable(policy, model.identity.weights, sorted(model.capabilities))


def _weights_of(recipe: Recipe, former: LastCheckpoint | None) -> str:
    """Where to load from.

    Merged adapters cannot be taken apart, nor are rough weights those that began: both go on from
    the start, and what has trained lies beside the optimizer's state.
    """
    return recipe.checkpoint if former is None or _begins_anew(recipe) else str(former.folder)


def _begins_anew(recipe: Recipe) -> bool:
    return recipe.lora is not None or recipe.checkpoints.saved_as != "float32"


def _reference_copy(
    recipe: Recipe, former: LastCheckpoint | None, policy: Policy, device: torch.device
) -> Policy | None:
    """A frozen copy of the weights that training began from, if the KL penalty needs one."""
    if recipe.objective.beta == 0.0 or recipe.lora is not None:
        return None
    began = deepcopy(policy) if former is None else load_trainable(recipe.checkpoint, device).policy
    return began.requires_grad_(False).eval()


def _reference(recipe: Recipe, policy: Policy, copy: Policy | None) -> Reference | None:
    """What the KL penalty holds the policy near to: a copy, or the policy without adapters."""
    adapted = recipe.objective.beta > 0.0 and recipe.lora is not None
    return WithoutAdapters(policy) if adapted else copy


def _parent(recipe: Recipe, former: LastCheckpoint | None, model: Trainable) -> str:
    """Hash of the weights that training began from."""
    loaded = model.weights
    if former is None:
        return loaded
    parent = str(read_declaration(former.folder).parent)
    if _begins_anew(recipe) and loaded != parent:
        raise UserError(
            f"{recipe.checkpoint} has changed since the run began, and what was trained belongs to "
            "the former weights.",
            hint="Put the former weights back, or begin anew with another --out.",
        )
    return parent


def find_weighting(name: str) -> Weighting:
    """A weighting by name, from the entry points `pairuni.weightings`.

    Raises:
        UserError: for an unknown name, or a plugin that cannot be imported.
    """
    found: Weighting = catalog.load_plugin("weightings", name)
    return found


def check_weights(name: str, weighting: Weighting, pairs: Sequence[Pair]) -> None:
    """Raise a UserError that names the first pair whose weight is negative or no number."""
    for pair in pairs:
        weight = weighting(pair)
        if not (math.isfinite(weight) and weight >= 0.0):
            raise UserError(
                f"The weighting '{name}' gives pair {pair.id} the weight {weight}; a weight is "
                "finite and not negative."
            )
