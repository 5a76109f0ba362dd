"""Replay with shared prompts against replay row by row, on the shipped tiny weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import small_training as small
from torch import Tensor

from pairuni_eval.models.base import PolicyLogits, Request, Rollout, Task
from pairuni_eval.models.janus import JanusPolicy, teacher_forcing
from pairuni_eval.models.janus.prompts import distinct
from pairuni_eval.tiny import janus
from pairuni_train.grpo.rollouts import TASKS

TASK = pytest.mark.parametrize("task", TASKS)


@pytest.fixture(scope="module")
def policy(tiny_weights: Path) -> JanusPolicy:
    torch.set_num_threads(1)
    tiny = janus.load(tiny_weights)
    return JanusPolicy(tiny.model, tiny.processor).eval()


def grouped(policy: JanusPolicy, task: Task, *, cfg_scale: float = 2.0) -> Rollout:
    """Three prompts of several lengths with four completions each."""
    recipe = small.small_recipe(rollout_batch=12, gen__decoding__cfg_scale=cfg_scale)
    (chunk,) = small.sampled(policy, task, small.tiny_pairs(3, seed=4), recipe).chunks
    prompt = chunk.conditions["prompt"]
    assert len(distinct(prompt).first_U) == 3
    assert len(set(prompt.mask_NP.sum(1).tolist())) > 1, "the case needs padding"
    return chunk


def replayed(
    policy: JanusPolicy, rollout: Rollout, logits: PolicyLogits = "conditional"
) -> tuple[Tensor, Tensor]:
    """Log-probs, and the gradient of a weighted sum of them in the language model."""
    (view,) = policy.plan_views(rollout, range(len(rollout)))
    policy.zero_grad(set_to_none=True)
    logp_NT = policy(rollout, view, policy_logits=logits).logp_NT
    weight_NT = torch.linspace(-1, 2, logp_NT.numel()).view_as(logp_NT)
    (logp_NT * weight_NT).sum().backward()
    found = [p.grad.flatten() for p in policy.janus.model.language_model.parameters()]
    return logp_NT.detach(), torch.cat(found)


@contextmanager
def row_by_row() -> Iterator[None]:
    pays = teacher_forcing.pays
    teacher_forcing.pays = lambda *_, **__: False  # type: ignore[assignment]
    try:
        yield
    finally:
        teacher_forcing.pays = pays


@TASK
def test_a_shared_prompt_changes_neither_log_probs_nor_gradients(
    policy: JanusPolicy, task: Task
) -> None:
    rollout = grouped(policy, task)
    logits: PolicyLogits = "cfg"  # answers have no guidance
    shared_NT, shared_gradient = replayed(policy, rollout, logits)
    with row_by_row():
        alone_NT, alone_gradient = replayed(policy, rollout, logits)
    assert float((shared_NT - alone_NT).abs().max()) < 1e-5
    assert float((shared_gradient - alone_gradient).norm()) < 1e-5 * float(alone_gradient.norm())


@TASK
def test_rows_of_a_group_may_be_cut_anywhere(policy: JanusPolicy, task: Task) -> None:
    rollout = grouped(policy, task)
    whole_NT, _ = replayed(policy, rollout)
    for index in (slice(3, 9), torch.tensor([0, 5, 1, 11, 2])):
        part_NT, _ = replayed(policy, rollout.rows(index))
        assert float((part_NT - whole_NT[index]).abs().max()) < 1e-5


def test_in_a_group_too_codes_shifted_by_one_are_clearly_less_likely(policy: JanusPolicy) -> None:
    rollout = grouped(policy, "gen", cfg_scale=5.0)
    own_NT, _ = replayed(policy, rollout, "cfg")
    for step in (1, -1):
        moved = replace(rollout, tokens_NT=rollout.tokens_NT.roll(step, dims=1))
        other_NT, _ = replayed(policy, moved, "cfg")
        changed_NT = moved.tokens_NT != rollout.tokens_NT
        assert int(changed_NT.sum()) > 20
        assert float(other_NT[changed_NT].mean()) < float(own_NT[changed_NT].mean()) - 0.5


def test_replay_of_a_group_gives_the_samplers_log_probs(policy: JanusPolicy) -> None:
    (pair,) = small.tiny_pairs(1)
    assert pair.generation is not None
    decoding = small.small_recipe(gen__decoding__cfg_scale=1.0).gen.decoding
    asked = [Request((pair.generation.prompt,), decoding, seed, str(seed)) for seed in range(5)]
    rollout = policy.sample("gen", asked, record_logp=True)
    assert rollout.sampler_logp_NT is not None
    found_NT, _ = replayed(policy, rollout)
    assert float((found_NT - rollout.sampler_logp_NT).abs().max()) < 1e-5


def test_sharing_is_weighed_against_attention() -> None:
    tiny, large = 2 * 128 + 3 * 384 // 2, 2 * 2048 + 3 * 5632 // 2  # Janus-Pro-1B
    answers = {"rows": 16, "width": 640, "length": 200, "token_cost": large}
    pictures = {"rows": 16, "width": 25, "length": 575, "token_cost": large}
    assert teacher_forcing.pays([8 * 200] * 2, **answers)
    assert not teacher_forcing.pays([8 * 575] * 2, **pictures)
    assert teacher_forcing.pays([8 * 15] * 2, rows=16, width=14, length=15, token_cost=tiny)
    assert not teacher_forcing.pays([200] * 16, **answers), "there is nothing to share"
    wide = {**answers, "rows": 64}
    assert not teacher_forcing.pays([1600, *[200] * 56], **wide), "a packed row is as wide as any"


@TASK
def test_equal_beginnings_run_once(policy: JanusPolicy, task: Task) -> None:
    rollout = grouped(policy, task)
    alike = rollout.rows(torch.tensor([0, 0, 0, 5, 5, 8]))
    seen: list[int] = []
    model = policy.janus.model.language_model
    hook = model.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["inputs_embeds"].shape[:2].numel()),
        with_kwargs=True,
    )
    try:
        logp_NT, _ = replayed(policy, alike)
    finally:
        hook.remove()
    longest = int(alike.mask_NT.sum(1).max()) - 1
    width = alike.conditions["prompt"].mask_NP.shape[1]
    assert seen == [3 * (width + longest)]
    assert torch.equal(logp_NT[0], logp_NT[1]), "one node, one number"
    apart_NT, _ = replayed(policy, rollout)
    assert float((logp_NT - apart_NT[[0, 0, 0, 5, 5, 8]]).abs().max()) < 1e-5


def test_answers_of_one_token_need_their_prompts_alone(policy: JanusPolicy) -> None:
    rollout = grouped(policy, "und")
    first = replace(rollout, tokens_NT=rollout.tokens_NT[:, :1], mask_NT=rollout.mask_NT[:, :1])
    found_NT, _ = replayed(policy, first)
    whole_NT, _ = replayed(policy, rollout)
    assert float((found_NT - whole_NT[:, :1]).abs().max()) < 1e-5


def test_an_image_that_rows_share_is_encoded_once(policy: JanusPolicy) -> None:
    rollout = grouped(policy, "und")
    prompt = rollout.conditions["prompt"]
    assert prompt.pixels_ICHW.shape[0] == 3
    assert prompt.images_NK[:, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_positions_that_are_scored_at_most() -> None:
    # 8 answers of 8 words to 2 questions of 43: 2 (43 + 4 x 8) by packing
    small = teacher_forcing.token_cost(768, 2112)
    assert teacher_forcing.scored_positions(8, 2, 43, 8, cost=small) == 150
    # 8 pictures of 576 codes: attention over 4,658 positions at once costs more than eight rows
    large = teacher_forcing.token_cost(4096, 11_008)
    assert large == 8192 + 16_512
    assert teacher_forcing.scored_positions(8, 1, 50, 576, cost=large) == 8 * 626
