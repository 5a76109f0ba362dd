"""What an optimizer step trains on: a task's rollouts in micro-batches, with all that they need.

A `TaskBatch` is made once a step and does not change: rollouts with their advantages, the
micro-batches that they are cut into, what each is compared with, and the normalizer of the loss.

Micro-batches never straddle the middle of a task's prompts, so that a probe can take the two halves
apart; how many there are changes neither loss nor gradient. A rollout that its policy scores by
several views stands in one micro-batch for each. Groups without spread have no gradient: their
rollouts run forward only, to be counted in the metrics, or not at all (`dead_groups`).

Legend: N rollouts of a task or of a micro-batch, T token positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.models import (
    LogProbs,
    Policy,
    PolicyLogits,
    Rollout,
    Task,
    View,
)
from pairuni_train.distributed.engine import Engine
from pairuni_train.grpo.config import ObjectiveSpec
from pairuni_train.grpo.reference import Reference
from pairuni_train.grpo.rollouts import TaskRollouts

# Half of the prompts, and whether there is a gradient.
_KINDS = tuple(product((0, 1), (True, False)))


class MicroBatch(NamedTuple):
    """Rollouts that go through the model together, and how they are scored.

    Attributes:
        half: 0 for the first half of the task's prompts, 1 for the second.
        teaches: False if no row has a gradient.
        rollout: The rows.
        advantage_N: Their advantages, pair weight included.
        view: What is scored, and what it counts in each row.
        old_logp_NT: Log-probs under the policy that sampled; None where it is the one that trains.
        reference: What the reference says of the rows; None without one.
    """

    half: int
    teaches: bool
    rollout: Rollout
    advantage_N: Tensor
    view: View
    old_logp_NT: Tensor | None = None
    reference: LogProbs | None = None


class TaskBatch(NamedTuple):
    """One task of a step on this rank.

    Attributes:
        rollouts: What was sampled.
        micro_batches: The same rows as they go through the model, in order.
        sequences: M of the objective, over all ranks.
    """

    rollouts: TaskRollouts
    micro_batches: Sequence[MicroBatch]
    sequences: float

    @property
    def task(self) -> Task:
        """The task."""
        return self.rollouts.task

    def length(self, objective: ObjectiveSpec) -> float | None:
        """What the sum over a sequence's tokens is divided by; None is their number.

        A picture has as many tokens as it may have.
        """
        if objective.length_norm == "sequence" or self.task == "gen":
            return None
        return float(self.rollouts.spec.decoding.max_tokens)

    def of_half(self, half: int) -> TaskBatch:
        """The micro-batches of one half of the prompts alone."""
        return self._replace(micro_batches=[one for one in self.micro_batches if one.half == half])


def task_batches(
    engine: Engine,
    policy: Policy,
    reference: Reference | None,
    rollouts: Mapping[Task, TaskRollouts],
    objective: ObjectiveSpec,
    *,
    size: int,
    spare: Mapping[Task, TaskRollouts] | None = None,
) -> dict[Task, TaskBatch]:
    """Both tasks of a step, ready to train on: cut, padded, compared and normalized.

    Args:
        engine: Knows the other ranks.
        policy: What trains.
        reference: What a penalty holds it near to.
        rollouts: Of both tasks.
        objective: Its settings.
        size: Rows of a micro-batch at most.
        spare: Rollouts of this rank that fillers are made of; None takes `rollouts`.
    """
    sequences = normalizers(engine, rollouts)
    padded = {
        task: micro_batches(policy, one, objective, size=size) for task, one in rollouts.items()
    }
    if engine.sharded:
        padded = pad_micro_batches(padded, _any_row(policy, spare or rollouts, objective), engine)
    compared = {
        task: with_old_log_probs(engine, policy, reference, found, objective)
        for task, found in padded.items()
    }
    return {task: TaskBatch(one, compared[task], sequences[task]) for task, one in rollouts.items()}


def normalizers(engine: Engine, rollouts: Mapping[Task, TaskRollouts]) -> dict[Task, float]:
    """M per task over all ranks: the number of pairs times the rollouts of a prompt.

    With pairs this is the number of the task's rollouts. Rows of one half count half a pair, so a
    prompt weighs the same whether it came with a partner or not.
    """
    prompts = sum(len(one.prompts) for one in rollouts.values())
    pairs = float(engine.total(torch.tensor([float(prompts)]))[0]) / 2
    return {task: pairs * one.spec.rollouts for task, one in rollouts.items()}


def micro_batches(
    policy: Policy, rollouts: TaskRollouts, objective: ObjectiveSpec, *, size: int
) -> list[MicroBatch]:
    """Cut a task's rollouts into micro-batches of at most `size` rows, in order.

    Raises:
        ValueError: if the weights of a row's views do not sum to 1.
    """
    second_N = rollouts.group_N >= len(rollouts.prompts) // 2
    # A penalty has a gradient in every row.
    teaches_N = rollouts.live_P[rollouts.group_N] | (objective.beta > 0)
    kinds = [kind for kind in _KINDS if kind[1] or objective.dead_groups == "counted"]
    found: list[MicroBatch] = []
    first = 0
    for chunk in rollouts.chunks:
        here = slice(first, first + len(chunk))
        for half, teaches in kinds:
            chosen_N = (second_N[here] == half) & (teaches_N[here] == teaches)
            for row_N in torch.split(chosen_N.nonzero()[:, 0], size):
                if len(row_N):
                    rollout = chunk.rows(row_N.to(chunk.tokens_NT.device))
                    advantage_N = rollouts.advantage_N[here][row_N].to(chunk.tokens_NT.device)
                    seeds = [rollouts.seeds[first + row] for row in row_N.tolist()]
                    found += [
                        MicroBatch(half, teaches, rollout, advantage_N, view)
                        for view in _views(policy, rollout, seeds, objective)
                    ]
        first = here.stop
    return found


def _views(
    policy: Policy, rollout: Rollout, seeds: Sequence[int], objective: ObjectiveSpec
) -> list[View]:
    views = policy.plan_views(rollout, seeds, objective.views)
    total_N = torch.stack([view.weight_N for view in views]).sum(0)
    if not torch.allclose(total_N, torch.ones_like(total_N)):
        raise ValueError(f"the weights of a row's views sum to {total_N.tolist()}, not to 1")
    if len(views) > 1 and objective.length_norm == "constant":
        raise UserError(
            "length_norm = 'constant' divides the sum over all tokens of an answer; this policy "
            f"scores it by {len(views)} views of some of them each.",
            hint="--set length_norm=sequence",
        )
    return views


def _any_row(
    policy: Policy, rollouts: Mapping[Task, TaskRollouts], objective: ObjectiveSpec
) -> MicroBatch:
    """A row of this rank as a micro-batch, whether it teaches or not."""
    some = next(one for one in rollouts.values() if one.prompts).of_prompt(0)
    counted = msgspec.structs.replace(objective, dead_groups="counted")
    return micro_batches(policy, some, counted, size=1)[0]


def pad_micro_batches(
    batches: Mapping[Task, Sequence[MicroBatch]], spare: MicroBatch, engine: Engine
) -> dict[Task, list[MicroBatch]]:
    """Where ranks wait for each other: as many micro-batches of each kind everywhere, in one order.

    What a rank lacks are fillers: a row, that of `spare`, of which no position is a target.
    """
    return {task: list(_padded(found, spare, engine)) for task, found in batches.items()}


def _padded(
    batches: Sequence[MicroBatch], spare: MicroBatch, engine: Engine
) -> Iterator[MicroBatch]:
    kinds = sorted(_KINDS)
    mine = [[one for one in batches if (one.half, one.teaches) == kind] for kind in kinds]
    most = engine.largest(torch.tensor([len(found) for found in mine])).tolist()
    for kind, found, count in zip(kinds, mine, most, strict=True):
        yield from found
        yield from [_filler(spare, *kind)] * (count - len(found))


def _filler(batch: MicroBatch, half: int, teaches: bool) -> MicroBatch:
    row = slice(0, 1)
    view = batch.view.rows(row)
    nowhere_NT, nothing = torch.zeros_like(view.target_NT), torch.zeros_like(view.weight_N)
    empty = View(nowhere_NT, nothing, view.inputs_NT)
    nothing_N = torch.zeros_like(batch.advantage_N[row])
    return MicroBatch(half, teaches, batch.rollout.rows(row), nothing_N, empty)


def score(
    engine: Engine,
    policy: Reference,
    batch: MicroBatch,
    policy_logits: PolicyLogits,
    *,
    entropy: bool = False,
) -> LogProbs:
    """Log-probs of a micro-batch by the one entry that carries gradients."""
    with engine.precision():
        return policy(batch.rollout, batch.view, policy_logits=policy_logits, with_entropy=entropy)


@torch.no_grad()
def with_old_log_probs(
    engine: Engine,
    policy: Policy,
    reference: Reference | None,
    batches: Sequence[MicroBatch],
    objective: ObjectiveSpec,
) -> list[MicroBatch]:
    """Micro-batches with what the objective compares with, replayed at the geometry that trains.

    With one inner step the policy that sampled is the policy that trains, and nothing is replayed.
    """

    def under(other: Reference, batch: MicroBatch) -> LogProbs:
        return score(engine, other, batch, objective.policy_logits)

    return [
        batch._replace(
            old_logp_NT=under(policy, batch).logp_NT if objective.inner_steps > 1 else None,
            reference=None if reference is None else under(reference, batch),
        )
        for batch in batches
    ]
