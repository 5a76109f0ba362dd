"""What one step samples: for each task, the rollouts of its prompts with rewards and advantages.

Seeds have addresses (run, pair, rollout, step), so a rollout depends on neither its neighbors nor
the rank that samples it. Old log-probs are not taken here: they must come from the scoring function
at the training geometry (see `pairuni_eval.models.base`).

Legend: N rollouts of a task, P groups (one per prompt), T token positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pairuni_eval.toolkit import UserError, seed_for
from pairuni_eval.toolkit.models import Policy, Reply, Request, Rollout, Task
from pairuni_train.grpo.advantages import Weighting, normalize
from pairuni_train.grpo.config import TaskSpec
from pairuni_train.grpo.rewards import Judged, WeightedSum
from pairuni_train.pair_data.read_half import picture_of, question_of
from pairuni_train.pair_data.record import Generation, Pair, Understanding
from pairuni_train.phase_timer import PhaseTimer

if TYPE_CHECKING:
    from PIL.Image import Image

TASKS: tuple[Task, ...] = ("und", "gen")
_TOGETHER = 8  # pictures that are decoded at once


class Prompted(NamedTuple):
    """A half of a pair that a task answers, with the weight of its pair."""

    half: Understanding | Generation
    pair: str
    weight: float


class TaskRollouts(NamedTuple):
    """The rollouts of one task in one step.

    Attributes:
        spec: How they were sampled, and what their loss counts.
        prompts: The P prompts, in order.
        chunks: Rollouts as they were sampled together; one after the other they are the N rows.
        group_N: The prompt of each rollout.
        rewards: Every reward by name (N,), and "total"; NaN where declined.
        advantage_N: Normalized in the group and weighted by the pair.
        live_P: True where a group has something to teach.
        seeds: A seed of each rollout, for what its policy draws to score it.
    """

    task: Task
    spec: TaskSpec
    prompts: list[Prompted]
    chunks: list[Rollout]
    replies: list[Reply]
    group_N: Tensor
    rewards: dict[str, Tensor]
    advantage_N: Tensor
    live_P: Tensor
    seeds: list[int]

    def of_prompt(self, place: int) -> TaskRollouts:
        """The rollouts of one prompt alone, as a task of one group."""
        return self.of_prompts([place])

    def of_prompts(self, places: Sequence[int]) -> TaskRollouts:
        """The rollouts of some prompts alone, in the order that they have here."""
        chosen = torch.zeros(len(self.prompts), dtype=torch.bool)
        chosen[list(places)] = True
        mine_N = chosen[self.group_N]
        chunks, first = [], 0
        for chunk in self.chunks:
            row_N = mine_N[first : first + len(chunk)].nonzero()[:, 0]
            first += len(chunk)
            if len(row_N):
                chunks.append(chunk.rows(row_N.to(chunk.tokens_NT.device)))
        rows = mine_N.nonzero()[:, 0].tolist()
        return TaskRollouts(
            self.task,
            self.spec,
            [prompt for prompt, mine in zip(self.prompts, chosen.tolist(), strict=True) if mine],
            chunks,
            [self.replies[row] for row in rows],
            (chosen.cumsum(0) - 1)[self.group_N[mine_N]],
            {name: values_N[mine_N] for name, values_N in self.rewards.items()},
            self.advantage_N[mine_N],
            self.live_P[chosen],
            [self.seeds[row] for row in rows],
        )


def joined(parts: Sequence[TaskRollouts]) -> TaskRollouts:
    """The rollouts of one task that were sampled in several rounds, as one."""
    if len(parts) == 1:
        return parts[0]
    groups, first = [], 0
    for part in parts:
        groups.append(part.group_N + first)
        first += len(part.prompts)
    return TaskRollouts(
        parts[0].task,
        parts[0].spec,
        [prompt for part in parts for prompt in part.prompts],
        [chunk for part in parts for chunk in part.chunks],
        [reply for part in parts for reply in part.replies],
        torch.cat(groups),
        {name: torch.cat([part.rewards[name] for part in parts]) for name in parts[0].rewards},
        torch.cat([part.advantage_N for part in parts]),
        torch.cat([part.live_P for part in parts]),
        [seed for part in parts for seed in part.seeds],
    )


class Sampling(NamedTuple):
    """How a task is sampled: its settings, its rewards, and the addresses of its seeds.

    Attributes:
        scaled: Divide advantages by the standard deviation of their group.
    """

    task: Task
    spec: TaskSpec
    rewards: WeightedSum
    weighting: Weighting
    rollout_batch: int
    seed: int
    scaled: bool = True


def prompts_of(task: Task, pairs: Sequence[Pair], weighting: Weighting) -> list[Prompted]:
    """The halves that a task answers, in the order of their pairs."""
    found = []
    for pair in pairs:
        half = pair.understanding if task == "und" else pair.generation
        if half is not None:
            found.append(Prompted(half, pair.id, weighting(pair)))
    return found


def sample_task(
    policy: Policy,
    pairs: Sequence[Pair],
    sampling: Sampling,
    step: int,
    timer: PhaseTimer,
    *,
    done: int | None = None,
) -> TaskRollouts:
    """Sample, decode, reward and normalize one task of a step.

    Args:
        policy: What samples.
        pairs: Whose halves are answered.
        sampling: How.
        step: Part of the address of every seed.
        timer: Is told of the phases.
        done: Steps done, where the seeds' step is another: an error names it.

    Raises:
        UserError: if the policy fails on a rollout, as one with NaN in its weights does: a reward
            would be paid for noise, and the loss of the whole step would be NaN.
    """
    prompts = prompts_of(sampling.task, pairs, sampling.weighting)
    count = sampling.spec.rollouts
    requests = [one for prompt in prompts for one in _requests(prompt, sampling, step)]
    with timer.phase(f"sample/{sampling.task}"):
        chunks = [
            policy.sample(sampling.task, requests[start : start + sampling.rollout_batch])
            for start in range(0, len(requests), sampling.rollout_batch)
        ]
    with timer.phase("decode"):
        replies = [reply for chunk in chunks for reply in policy.decode(chunk, together=_TOGETHER)]
    _check_replies(replies, sampling.task, step if done is None else done)
    group_N = torch.arange(len(prompts)).repeat_interleave(count)
    judged = [
        Judged(prompts[group].half, reply)
        for group, reply in zip(group_N.tolist(), replies, strict=True)
    ]
    with timer.phase("reward"):
        named = sampling.rewards(judged)
    rewards = {name: torch.tensor(values) for name, values in named.items()}
    advantages = normalize(rewards["total"], group_N, scaled=sampling.scaled)
    weight_P = torch.tensor([prompt.weight for prompt in prompts])
    return TaskRollouts(
        sampling.task,
        sampling.spec,
        prompts,
        chunks,
        replies,
        group_N,
        rewards,
        advantages.value_N * weight_P[group_N],
        advantages.live_P,
        [seed_for(request.seed, request.uid, 0, "views") for request in requests],
    )


def _check_replies(replies: Sequence[Reply], task: Task, step: int) -> None:
    failed = [reply.error for reply in replies if reply.error]
    if failed:
        raise UserError(
            f"Stopped at step {step}: {len(failed)} of {len(replies)} rollouts of '{task}' failed: "
            f"{failed[0]}.",
            hint="Go on from the last checkpoint, with a lower learning rate or without bfloat16.",
        )


def _requests(prompt: Prompted, sampling: Sampling, step: int) -> Iterator[Request]:
    """The group of a prompt; its requests share their parts, so that these are encoded once."""
    parts = _parts(prompt.half, sampling.spec.instruction)
    for draw in range(sampling.spec.rollouts):
        seed = seed_for(sampling.seed, prompt.pair, draw, f"rollout-{sampling.task}-{step}")
        uid = f"{step}/{sampling.task}/{prompt.pair}/{draw}"
        yield Request(parts, sampling.spec.decoding, seed, uid)


def _parts(half: Understanding | Generation, instruction: str) -> tuple[str | Image, ...]:
    """What the policy reads of a half.

    Raises:
        UserError: if the image cannot be read.
    """
    if isinstance(half, Generation):
        return (half.prompt,)
    return (picture_of(half), question_of(half, instruction))
