"""The gradients of an optimizer step: both tasks', one after the other.

Understanding goes first, generation second; their gradients add up and the optimizer sees the sum,
which is the joint objective. Going task by task costs nothing and leaves the two gradients to be
looked at or changed by hooks (`pairuni_train.grpo.hooks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.toolkit.models import LogProbs, Policy, Task, View
from pairuni_train.distributed.engine import Engine
from pairuni_train.grpo.batch import TaskBatch, score
from pairuni_train.grpo.config import ObjectiveSpec
from pairuni_train.grpo.hooks import TaskGradients
from pairuni_train.grpo.objective import Terms, divergence, surrogate
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.task_norms import held_norms


class TaskTotals(NamedTuple):
    """The terms of one task's objective over its micro-batches, and its mean token entropy."""

    terms: Terms
    entropy: Tensor


def accumulate(
    engine: Engine, policy: Policy, batch: TaskBatch, objective: ObjectiveSpec
) -> TaskTotals:
    """Add the gradient of one task's objective to the parameters; returns its terms.

    Gradients of several ranks are left unsummed: `Engine.sum_gradients` follows once, after the
    last task.

    Args:
        engine: Runs the backward pass.
        policy: What trains.
        batch: What this rank has of the task.
        objective: Its settings.
    """
    totals = nothing(engine.device)
    weight = batch.rollouts.spec.weight
    for one in batch.micro_batches:
        with torch.set_grad_enabled(one.teaches):
            scored = score(engine, policy, one, objective.policy_logits, entropy=True)
            terms = surrogate(
                scored.logp_NT,
                one.view.target_NT,
                one.advantage_N,
                objective,
                sequences=batch.sequences,
                weight_N=one.view.weight_N,
                length=batch.length(objective),
                old_logp_NT=one.old_logp_NT,
                kl_NT=None if one.reference is None else divergence(scored, one.reference),
            )
        if one.teaches:
            engine.backward(terms.loss * weight)
        totals = plus(totals, TaskTotals(terms, _entropy(scored, one.view)))
    return totals


class JointGradient(NamedTuple):
    """What adding up both tasks' gradients says of them.

    Attributes:
        totals: The terms of each task's objective.
        norms: The norm of each task's gradient alone; empty where they were not held apart.
    """

    totals: dict[Task, TaskTotals]
    norms: dict[Task, float]


def accumulate_tasks(
    engine: Engine, policy: Policy, batches: Mapping[Task, TaskBatch], objective: ObjectiveSpec
) -> JointGradient:
    """The gradient of the joint objective, summed over ranks, in the parameters."""
    totals = {task: accumulate(engine, policy, batches[task], objective) for task in TASKS}
    engine.sum_gradients()
    return JointGradient(totals, {})


def capture_task_gradients(
    engine: Engine,
    policy: Policy,
    held: TaskGradients,
    batches: Mapping[Task, TaskBatch],
    objective: ObjectiveSpec,
    *,
    halves: bool,
) -> JointGradient:
    """Both tasks' gradients into `held`, summed over ranks; the parameters hold none.

    With `halves` the two halves of each task's prompts are taken apart.
    """
    found = {}
    for task in TASKS:
        totals, batch = nothing(engine.device), batches[task]
        for half, part in enumerate(map(batch.of_half, (0, 1)) if halves else (batch,)):
            some = accumulate(engine, policy, part, objective)
            engine.sum_gradients()
            held.capture(task, half)
            totals = plus(totals, some)
        found[task] = totals
    return JointGradient(found, held_norms(engine, held))


def nothing(device: torch.device) -> TaskTotals:
    """The totals of no micro-batch."""
    zero = torch.zeros((), device=device)
    return TaskTotals(Terms(zero, zero, zero, zero, zero, zero), zero)


def _entropy(scored: LogProbs, view: View) -> Tensor:
    if scored.entropy_NT is None:
        raise RuntimeError("the policy was asked for its entropy and gave none")
    return scored.entropy_NT.masked_fill(~view.target_NT, 0.0).sum()


def plus(first: TaskTotals, second: TaskTotals) -> TaskTotals:
    """The totals of both; without gradient."""
    a, b = first.terms, second.terms
    return TaskTotals(
        Terms(
            a.loss + b.loss.detach(),
            a.tokens + b.tokens,
            a.clipped_low + b.clipped_low,
            a.clipped_high + b.clipped_high,
            torch.maximum(a.ratio_off, b.ratio_off),
            a.kl + b.kl,
        ),
        first.entropy + second.entropy,
    )
