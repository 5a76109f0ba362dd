"""The gradient of one half: the objective of training over the rollouts of one prompt.

The rollouts, their rewards and advantages, the micro-batches and the loss are those of a training
step (`grpo`); what differs is that a batch is one group, so its loss is the mean over the rollouts
of one half. A half has the address of its source and id, as in the offline probe: its rollouts
depend on no neighbor.

Departure: the penalty on the distance to the reference is left out. The reference is where training
starts from, and a checkpoint that is its own reference has no gradient of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import torch

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.models import Task
from pairuni_train.config import Recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.controls import ControlCase, ControlCases
from pairuni_train.gradient_probe.gram import Gradients
from pairuni_train.gradient_probe.projection import squares
from pairuni_train.gradient_probe.scenarios import addressed
from pairuni_train.grpo.batch import TaskBatch, micro_batches, normalizers, with_old_log_probs
from pairuni_train.grpo.hooks import TaskGradients
from pairuni_train.grpo.rollouts import TASKS, TaskRollouts, sample_task
from pairuni_train.grpo.trainable_parameters import select_trainable
from pairuni_train.grpo.update import accumulate
from pairuni_train.pair_data.record import Pair
from pairuni_train.phase_timer import PhaseTimer
from pairuni_train.setup import RewardScheme, load_trainable, samplings

_CONTROLLED = 4  # pairs whose rollouts the controls of the probe run on


class HalfGradient(NamedTuple):
    """What one half leaves.

    Attributes:
        reward: Mean over its rollouts that were judged; None if none was.
        gradients: Of the shared parameters, by name; None for a half without a gradient.
        squares: The squared norm of each block; empty for a half without a gradient.
    """

    reward: float | None
    gradients: Gradients | None
    squares: dict[str, float]


class HalfGradients:
    """A checkpoint whose halves are measured, in one process.

    Args:
        recipe: Its checkpoint is the one that is measured.
        scheme: Rewards and weighting.
        accelerator: accelerate's `Accelerator`.
        seed: Of the rollouts.

    Attributes:
        weights: Hash of the checkpoint's weights.
        blocks: The block of each shared parameter that trains.
        sizes: How many numbers each of them has.

    Raises:
        UserError: for a checkpoint that cannot be trained.
    """

    def __init__(self, recipe: Recipe, scheme: RewardScheme, accelerator: Any, seed: int) -> None:
        # No copy of the start is held to be near to.
        self._objective = msgspec.structs.replace(recipe.objective, beta=0.0)
        self._size = recipe.batch.micro_batch
        model = load_trainable(
            recipe.checkpoint, accelerator.device, compiled=recipe.parallelism.compiled
        )
        self.weights = model.weights
        self._policy = model.policy
        self._parameters = select_trainable(self._policy, recipe.trainable, recipe.lora)
        if recipe.parallelism.gradient_checkpointing:
            self._policy.checkpoint_activations()
            self._policy.train()
        self.blocks = self._held().blocks
        self.sizes = {name: self._parameters[name].numel() for name in self.blocks}
        bfloat16 = recipe.parallelism.bfloat16
        self._engine = Engine(accelerator, self._policy, bfloat16=bfloat16)
        self._sampling = samplings(recipe, scheme, seed)

    @property
    def device(self) -> torch.device:
        """Where gradients are computed."""
        return self._engine.device

    def controls(self, pairs: Sequence[Pair]) -> list[ControlCase]:
        """The cases with a known cosine of the offline probe, on the first pairs' rollouts.

        Raises:
            UserError: for the first that does not hold.
        """
        rollouts = {task: self._sample(pairs[:_CONTROLLED], task) for task in TASKS}
        cases = ControlCases(
            self._engine, self._policy, self._parameters, self._objective, size=self._size
        )
        return cases.run(rollouts)

    def measure(self, pairs: Sequence[Pair], task: Task) -> Iterator[HalfGradient]:
        """The halves of a task, in order: sampled together, one gradient at a time.

        Raises:
            UserError: if a gradient is no number.
        """
        rollouts = self._sample(pairs, task)
        for place, prompt in enumerate(rollouts.prompts):
            found = self._gradient(rollouts.of_prompt(place))
            if not math.isfinite(sum(found.squares.values())):
                half = prompt.half
                raise UserError(
                    f"The gradient of half '{half.id}' of {half.source} is no number.",
                    hint="Measure in float32: --set precision=no",
                )
            yield found

    def _sample(self, pairs: Sequence[Pair], task: Task) -> TaskRollouts:
        with self._engine.precision():
            mine = addressed(pairs, task)
            return sample_task(self._policy, mine, self._sampling[task], 0, PhaseTimer())

    def _gradient(self, rollouts: TaskRollouts) -> HalfGradient:
        total = rollouts.rewards["total"]
        judged = total[~total.isnan()]
        reward = float(judged.double().mean()) if len(judged) else None
        if not rollouts.live_P.any():
            return HalfGradient(reward, None, {})
        engine, policy, objective = self._engine, self._policy, self._objective
        cut = micro_batches(policy, rollouts, objective, size=self._size)
        compared = with_old_log_probs(engine, policy, None, cut, objective)
        # As of a step of one pair: M is the number of its rollouts.
        sequences = normalizers(engine, dict.fromkeys(TASKS, rollouts))[rollouts.task]
        accumulate(engine, policy, TaskBatch(rollouts, compared, sequences), objective)
        held = self._held()
        held.capture(rollouts.task, 0)
        part = held.parts[rollouts.task, 0]
        gradients = {name: part[name] for name in self.blocks if name in part}
        found = squares(gradients, self.blocks)
        if not sum(found.values()):
            return HalfGradient(reward, None, {})
        return HalfGradient(reward, gradients, found)

    def _held(self) -> TaskGradients:
        return TaskGradients(self._parameters, self._policy.shared_parameters())
