"""Cases whose cosine is known, by which an offline probe shows that it can be believed.

They run through the model, the objective and the probe as everything else does, with advantages of
1 and -1/2 by turns in every group. So there is always a gradient: where all rollouts of a group are
the same, it does not cancel, as it would with 1 and -1.

    same   the same rollouts as both tasks             1
    flip   the same rollouts, advantages negated      -1
    angle  a mixture of two tasks' gradients u and g   the cosine that the mixture was made for

The mixture is one accumulation over the rollouts of both tasks, the advantages of each scaled: the
gradient is linear in them. a u + b g has the cosine c with u for a/|u| and b/|g| in the ratio
c - s q : s, where q is the cosine of u and g and s = sqrt((1 - c^2) / (1 - q^2)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.models import Policy, Task
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.gram import ALL, Gram, task_grams, total_grams
from pairuni_train.grpo.batch import TaskBatch, micro_batches, with_old_log_probs
from pairuni_train.grpo.config import ObjectiveSpec
from pairuni_train.grpo.hooks import TaskGradients
from pairuni_train.grpo.rollouts import TASKS, TaskRollouts
from pairuni_train.grpo.update import accumulate

ANGLE = 0.5  # the cosine that the mixture is made for
_WITHIN = 1e-3  # float32 sums of a mixture in another order


class ControlCase(NamedTuple):
    """A case, what its cosine is and what the probe says."""

    name: str
    expected: float
    found: float

    @property
    def within(self) -> float:
        """How far off it may be."""
        return _WITHIN

    @property
    def holds(self) -> bool:
        """Whether the probe is right."""
        return abs(self.found - self.expected) <= self.within


class ControlCases:
    """Runs the cases at one set of weights.

    Args:
        engine: Runs the model.
        policy: The model.
        parameters: Its parameters that train, by name.
        objective: Settings of the objective.
        size: Rows of a micro-batch.
    """

    def __init__(
        self,
        engine: Engine,
        policy: Policy,
        parameters: Mapping[str, nn.Parameter],
        objective: ObjectiveSpec,
        *,
        size: int,
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._parameters = parameters
        self._objective = objective
        self._size = size

    def run(self, rollouts: Mapping[Task, TaskRollouts]) -> list[ControlCase]:
        """Every control on some rollouts.

        Raises:
            UserError: for the first that does not hold.
        """
        und, gen = ({task: 1.0} for task in TASKS)
        between = self._gram(rollouts, und, gen)
        a, b = mixture(between, ANGLE)
        controls = [
            ControlCase("same", 1.0, self._gram(rollouts, und, und).cosine),
            ControlCase("flip", -1.0, self._gram(rollouts, und, {"und": -1.0}).cosine),
            ControlCase("angle", ANGLE, self._gram(rollouts, und, {"und": a, "gen": b}).cosine),
        ]
        for control in controls:
            if not control.holds:
                raise UserError(
                    f"The probe cannot be believed: its control '{control.name}' gives a cosine of "
                    f"{control.found:.6f} where {control.expected:g} is right.",
                    hint="Probe in float32: --set precision=no",
                )
        return controls

    def _gram(
        self,
        rollouts: Mapping[Task, TaskRollouts],
        first: Mapping[Task, float],
        second: Mapping[Task, float],
    ) -> Gram:
        """The Gram of two sums of both tasks' gradients."""
        held = TaskGradients(self._parameters, self._policy.shared_parameters())
        for slot, factors in zip(TASKS, (first, second), strict=True):
            for task, factor in factors.items():
                self._accumulate(rollouts[task], factor)
            self._engine.sum_gradients()
            held.capture(slot, 0)
        found = total_grams(self._engine, task_grams(held).raw)[ALL].tasks
        held.restore()
        for parameter in self._parameters.values():
            parameter.grad = None
        return found

    def _accumulate(self, rollouts: TaskRollouts, factor: float) -> None:
        count = len(rollouts.group_N)
        by_turns_N = 1.0 - 1.5 * (torch.arange(count) % 2)
        lively = rollouts._replace(
            advantage_N=factor * by_turns_N, live_P=torch.ones_like(rollouts.live_P)
        )
        engine, policy, objective = self._engine, self._policy, self._objective
        cut = micro_batches(policy, lively, objective, size=self._size)
        compared = with_old_log_probs(engine, policy, None, cut, objective)
        accumulate(engine, policy, TaskBatch(lively, compared, float(max(count, 1))), objective)


def mixture(gram: Gram, cosine: float) -> tuple[float, float]:
    """Factors (a, b) for which a u + b g has that cosine with u."""
    q = gram.cosine
    s = math.sqrt((1 - cosine**2) / (1 - q**2))
    return (cosine - s * q) / math.sqrt(gram.aa), s / math.sqrt(gram.bb)
