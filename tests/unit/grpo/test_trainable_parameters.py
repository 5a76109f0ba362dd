"""Which weights train, and what a checkpoint holds of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import small_training as small
from torch import Tensor

from pairuni_eval.adapters import load_model
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Request, View
from pairuni_eval.models.janus import JanusPolicy
from pairuni_eval.tiny import janus
from pairuni_train.checkpoints import can_resume, thin_out
from pairuni_train.grpo.config import LoraSpec
from pairuni_train.grpo.reference import WithoutAdapters
from pairuni_train.grpo.rollouts import TaskRollouts
from pairuni_train.grpo.trainable_parameters import (
    adapters_of,
    full_weights,
    halve_frozen,
    optimizer_state,
    restore_optimizer,
    select_trainable,
    trainable_parameters,
)

PREFIXES = small.small_recipe().trainable


@pytest.fixture
def policy(untrained: Path) -> JanusPolicy:
    torch.set_num_threads(1)
    tiny = janus.load(untrained)
    return JanusPolicy(tiny.model, tiny.processor).eval()


def test_the_language_model_trains_and_nothing_else(policy: JanusPolicy) -> None:
    trained = select_trainable(policy, PREFIXES)
    assert set(trained) == set(policy.shared_parameters())
    assert set(trainable_parameters(policy)) == set(trained)
    more = select_trainable(policy, [*PREFIXES, "janus.lm_head."])
    assert set(more) - set(trained) == {"janus.lm_head.weight"}


def test_a_prefix_without_parameters_offers_the_nearest(policy: JanusPolicy) -> None:
    with pytest.raises(UserError, match=r"Did you mean 'janus\.lm_head\.'"):
        select_trainable(policy, ["janus.lm_heat."])


def test_adapters_begin_without_influence_and_alone_train(policy: JanusPolicy) -> None:
    pytest.importorskip("peft")
    pairs = small.tiny_pairs(2)
    plain = small.sampled(policy, "gen", pairs, small.small_recipe())
    trained = select_trainable(policy, PREFIXES, LoraSpec(rank=2))
    again = small.sampled(policy, "gen", pairs, small.small_recipe())
    assert torch.equal(again.chunks[0].tokens_NT, plain.chunks[0].tokens_NT)
    assert len(trained) == 2 * 4  # A and B of four projections in one layer
    assert all(".lora_" in name for name in trained)
    assert policy.shared_parameters().keys() >= trained.keys()


def test_a_checkpoint_of_adapters_is_the_same_model(policy: JanusPolicy, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    recipe = small.small_recipe(lora__rank=2, lr=0.05)
    trainer = small.small_trainer(policy, recipe, small.tiny_pairs(8))
    for step in range(2):
        trainer.step(step)
    weights = full_weights(policy)
    assert weights is not None
    policy.save(tmp_path / "merged", {}, weights=weights)
    loaded = load_model(str(tmp_path / "merged"), None, LoadOptions(device="cpu"))
    assert len(policy.janus.state_dict()) == len(weights) + 2 * 4
    assert not any("lora" in name or "base_layer" in name for name in weights)
    decoding = recipe.gen.decoding
    asked = [
        Request((f"a photo of a {color} circle",), decoding, 1, "") for color in ("red", "blue")
    ]
    ours = policy.sample("gen", asked, record_logp=True)
    theirs = loaded.policy.sample("gen", asked, record_logp=True)  # type: ignore[attr-defined]
    assert torch.equal(ours.tokens_NT, theirs.tokens_NT)
    assert torch.allclose(ours.sampler_logp_NT, theirs.sampler_logp_NT, atol=1e-4)
    kept = adapters_of(policy)
    assert all(tensor.abs().max() > 0 for tensor in kept.values()), "they have moved"


def scored(reference: Any, rollouts: TaskRollouts) -> Tensor:
    rollout = rollouts.chunks[0]
    view = View(rollout.mask_NT, torch.ones(len(rollout)))
    with torch.no_grad():
        found: Tensor = reference(rollout, view).logp_NT
    return found


def test_the_reference_of_adapters_is_the_model_without_them(policy: JanusPolicy) -> None:
    pytest.importorskip("peft")
    recipe = small.small_recipe(lora__rank=2, lr=0.05)
    rollouts = small.sampled(policy, "und", small.tiny_pairs(2), recipe)
    began = scored(policy, rollouts)
    trainer = small.small_trainer(policy, recipe, small.tiny_pairs(8))
    for step in range(2):
        trainer.step(step)
    moved = scored(policy, rollouts)
    assert not torch.allclose(moved, began, atol=1e-4), "the case needs adapters that moved"
    assert torch.equal(scored(WithoutAdapters(policy), rollouts), began)
    assert torch.equal(scored(policy, rollouts), moved), "they are on again"
    assert len(trainable_parameters(policy)) == 2 * 4


def test_frozen_products_in_half_the_bytes_change_no_output(policy: JanusPolicy) -> None:
    pairs, recipe = small.tiny_pairs(2), small.small_recipe(precision="bf16")
    found = []
    for _ in range(2):
        trainer = small.small_trainer(policy, recipe, pairs * 2)
        with trainer.parts.engine.precision():
            for task in ("und", "gen"):
                rollouts = small.sampled(policy, task, pairs, recipe)
                found.append((rollouts.chunks[0].tokens_NT, scored(policy, rollouts)))
        halve_frozen(policy)
    for whole, halved in zip(found[:2], found[2:], strict=True):
        assert all(torch.equal(one, other) for one, other in zip(whole, halved, strict=True))
    kinds = {name: one.dtype for name, one in policy.named_parameters()}
    assert kinds["janus.lm_head.weight"] is torch.bfloat16
    assert all(kinds[name] is torch.float32 for name in trainable_parameters(policy))
    norms = [name for name in kinds if "norm" in name]
    assert norms and all(kinds[name] is torch.float32 for name in norms)


def test_a_checkpoint_may_hold_half_the_bytes(policy: JanusPolicy) -> None:
    assert full_weights(policy) is None
    found = full_weights(policy, "bfloat16")
    assert found is not None
    for name, one in policy.state_dict().items():
        expected = one.bfloat16() if one.is_floating_point() else one
        assert torch.equal(found[name], expected)


def test_older_checkpoints_lose_what_only_the_newest_needs_and_go(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        (tmp_path / f"checkpoint-{step}" / "trainer").mkdir(parents=True)
    thin_out(tmp_path, 15, 0)
    assert [can_resume(tmp_path / f"checkpoint-{step}") for step in (5, 10, 15, 20)] == [
        *(False, False, True),
        True,
    ]
    thin_out(tmp_path, 20, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-15", "checkpoint-20"]
    assert not can_resume(tmp_path / "checkpoint-15")


def test_a_target_that_is_no_layer_is_refused(policy: JanusPolicy) -> None:
    pytest.importorskip("peft")
    with pytest.raises(UserError, match=r"lora\.targets: no linear layer .* is called w_proj"):
        select_trainable(policy, PREFIXES, LoraSpec(targets=("q_proj", "w_proj")))


def test_the_optimizer_is_kept_by_the_names_of_parameters(policy: JanusPolicy) -> None:
    trainer = small.small_trainer(policy, small.small_recipe(), small.tiny_pairs(8))
    trainer.step(0)
    state = optimizer_state(policy, trainer.parts.optimizer)
    assert f"{next(iter(trainable_parameters(policy)))}/exp_avg" in state
    fresh = torch.optim.AdamW(trainable_parameters(policy).values())
    restore_optimizer(policy, fresh, state)
    for parameter in trainable_parameters(policy).values():
        for key, value in trainer.parts.optimizer.state[parameter].items():
            assert torch.equal(fresh.state[parameter][key], value)
    with pytest.raises(UserError, match=r"'janus\.other', which is not a parameter"):
        restore_optimizer(policy, fresh, {"janus.other/exp_avg": torch.zeros(2)})


def test_saving_forgets_how_the_last_batch_was_padded(
    policy: JanusPolicy, tmp_path: Path, untrained: Path
) -> None:
    policy.save(tmp_path / "fresh", {})
    small.sampled(policy, "und", small.tiny_pairs(2), small.small_recipe())
    policy.save(tmp_path / "saved", {})
    for file in (tmp_path / "fresh").iterdir():
        assert (tmp_path / "saved" / file.name).read_bytes() == file.read_bytes(), file.name
    one = load_file(tmp_path / "saved" / "model.safetensors")
    two = load_file(untrained / "model.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in two)
