"""Lumina-DiMOO's adapter and policy on small random weights: what never moves, what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pairuni_eval.adapters import find_adapter, load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models import joint_products
from pairuni_eval.models.base import LoadOptions, Reply, Request, Rollout, ViewPlan
from pairuni_eval.models.lumina_dimoo.adapter import DimooModel
from pairuni_eval.models.lumina_dimoo.image_sampler import ImagePlan
from pairuni_eval.models.lumina_dimoo.masked_batch import alike_branches
from pairuni_eval.models.lumina_dimoo.noise import OfficialNoise, UniformNoise
from pairuni_eval.models.lumina_dimoo.policy import DimooPolicy
from pairuni_eval.models.lumina_dimoo.text_sampler import TextPlan, no_words
from pairuni_eval.models.lumina_dimoo.views import group_ends, plan_views
from pairuni_eval.records import Capability
from pairuni_eval.tiny import dimoo, world

SMALL = dimoo.TinyDimooSize(hidden=32, layers=2, heads=2, feed_forward=48, vq_channels=8)
DRAW = Decoding(temperature=1.0, cfg_scale=3.0, steps=6)
EDIT = Decoding(temperature=1.0, cfg_scale=2.0, cfg_image_scale=1.5, steps=6)
SAY = Decoding(temperature=1.0, steps=4, answer_tokens=8, block_tokens=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("dimoo")
    dimoo.save(dimoo.build(0, SMALL), found, recipe="pairuni-tiny-dimoo-1", step=7)
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> DimooModel:
    found = load_model(str(folder), None, LoadOptions(device="cpu"))
    assert isinstance(found, DimooModel)
    return found


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder that a test may damage."""
    for path in folder.rglob("*"):
        if path.is_file():
            place = tmp_path / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return tmp_path


def scene(seed: int) -> Image.Image:
    return world.render(world.random_scene(random.Random(seed), held=False))


def asked(decoding: Decoding, count: int = 3, *, shown: bool = False) -> list[Request]:
    texts = ("Is there a red circle?", "a photo of a blue square and a bafem", "What?")
    return [
        Request((*((scene(i),) if shown else ()), texts[i % 3]), decoding, 10 + i, str(i))
        for i in range(count)
    ]


def test_a_folder_is_known_by_its_files_and_says_how_it_is_measured(
    folder: Path, model: DimooModel
) -> None:
    assert find_adapter(str(folder)).adapter == "llada"
    assert model.identity.step == 7
    assert model.capabilities == frozenset(Capability)
    card = Decoding(max_tokens=64)
    assert model.decoding(Capability.UNDERSTAND, "mmmu", card).answer_tokens == dimoo.ANSWER
    assert model.decoding(Capability.EDIT, "imgedit", card).cfg_image_scale == 1.5


def test_replies_do_not_depend_on_their_neighbors(model: DimooModel) -> None:
    together: dict[str, tuple[Callable[[list[Request]], list[Reply]], list[Request]]] = {
        "answer": (model.answer, asked(SAY, 16, shown=True)),
        "draw": (model.draw, asked(DRAW, 16)),
        "edit": (model.edit, asked(EDIT, 16, shown=True)),
    }
    for name, (respond, requests) in together.items():
        for request, reply in zip(requests, respond(requests), strict=True):
            (alone,) = respond([request])
            assert alone.text == reply.text, name
            if reply.image is not None and alone.image is not None:
                assert np.abs(np.array(alone.image, int) - np.array(reply.image, int)).max() <= 1


def test_branches_of_about_one_length_go_together() -> None:
    assert alike_branches([39, 30]) == [range(1), range(1, 2)]
    assert alike_branches([40, 36]) == [range(2)]
    assert alike_branches([80, 76, 40]) == [range(2), range(2, 3)]
    assert alike_branches([7]) == [range(1)]


def test_rows_that_are_still_the_same_go_through_the_network_once(
    model: DimooModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_products, "JOINED_BELOW", 0)
    rows: list[int] = []
    hook = model.policy.network.register_forward_pre_hook(
        lambda _, inputs: rows.append(len(inputs[0]))
    )
    first, second, _ = asked(DRAW)
    model.draw([first, second, first._replace(seed=8), second._replace(seed=9)])
    hook.remove()
    # Two prompts and what has none; from the second of six steps on all four pictures differ.
    assert sum(rows) == 3 + 5 * 2 * 4


def test_pictures_of_several_sizes_are_drawn_in_one_call(model: DimooModel) -> None:
    requests = [
        one._replace(decoding=replaced(DRAW, size=size))
        for one, size in zip(asked(DRAW), [None, (64, 32), (32, 64)], strict=True)
    ]
    sizes = [reply.image.size for reply in model.draw(requests) if reply.image]
    assert sizes == [(32, 32), (64, 32), (32, 64)]
    with pytest.raises(UserError, match="multiples of 8 px"):
        model.draw([asked(DRAW)[0]._replace(decoding=replaced(DRAW, size=(30, 32)))])


def replaced(decoding: Decoding, **changes: Any) -> Decoding:
    return msgspec.structs.replace(decoding, **changes)


def test_special_tokens_in_a_users_text_are_text(model: DimooModel) -> None:
    layout, ids = model.policy.layout, model.policy.config.ids
    found = layout.plain("draw <answer> B </answer> <IMAGE> now")
    assert not {ids.answer_start, ids.answer_end, ids.boi} & set(found)


def test_an_answer_never_holds_a_mask_or_a_code(model: DimooModel) -> None:
    rollout = model.policy.sample("und", asked(SAY, 6, shown=True))
    ids = model.policy.config.ids
    assert not (rollout.tokens_NT == ids.mask).any()
    assert (rollout.tokens_NT < ids.image_offset).all()
    ends = (rollout.tokens_NT == ids.answer_end) | (rollout.tokens_NT == ids.pad)
    for row, mask in zip(ends.tolist(), rollout.mask_NT.tolist(), strict=True):
        length = row.index(True) + 1 if True in row else len(row)
        assert mask == [place < length for place in range(len(row))]


# Schedules and noise


def test_a_schedule_fills_at_least_one_place_a_step_and_all_at_the_end() -> None:
    assert ImagePlan(16, 4, 1.0, (1.0,)).schedule == (14, 11, 6, 0)
    assert ImagePlan(3, 35, 1.0, (1.0,)).schedule == (2, 1, 0)
    assert ImagePlan(16, 1, 1.0, (1.0,)).schedule == (0,)


def test_blocks_divide_the_answer_and_steps_the_blocks() -> None:
    assert TextPlan(8, 4, 4, 0.0).quotas == ((2, 2), (2, 2))
    assert TextPlan(12, 12, 5, 0.0).quotas == ((3, 3, 2, 2, 2),)
    for tokens, block, steps in ((8, 3, 4), (8, 4, 3), (4, 8, 1)):
        with pytest.raises(UserError, match="block divides"):
            _ = TextPlan(tokens, block, steps, 0.0).quotas


def test_exact_noise_gives_the_softmax_and_the_official_one_leans_to_low_codes() -> None:
    count, codes = 2_000, 6
    logits = torch.tensor([2.0, 1.0, 0.0, 0.0, -1.0, 1.5]).expand(count, 1, codes)
    index = torch.zeros(count, 1, dtype=torch.long)
    exact = UniformNoise(range(count), 1, 1, torch.device("cpu"))
    drawn = torch.bincount(exact.codes(0, index, logits, 1.0)[:, 0], minlength=codes) / count
    wanted = logits[0, 0].softmax(-1)
    assert (drawn - wanted).abs().max() < 5 * (wanted * (1 - wanted) / count).sqrt().max()
    flat = torch.zeros(200, 1, 8192)
    official = OfficialNoise(range(200), torch.device("cpu"))
    assert official.codes(0, index[:200], flat, 1.0).float().mean() < 1000
    fair = UniformNoise(range(200), 1, 1, torch.device("cpu"))
    assert 3300 < fair.codes(0, index[:200], flat, 1.0).float().mean() < 4900


@pytest.mark.parametrize("task", ["gen", "und"])
def test_two_thousand_draws_have_the_softmax_of_the_network(model: DimooModel, task: Any) -> None:
    """In one step from nothing but masks, every place is a draw from its own distribution."""
    count, policy = 2_000, model.policy
    decoding = replaced(DRAW if task == "gen" else SAY, steps=1, block_tokens=None)
    (one,) = asked(decoding, 1, shown=task == "und")
    rollout = policy.sample(task, [one._replace(seed=seed) for seed in range(count)])
    first = rollout.rows(slice(0, 1))
    logits = scored_logits(policy, first)
    wanted_TV = (logits / decoding.temperature).softmax(-1)
    for place, wanted_V in enumerate(wanted_TV):
        seen_V = torch.bincount(rollout.tokens_NT[:, place], minlength=len(wanted_V)) / count
        bound_V = 5 * (wanted_V * (1 - wanted_V) / count).sqrt() + 2 / count
        assert ((seen_V - wanted_V).abs() < bound_V).all(), place


@torch.no_grad()
def scored_logits(policy: DimooPolicy, rollout: Rollout) -> torch.Tensor:
    """Guided logits of the places of one row while all of them are masks, by a plain forward."""
    batch, ids = rollout.conditions["batch"], policy.config.ids
    logits = []
    for ids_T, keep_T, places_N in zip(
        batch.ids_GBT[:, 0],
        torch.ones_like(batch.ids_GBT[:, 0]) if batch.keep_GBT is None else batch.keep_GBT[:, 0],
        batch.places_GBN[:, 0],
        strict=True,
    ):
        alone_T = ids_T[keep_T.bool()].clone()
        alone_T[places_N] = ids.mask
        logits.append(policy.network(alone_T[None])[0, places_N])
    if rollout.task == "und":
        banned_V = no_words(ids, policy.config.network.vocab_size, policy.device)
        return logits[0].masked_fill(banned_V, float("-inf"))
    weights = rollout.conditions["weights"]
    guided = sum(weight * one for weight, one in zip(weights, logits, strict=True))
    assert isinstance(guided, torch.Tensor)
    return guided[:, ids.image_offset : ids.image_offset + ids.codebook_size]


# Views


def traced(rows: list[list[int]]) -> Rollout:
    trace = torch.tensor(rows)
    tokens = torch.arange(trace.numel()).view(trace.shape)
    return Rollout("gen", tokens, torch.ones_like(trace).bool(), {}, True, trace_NT=trace)


def test_groups_of_a_trace_have_about_equally_many_tokens() -> None:
    left, trace = 1024, []
    for step, stay in enumerate(ImagePlan(1024, 35, 1.0, (1.0,)).schedule):
        trace += [step] * (left - stay)
        left = stay
    assert group_ends(torch.tensor([trace]), 4) == [17, 24, 30, 35]
    assert group_ends(torch.tensor([trace]), 35) == list(range(1, 36))
    assert group_ends(torch.tensor([trace]), 99) == list(range(1, 36))


def test_views_of_a_trace_score_every_token_once_from_the_state_before() -> None:
    rollout = traced([[0, 1, 1, 2], [2, 1, 0, 1]])
    views = plan_views(rollout, [0, 1], ViewPlan("trace", 3), masked=-1)
    assert [view.target_NT.tolist() for view in views] == [
        [[True, False, False, False], [False, False, True, False]],
        [[False, True, True, False], [False, True, False, True]],
        [[False, False, False, True], [True, False, False, False]],
    ]
    assert views[1].inputs_NT is not None
    assert views[1].inputs_NT.tolist() == [[0, -1, -1, -1], [-1, -1, 6, -1]]
    assert [view.weight_N.tolist() for view in views] == [[0.25] * 2, [0.5] * 2, [0.25] * 2]


@pytest.mark.parametrize("estimator", ["random", "coupled"])
def test_masks_depend_on_the_rows_seed_alone(estimator: Any) -> None:
    rollout = traced([[0] * 12, [0] * 12, [0] * 12])
    plan = ViewPlan(estimator)
    views = plan_views(rollout, [5, 6, 7], plan, masked=-1)
    (*_, first) = plan_views(rollout.rows(slice(1, 2)), [6], plan, masked=-1)
    assert torch.equal(first.target_NT[0], views[-1].target_NT[1])
    scored = sum(view.target_NT.long() for view in views)
    assert torch.equal(sum(view.weight_N for view in views), torch.ones(3))  # type: ignore[arg-type]
    if estimator == "coupled":
        assert torch.equal(scored, torch.ones_like(rollout.tokens_NT))
    for view in views:
        assert view.inputs_NT is not None
        assert torch.equal(view.inputs_NT == -1, view.target_NT)


@pytest.mark.parametrize("task", ["gen", "und"])
def test_the_exact_trace_has_the_log_probs_of_the_sampler(model: DimooModel, task: Any) -> None:
    policy = model.policy
    requests = asked(DRAW if task == "gen" else SAY, shown=task == "und")
    rollout = policy.sample(task, requests)
    assert rollout.sampler_logp_NT is not None
    views = policy.plan_views(rollout, [0, 1, 2], ViewPlan("trace", 16))
    logits: Any = "cfg" if task == "gen" else "conditional"
    found = torch.zeros_like(rollout.sampler_logp_NT)
    for view in views:
        found += policy(rollout, view, policy_logits=logits, with_entropy=True).logp_NT
    off = (found - rollout.sampler_logp_NT)[rollout.mask_NT].abs().max()
    assert off < 1e-4


@pytest.mark.parametrize("logits", ["conditional", "cfg", "cfg_detached_uncond"])
def test_rows_are_scored_alike_alone_and_together(model: DimooModel, logits: Any) -> None:
    policy = model.policy
    rollout = policy.sample("gen", asked(DRAW))
    (view, *_) = policy.plan_views(rollout, [0, 1, 2])
    whole = policy(rollout, view, policy_logits=logits).logp_NT
    for row in range(len(rollout)):
        index = torch.tensor([row])
        alone = policy(rollout.rows(index), view.rows(index), policy_logits=logits).logp_NT
        assert (alone[0] - whole[row]).abs().max() < 1e-5


def test_gradients_reach_the_network_and_not_the_vq(model: DimooModel) -> None:
    policy: DimooPolicy = model.policy
    rollout = policy.sample("gen", asked(DRAW))
    (view, *_) = policy.plan_views(rollout, [0, 1, 2])
    policy(rollout, view).logp_NT.sum().backward()
    shared = policy.shared_parameters()
    named = dict(policy.named_parameters())
    assert all(named[name].grad is not None for name in shared)
    assert all(parameter.grad is None for parameter in policy.vq.parameters())
    assert set(shared.values()) == {"wte", "blocks.0", "blocks.1", "ln_f", "ff_out"}
    policy.zero_grad()


def test_what_is_saved_is_what_was_loaded(model: DimooModel, tmp_path: Path) -> None:
    model.policy.save(tmp_path, {"recipe": "pairuni on tiny", "step": 9})
    again = DimooModel.load(str(tmp_path), LoadOptions(device="cpu"))
    assert again.identity.weights == model.identity.weights
    assert again.identity.step == 9
    assert again.answer(asked(SAY, shown=True)) == model.answer(asked(SAY, shown=True))


# What is refused


def edited(folder: Path, name: str, **changes: Any) -> Path:
    table = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**table, **changes}))
    return folder


def without(folder: Path, key: str) -> Path:
    table = json.loads((folder / "config.json").read_text())
    table.pop(key)
    (folder / "config.json").write_text(json.dumps(table))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load_model(str(folder), "llada", LoadOptions(device="cpu"))
    return f"{error.value.message} {error.value.hint}"


def test_a_llada_without_pictures_is_named(copy: Path) -> None:
    for path in (copy / "vqvae").iterdir():
        path.unlink()
    (copy / "vqvae").rmdir()
    assert "a LLaDA without a vqvae/ folder: a text model, or MMaDA" in refusal(copy)


def test_a_key_that_is_missing_or_of_another_network_is_named(copy: Path) -> None:
    assert "there is no key 'weight_tying'" in refusal(without(copy, "weight_tying"))
    edited(copy, "config.json", weight_tying=True)
    assert "weight_tying is True; Lumina-DiMOO has False" in refusal(copy)


def test_a_vq_of_another_model_is_named(copy: Path) -> None:
    edited(copy, "vqvae/config.json", num_vq_embeddings=64)
    assert "num_vq_embeddings is 64, and the vocabulary has 32 codes" in refusal(copy)


def test_ids_that_disagree_with_the_tokenizer_are_named(copy: Path) -> None:
    table = json.loads((copy / "config.json").read_text())["dimoo_token_ids"]
    edited(copy, "config.json", dimoo_token_ids={**table, "answer_start": 3})
    said = refusal(copy)
    assert "the tokenizer has <answer> as [" in said
    assert "needs it as 3" in said


def test_missing_and_further_tensors_are_named(copy: Path) -> None:
    place, name = copy / "model.safetensors", "model.transformer.blocks.1.q_proj.weight"
    tensors = load_file(place)
    dropped = tensors.pop(name)
    save_file(tensors, place)
    assert f"1 weights of Lumina-DiMOO are missing: {name}" in refusal(copy)
    save_file(tensors | {name: dropped, "x": dropped.clone()}, place)
    assert "1 tensor has no place in Lumina-DiMOO: x" in refusal(copy)
    save_file(tensors | {name: dropped[:-1].clone()}, place)
    assert "is (31, 32), and its configuration says (32, 32)" in refusal(copy)


def test_answers_longer_than_the_model_has_are_refused(model: DimooModel) -> None:
    long = replaced(SAY, answer_tokens=9, block_tokens=9, steps=1)
    with pytest.raises(UserError, match="answers of 8"):
        model.answer(asked(long, 1, shown=True))
