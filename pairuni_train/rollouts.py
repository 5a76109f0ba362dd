"""What one step samples: for each task, the rollouts of its prompts with rewards and advantages.

Seeds have addresses (run, pair, rollout, step), so a rollout depends on neither its neighbours nor
the rank that samples it. Old log-probs are not taken here: they must come from the scoring function
at the training geometry (see `pairuni_eval.models.base`).

Legend: N rollouts of a task, P groups (one per prompt), T token positions.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.models.base import Policy, Reply, Request, Rollout, Task
from pairuni_eval.seeds import seed_for
from pairuni_train.advantages import Weighting, normalize
from pairuni_train.clock import Clock
from pairuni_train.pairs.record import Generation, Pair, Understanding
from pairuni_train.recipe import TaskSpec
from pairuni_train.rewards import Judged, WeightedSum

TASKS: tuple[Task, ...] = ("und", "gen")


class Prompted(NamedTuple):
    """A half of a pair that a task answers, with the weight of its pair."""

    half: Understanding | Generation
    pair: str
    weight: float


class Track(NamedTuple):
    """The rollouts of one task in one step.

    Attributes:
        prompts: The P prompts, in order.
        chunks: Rollouts as they were sampled together; one after the other they are the N rows.
        group_N: The prompt of each rollout.
        rewards: Every reward by name (N,), and "total"; NaN where declined.
        advantage_N: Normalised in the group and weighted by the pair.
        live_P: True where a group has something to teach.
    """

    task: Task
    prompts: list[Prompted]
    chunks: list[Rollout]
    replies: list[Reply]
    group_N: Tensor
    rewards: dict[str, Tensor]
    advantage_N: Tensor
    live_P: Tensor


class Sampling(NamedTuple):
    """How a task is sampled: its settings, its rewards, and the addresses of its seeds."""

    task: Task
    spec: TaskSpec
    rewards: WeightedSum
    weighting: Weighting
    rollout_batch: int
    seed: int


def prompts_of(task: Task, pairs: Sequence[Pair], weighting: Weighting) -> list[Prompted]:
    """The halves that a task answers, in the order of their pairs."""
    found = []
    for pair in pairs:
        half = pair.understanding if task == "und" else pair.generation
        if half is not None:
            found.append(Prompted(half, pair.id, weighting(pair)))
    return found


def sample_track(
    policy: Policy, pairs: Sequence[Pair], sampling: Sampling, step: int, clock: Clock
) -> Track:
    """Sample, decode, reward and normalise one task of a step."""
    prompts = prompts_of(sampling.task, pairs, sampling.weighting)
    count = sampling.spec.rollouts
    requests = [
        _request(prompt, draw, sampling, step) for prompt in prompts for draw in range(count)
    ]
    with clock.phase("sample"):
        chunks = [
            policy.sample(sampling.task, requests[start : start + sampling.rollout_batch])
            for start in range(0, len(requests), sampling.rollout_batch)
        ]
        replies = [reply for chunk in chunks for reply in policy.decode(chunk)]
    group_N = torch.arange(len(prompts)).repeat_interleave(count)
    judged = [
        Judged(prompts[group].half, reply)
        for group, reply in zip(group_N.tolist(), replies, strict=True)
    ]
    with clock.phase("reward"):
        named = sampling.rewards(judged)
    rewards = {name: torch.tensor(values) for name, values in named.items()}
    advantages = normalize(rewards["total"], group_N)
    weight_P = torch.tensor([prompt.weight for prompt in prompts])
    return Track(
        sampling.task,
        prompts,
        chunks,
        replies,
        group_N,
        rewards,
        advantages.value_N * weight_P[group_N],
        advantages.live_P,
    )


def _request(prompt: Prompted, draw: int, sampling: Sampling, step: int) -> Request:
    from PIL import Image

    seed = seed_for(sampling.seed, prompt.pair, draw, f"rollout-{sampling.task}-{step}")
    half, decoding = prompt.half, sampling.spec.decoding
    uid = f"{step}/{sampling.task}/{prompt.pair}/{draw}"
    if isinstance(half, Generation):
        return Request((half.prompt,), decoding, seed, uid)
    text = "\n".join(part for part in (half.question, sampling.spec.instruction) if part)
    image = Image.open(io.BytesIO(half.image)).convert("RGB")
    return Request((image, text), decoding, seed, uid)
