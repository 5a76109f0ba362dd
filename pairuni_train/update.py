"""One optimizer step on the rollouts of a step: both tasks' gradients, one after the other.

Understanding goes first, generation second; their gradients add up and the optimizer sees the sum,
which is the joint objective. Going task by task costs nothing and leaves the two gradients to be
looked at (`pairuni_train.gradients`) or projected off each other (PCGrad).

Micro-batches never straddle the middle of a task's prompts, so that a probe can take the two halves
apart; how many there are changes neither loss nor gradient.

Legend: N rollouts of a task or of a micro-batch, T token positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairuni_eval.models.base import Rollout, Task, View
from pairuni_train.engine import Engine
from pairuni_train.gradients import ALL, Probe
from pairuni_train.objective import Clip, Terms, surrogate
from pairuni_train.recipe import Backbone
from pairuni_train.rollouts import TASKS, Track


class MicroBatch(NamedTuple):
    """Rollouts that go through the model together.

    Attributes:
        half: 0 for the first half of the task's prompts, 1 for the second.
        rollout: The rows.
        advantage_N: Their advantages, pair weight included.
        view: What is scored.
    """

    half: int
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


def micro_batches(policy: Any, track: Track, size: int) -> list[MicroBatch]:
    """Cut a track into micro-batches of at most `size` rows, in order."""
    middle = int((track.group_N < len(track.prompts) // 2).sum())
    found = []
    first = 0
    for chunk in track.chunks:
        for rows in _cuts(len(chunk), size, middle - first):
            rollout = chunk.rows(rows)
            # An autoregressive policy has one view and draws nothing for it.
            (view,) = policy.plan_views(rollout, torch.Generator())
            place = slice(first + rows.start, first + rows.stop)
            half = int(place.start >= middle)
            advantage_N = track.advantage_N[place].to(rollout.tokens_NT.device)
            found.append(MicroBatch(half, rollout, advantage_N, view))
        first += len(chunk)
    return found


def _cuts(length: int, size: int, middle: int) -> Iterator[slice]:
    """Slices of at most `size` that never straddle `middle`."""
    start = 0
    while start < length:
        stop = min(start + size, length)
        if start < middle < stop:
            stop = middle
        yield slice(start, stop)
        start = stop


def score(model: nn.Module, batch: MicroBatch, backbone: Backbone, *, entropy: bool = False) -> Any:
    """Log-probs of a micro-batch by the one entry that carries gradients."""
    return model(
        batch.rollout, batch.view, policy_logits=backbone.policy_logits, with_entropy=entropy
    )


@torch.no_grad()
def old_log_probs(
    model: nn.Module,
    reference: nn.Module | None,
    batches: Sequence[MicroBatch],
    backbone: Backbone,
) -> list[OldLogProbs]:
    """What the objective compares with, replayed on the very micro-batches that will train.

    With one inner step the policy that sampled is the policy that trains, and nothing is replayed.
    """
    return [
        OldLogProbs(
            score(model, batch, backbone).logp_NT if backbone.inner_steps > 1 else None,
            score(reference, batch, backbone).logp_NT if reference is not None else None,
        )
        for batch in batches
    ]


def accumulate(
    engine: Engine,
    model: nn.Module,
    batches: Sequence[MicroBatch],
    old: Sequence[OldLogProbs],
    backbone: Backbone,
    *,
    task: Task,
    sequences: float,
    probe: Probe | None = None,
    halves: bool = False,
) -> TaskTotals:
    """Add the gradient of one task's objective to the parameters; returns its terms.

    Without a probe the gradients of several ranks are left unsummed: `Engine.sum_gradients` follows
    once, after the last task.

    Args:
        engine: Runs backward passes and sums gradients over ranks.
        model: The policy as the engine wraps it.
        batches: All micro-batches of the task on this rank.
        old: What each is compared with.
        backbone: Settings.
        task: Which task it is.
        sequences: M of the objective, over all ranks.
        probe: Takes the gradient aside, summed over ranks; the parameters then hold none of it.
        halves: The probe takes the two halves apart.
    """
    totals: TaskTotals | None = None
    clip = Clip(backbone.clip_low, backbone.clip_high)
    for half in (0, 1) if halves else (None,):
        for batch, before in zip(batches, old, strict=True):
            if half is not None and batch.half != half:
                continue
            scored = score(model, batch, backbone, entropy=True)
            terms = surrogate(
                scored.logp_NT,
                batch.view.target_NT,
                batch.advantage_N,
                sequences=sequences,
                clip=clip,
                old_logp_NT=before.sampled,
                reference_logp_NT=before.reference,
                beta=backbone.beta,
            )
            engine.backward(terms.loss * backbone.task(task).weight)
            entropy = (scored.entropy_NT * batch.view.target_NT).sum().detach()
            totals = _plus(totals, TaskTotals(_detached(terms), entropy))
        if probe is not None:
            engine.sum_gradients()
            probe.take(task, half or 0)
    return totals or _nothing(engine.device)


def sequences_of(tracks: Mapping[Task, Track], engine: Engine) -> dict[Task, float]:
    """M per task over all ranks: the number of pairs times the rollouts of a prompt.

    With pairs this is the number of the task's rollouts. Rows of one half count half a pair, so a
    prompt weighs the same whether it came with a partner or not.
    """
    prompts = sum(len(track.prompts) for track in tracks.values())
    pairs = float(engine.total(torch.tensor([float(prompts)]))[0]) / 2
    per_prompt = {
        task: len(track.group_N) / len(track.prompts) if track.prompts else 0.0
        for task, track in tracks.items()
    }
    return {task: max(pairs * per_prompt[task], 1.0) for task in TASKS if task in tracks}


def project_conflicts(probe: Probe) -> None:
    """PCGrad for two tasks in closed form, in place of the plain sum; the probe gives back.

    Where u.g < 0: u - (u.g / g.g) g  +  g - (u.g / u.u) u, i.e. u (1 - u.g/u.u) + g (1 - u.g/g.g).
    Otherwise the sum. The inner product is over all shared parameters, as in Yu et al. 2020.
    """
    tasks = probe.grams()[ALL].tasks
    if tasks.ab < 0 and tasks.aa > 0 and tasks.bb > 0:
        probe.scale({"und": 1 - tasks.ab / tasks.aa, "gen": 1 - tasks.ab / tasks.bb})
    probe.give_back()


def _detached(terms: Terms) -> Terms:
    return terms._replace(loss=terms.loss.detach())


def _plus(first: TaskTotals | None, second: TaskTotals) -> TaskTotals:
    if first is None:
        return second
    a, b = first.terms, second.terms
    return TaskTotals(
        Terms(
            a.loss + b.loss,
            a.tokens + b.tokens,
            a.clipped_low + b.clipped_low,
            a.clipped_high + b.clipped_high,
            torch.maximum(a.ratio_off, b.ratio_off),
            a.kl + b.kl,
        ),
        first.entropy + second.entropy,
    )


def _nothing(device: torch.device) -> TaskTotals:
    zero = torch.zeros((), device=device)
    return TaskTotals(Terms(zero, zero, zero, zero, zero, zero), zero)
