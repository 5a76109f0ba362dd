"""One optimizer step on the rollouts of a step: both tasks' gradients, one after the other.

Understanding goes first, generation second; their gradients add up and the optimizer sees the sum,
which is the joint objective. Going task by task costs nothing and leaves the two gradients to be
looked at (`pairuni_train.gradient_probe.gram`) or projected off each other (PCGrad).

Micro-batches never straddle the middle of a task's prompts, so that a probe can take the two halves
apart; how many there are changes neither loss nor gradient. Groups without spread have no gradient:
their rollouts run forward only, to be counted in the metrics.

Legend: N rollouts of a task or of a micro-batch, T token positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairuni_eval.models.base import LogProbs, Rollout, Task, View
from pairuni_train.config import Recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.gram import ALL, Probe
from pairuni_train.grpo.objective import Clip, Terms, surrogate
from pairuni_train.grpo.rollouts import Track


class MicroBatch(NamedTuple):
    """Rollouts that go through the model together.

    Attributes:
        half: 0 for the first half of the task's prompts, 1 for the second.
        teaches: False if no row has a gradient.
        rollout: The rows.
        advantage_N: Their advantages, pair weight included.
        view: What is scored.
    """

    half: int
    teaches: bool
    rollout: Rollout
    advantage_N: Tensor
    view: View


class OldLogProbs(NamedTuple):
    """Log-probs of a micro-batch that the objective compares with, (N, T) or None."""

    sampled: Tensor | None = None
    reference: Tensor | None = None


class TaskTotals(NamedTuple):
    """The terms of one task's objective over its micro-batches, and its mean token entropy."""

    terms: Terms
    entropy: Tensor


def micro_batches(policy: Any, track: Track, recipe: Recipe) -> list[MicroBatch]:
    """Cut a track into micro-batches, in order."""
    second_N = track.group_N >= len(track.prompts) // 2
    # A penalty has a gradient in every row.
    teaches_N = track.live_P[track.group_N] | (recipe.beta > 0)
    found = []
    first = 0
    for chunk in track.chunks:
        here = slice(first, first + len(chunk))
        for half, teaches in product((0, 1), (True, False)):
            chosen_N = (second_N[here] == half) & (teaches_N[here] == teaches)
            for row_N in torch.split(chosen_N.nonzero()[:, 0], recipe.micro_batch):
                if len(row_N):
                    advantage_N = track.advantage_N[here][row_N]
                    found.append(_micro_batch(policy, chunk, row_N, advantage_N, half, teaches))
        first = here.stop
    return found


def evened(batches: Mapping[Task, list[MicroBatch]], engine: Engine) -> None:
    """Where ranks wait for each other: as many micro-batches of each kind everywhere, in one order.

    What a rank lacks are fillers: a row of which no position is a target.
    """
    if not engine.sharded:
        return
    spare = next(batch for found in batches.values() for batch in found)
    for found in batches.values():
        kinds = list(product((0, 1), (True, False)))
        mine = [sum((one.half, one.teaches) == kind for one in found) for kind in kinds]
        most = engine.largest(torch.tensor(mine)).tolist()
        for kind, have, want in zip(kinds, mine, most, strict=True):
            found.extend([_filler(spare, *kind)] * (want - have))
        found.sort(key=lambda one: (one.half, one.teaches))


def _filler(batch: MicroBatch, half: int, teaches: bool) -> MicroBatch:
    row, view = slice(0, 1), batch.view
    empty = View(torch.zeros_like(view.target_NT[row]), torch.zeros_like(view.weight_NT[row]))
    nothing_N = torch.zeros_like(batch.advantage_N[row])
    return MicroBatch(half, teaches, batch.rollout.rows(row), nothing_N, empty)


def _micro_batch(
    policy: Any, chunk: Rollout, row_N: Tensor, advantage_N: Tensor, half: int, teaches: bool
) -> MicroBatch:
    device = chunk.tokens_NT.device
    rollout = chunk.rows(row_N.to(device))
    # An autoregressive policy has one view and draws nothing for it.
    (view,) = policy.plan_views(rollout, torch.Generator())
    return MicroBatch(half, teaches, rollout, advantage_N.to(device), view)


def score(
    engine: Engine,
    model: nn.Module,
    batch: MicroBatch,
    recipe: Recipe,
    *,
    entropy: bool = False,
) -> LogProbs:
    """Log-probs of a micro-batch by the one entry that carries gradients."""
    with engine.precision():
        scored: LogProbs = model(
            batch.rollout, batch.view, policy_logits=recipe.policy_logits, with_entropy=entropy
        )
    return scored


@torch.no_grad()
def old_log_probs(
    engine: Engine,
    reference: nn.Module | None,
    batches: Sequence[MicroBatch],
    recipe: Recipe,
) -> list[OldLogProbs]:
    """What the objective compares with, replayed on the very micro-batches that will train.

    With one inner step the policy that sampled is the policy that trains, and nothing is replayed.
    """
    return [
        OldLogProbs(
            score(engine, engine.model, batch, recipe).logp_NT if recipe.inner_steps > 1 else None,
            score(engine, reference, batch, recipe).logp_NT if reference is not None else None,
        )
        for batch in batches
    ]


class Compared(NamedTuple):
    """The micro-batches of a task on this rank, and what each is compared with."""

    batches: Sequence[MicroBatch]
    old: Sequence[OldLogProbs]

    def of_half(self, half: int) -> Compared:
        """The micro-batches of one half of the prompts."""
        both = zip(self.batches, self.old, strict=True)
        chosen = [(batch, old) for batch, old in both if batch.half == half]
        return Compared([batch for batch, _ in chosen], [old for _, old in chosen])


def accumulate(
    engine: Engine, compared: Compared, recipe: Recipe, *, task: Task, sequences: float
) -> TaskTotals:
    """Add the gradient of one task's objective to the parameters; returns its terms.

    Args:
        engine: Runs the model and its backward pass. Gradients of several ranks are left unsummed:
            `Engine.sum_gradients` follows once, after the last task.
        compared: What this rank has of the task.
        recipe: Settings.
        task: Which task it is.
        sequences: M of the objective, over all ranks.
    """
    totals = nothing(engine.device)
    clip = Clip(recipe.clip_low, recipe.clip_high)
    for batch, old in zip(compared.batches, compared.old, strict=True):
        with torch.set_grad_enabled(batch.teaches):
            scored = score(engine, engine.model, batch, recipe, entropy=True)
            terms = surrogate(
                scored.logp_NT,
                batch.view.target_NT,
                batch.advantage_N,
                sequences=sequences,
                clip=clip,
                old_logp_NT=old.sampled,
                reference_logp_NT=old.reference,
                beta=recipe.beta,
            )
        if batch.teaches:
            engine.backward(terms.loss * recipe.task(task).weight)
        totals = plus(totals, TaskTotals(terms, _entropy(scored, batch.view)))
    return totals


def sequences_of(tracks: Mapping[Task, Track], recipe: Recipe, engine: Engine) -> dict[Task, float]:
    """M per task over all ranks: the number of pairs times the rollouts of a prompt.

    With pairs this is the number of the task's rollouts. Rows of one half count half a pair, so a
    prompt weighs the same whether it came with a partner or not.
    """
    prompts = sum(len(track.prompts) for track in tracks.values())
    pairs = float(engine.total(torch.tensor([float(prompts)]))[0]) / 2
    return {task: pairs * recipe.task(task).rollouts for task in tracks}


def project_conflicts(probe: Probe, engine: Engine) -> None:
    """PCGrad for two tasks in closed form, in place of the plain sum; the probe gives back.

    Where u.g < 0: u - (u.g / g.g) g  +  g - (u.g / u.u) u, i.e. u (1 - u.g/u.u) + g (1 - u.g/g.g).
    Otherwise the sum. The inner product is over all shared parameters, as in Yu et al. 2020.
    """
    tasks = engine.total_grams(probe.grams().raw)[ALL].tasks
    if tasks.ab < 0 and tasks.aa > 0 and tasks.bb > 0:
        probe.scale({"und": 1 - tasks.ab / tasks.aa, "gen": 1 - tasks.ab / tasks.bb})
    probe.give_back()


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
