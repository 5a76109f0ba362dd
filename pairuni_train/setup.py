"""From what a user asked for to the loaded parts of a trainer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from pairuni_eval import catalog
from pairuni_eval.adapters import load_model
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Task
from pairuni_eval.models.checkpoint import read_declaration
from pairuni_train.checkpoints import Resumed, load_kept
from pairuni_train.config import Arm, Recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.distributed.sharded import ShardedEngine, check_sharding, shard
from pairuni_train.grpo.advantages import Weighting
from pairuni_train.grpo.fixed_prompts import FixedPrompts
from pairuni_train.grpo.rewards import WeightedSum, load_rewards
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.sampler import PairOrder
from pairuni_train.grpo.trainable_parameters import choose_trained, restore_optimizer
from pairuni_train.grpo.trainer import Parts, Trainer
from pairuni_train.pair_data.record import Pair


class Job(NamedTuple):
    """What a user asks of `pairuni-train run`.

    Attributes:
        pairs: The pair set, or the folder that `pairs build` wrote; None builds the recipe's.
        tracker: A tracker of accelerate's that hears the metrics too, e.g. "tensorboard".
        fixed: Prompts that the reward is measured on beside; None measures nothing.
    """

    arm: Arm
    recipe: Recipe
    pairs: Path | None
    seed: int
    out: Path
    tracker: str | None = None
    fixed: FixedPrompts | None = None


class Origin(NamedTuple):
    """What training began from.

    Attributes:
        parent: Hash of the weights.
        capabilities: What the model was trained for before.
    """

    parent: str
    capabilities: list[str]


class Assembled(NamedTuple):
    """A trainer that is ready for its next step, and what it began from."""

    trainer: Trainer
    origin: Origin


class Judging(NamedTuple):
    """What says how much a rollout is worth and a pair counts."""

    rewards: dict[Task, WeightedSum]
    weighting: Weighting


def load_judging(recipe: Recipe, weighting: str) -> Judging:
    """Load rewards and a weighting: what is missing is found before a row is read.

    Raises:
        UserError: for a reward or a weighting that cannot be used.
    """
    weigh = find_weighting(weighting)
    return Judging({task: load_rewards(recipe.task(task).rewards) for task in TASKS}, weigh)


def assemble(
    job: Job,
    pairs: Sequence[Pair],
    judging: Judging,
    accelerator: Any,
    former: Resumed | None,
) -> Assembled:
    """Load the rest of what a run needs, from its beginning or from a former checkpoint.

    Raises:
        UserError: for a checkpoint or a pair set that cannot be used.
    """
    recipe = job.recipe
    check_weights(job.arm.weighting, judging.weighting, pairs)
    order = PairOrder(pairs, pairs_per_step=recipe.pairs_per_step, seed=job.seed)
    torch.manual_seed(job.seed)  # adapters begin at random
    model = load_trainable(_weights_of(recipe, former), accelerator.device)
    policy = model.policy
    reference = _reference(recipe, former, policy, accelerator.device)
    choose_trained(policy, recipe)
    if recipe.gradient_checkpointing:
        policy.janus.activation_checkpointing_enable()
        policy.train()
    engine = _engine(recipe, accelerator, policy, reference)
    optimizer = torch.optim.AdamW(
        engine.trained, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay
    )
    if former is not None:
        kept = load_kept(former.folder)
        policy.load_state_dict(kept.adapters, strict=False)
        restore_optimizer(policy, optimizer, kept.optimizer)
    parts = Parts(
        engine=engine,
        policy=policy,
        reference=reference,
        optimizer=optimizer,
        order=order,
        rewards=judging.rewards,
        weighting=judging.weighting,
    )
    origin = Origin(_parent(recipe, former, model), sorted(model.capabilities))
    return Assembled(Trainer(job.arm, recipe, parts, job.seed), origin)


def _engine(
    recipe: Recipe, accelerator: Any, policy: nn.Module, reference: nn.Module | None
) -> Engine:
    """The engine of this process; shards the weights if they are to be."""
    bfloat16 = recipe.precision == "bf16"
    if recipe.sharding == "none":
        return Engine(accelerator, policy, bfloat16=bfloat16)
    if accelerator.num_processes == 1:
        raise UserError(
            f"{recipe.name}: weights are sharded over several processes, and this is one.",
            hint="accelerate launch --num_processes N -m pairuni_train.cli run ...",
        )
    check_sharding(recipe, accelerator.num_processes)
    for model in (policy, reference):
        if model is not None:
            shard(model, accelerator.device)
    return ShardedEngine(accelerator, policy, bfloat16=bfloat16)


def load_trainable(checkpoint: str, device: torch.device) -> Any:
    """A loaded model with a policy, its master weights in float32.

    Raises:
        UserError: for one that only evaluates.
    """
    model = load_model(checkpoint, None, LoadOptions(device=str(device), dtype="float32"))
    if not hasattr(model, "policy"):
        raise UserError(
            f"{checkpoint} has no policy that could be trained: its adapter "
            f"'{model.identity.adapter}' only evaluates.",
            hint="Train a Janus checkpoint: pairuni-train run --recipe tiny",
        )
    return model


def _weights_of(recipe: Recipe, former: Resumed | None) -> str:
    """Where to load from: merged adapters cannot be taken apart, so these go on from the start."""
    if former is None or recipe.lora is not None:
        return recipe.checkpoint
    return str(former.folder)


def _reference(
    recipe: Recipe, former: Resumed | None, policy: nn.Module, device: torch.device
) -> nn.Module | None:
    """A frozen copy of the weights that training began from, if the KL penalty needs one."""
    if recipe.beta == 0.0:
        return None
    began: nn.Module = (
        deepcopy(policy)
        if _weights_of(recipe, former) == recipe.checkpoint
        else load_trainable(recipe.checkpoint, device).policy
    )
    return began.requires_grad_(False).eval()


def _parent(recipe: Recipe, former: Resumed | None, model: Any) -> str:
    """Hash of the weights that training began from."""
    loaded = str(model.identity.weights)
    if former is None:
        return loaded
    parent = str(read_declaration(former.folder).parent)
    if recipe.lora is not None and loaded != parent:
        raise UserError(
            f"{recipe.checkpoint} has changed since the run began, and its adapters belong to "
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
