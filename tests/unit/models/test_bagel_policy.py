"""BAGEL as a policy: what is replayed is what was sampled, and no row depends on another."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_training import small_trainer, tiny_pairs

from pairuni_eval.adapters import load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.bagel.policy import BagelPolicy
from pairuni_eval.models.bagel.stochastic import score_step, stochastic_step
from pairuni_eval.models.base import LoadOptions, Request, Rollout, Task
from pairuni_eval.tiny import bagel, world
from pairuni_train.config import find_recipe
from pairuni_train.grpo.objective import divergence, k3

SMALL = bagel.TinyBagelSize(
    hidden=32, layers=2, heads=2, feed_forward=48, vision_hidden=16, vision_layers=1,
    vision_feed_forward=24,
)  # fmt: skip
SAY = Decoding(temperature=1.0, max_tokens=6)
TASKS: tuple[Task, ...] = ("und", "gen")


def flow(**settings: Any) -> Decoding:
    given = {"temperature": 1.0, "steps": 8, "timestep_shift": 2.0, "sde_level": 0.7}
    return Decoding(**(given | {"sde_window": 2} | settings))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> BagelPolicy:
    folder = tmp_path_factory.mktemp("bagel")
    bagel.save(bagel.build(0, SMALL), folder, recipe="none", step=0)
    model = load_model(str(folder), None, LoadOptions(device="cpu"))
    made = model.policy  # type: ignore[attr-defined]
    assert isinstance(made, BagelPolicy)
    return made


def asked(task: Task, decoding: Decoding | None = None) -> list[Request]:
    texts = ("a red circle", "two blue squares and a cross", "a red circle", "nothing")
    pictures = [world.render(world.random_scene(random.Random(n), held=False)) for n in range(4)]
    chosen = decoding or (SAY if task == "und" else flow())
    return [
        Request((*([pictures[n % 3]] if task == "und" else []), text), chosen, n, f"0/{task}/{n}")
        for n, text in enumerate(texts)
    ]


def scored(policy: BagelPolicy, rollout: Rollout, **settings: Any) -> torch.Tensor:
    (view,) = policy.plan_views(rollout, [0] * len(rollout))
    return policy(rollout, view, **settings).logp_NT.detach()


@pytest.mark.parametrize("logits", ["conditional", "cfg"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_replay_gives_the_samplers_log_probs_of_pictures(
    policy: BagelPolicy, logits: str, scale: float
) -> None:
    decoding = flow(cfg_scale=scale, cfg_renorm="global", cfg_interval=(0.4, 1.0))
    rollout = policy.sample("gen", asked("gen", decoding), record_logp=True)
    assert rollout.tokens_NT.shape == (4, 2)
    assert (rollout.tokens_NT.diff(dim=1) == 1).all() and int(rollout.tokens_NT.max()) < 7
    found = scored(policy, rollout, policy_logits=logits)
    same = torch.allclose(found, rollout.sampler_logp_NT, atol=1e-5)  # type: ignore[arg-type]
    assert same == (logits == "cfg" or scale == 1.0)
    # The mean over numbers of -e^2 / 2 is about -1/2.
    assert rollout.sampler_logp_NT is not None
    assert float(rollout.sampler_logp_NT.mean()) == pytest.approx(-0.5, abs=0.08)


def test_replay_gives_the_log_probs_of_words(policy: BagelPolicy) -> None:
    rollout = policy.sample("und", asked("und"))
    logp = scored(policy, rollout)
    assert (logp[~rollout.mask_NT] == 0).all() and (logp[rollout.mask_NT] < 0).all()
    # A word's log-prob is that of a shorter answer's last word: nothing after it matters.
    first = rollout.tokens_NT[:, :1]
    short = Rollout("und", first, torch.ones_like(first).bool(), rollout.conditions, False)
    torch.testing.assert_close(scored(policy, short), logp[:, :1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_no_row_depends_on_another(policy: BagelPolicy, task: Task) -> None:
    requests = asked(task)
    together = policy.sample(task, requests)
    logp, said = scored(policy, together), policy.decode(together)
    for number, request in enumerate(requests):
        alone = policy.sample(task, [request])
        width = alone.tokens_NT.shape[1]
        assert alone.tokens_NT[0].tolist() == together.tokens_NT[number, :width].tolist()
        ours = scored(policy, alone)[0]
        torch.testing.assert_close(ours, logp[number, :width], rtol=0, atol=1e-5)
        some = together.rows(torch.tensor([number]))
        torch.testing.assert_close(
            scored(policy, some), logp[number : number + 1], rtol=0, atol=1e-5
        )
        (reply,) = policy.decode(alone)
        assert reply.text == said[number].text and reply.error is None
    assert len({str(one) for one in policy.sample(task, requests[:1]).tokens_NT}) == 1


def test_rollouts_of_one_prompt_differ(policy: BagelPolicy) -> None:
    requests = [Request(("a red circle",), flow(), n, f"0/gen/p/{n}") for n in range(12)]
    rollout = policy.sample("gen", requests)
    starts = set(rollout.tokens_NT[:, 0].tolist())
    assert starts <= {0, 1, 2, 3} and len(starts) > 1
    images = [one.image for one in policy.decode(rollout)]
    assert len({one.tobytes() for one in images if one}) == 12


def test_the_entropy_is_that_of_a_normal_distribution(policy: BagelPolicy) -> None:
    rollout = policy.sample("gen", asked("gen"))
    (view,) = policy.plan_views(rollout, [0] * 4)
    entropy = policy(rollout, view, with_entropy=True).entropy_NT
    assert entropy is not None
    steps = rollout.conditions["steps"]
    apart = steps.next_NWTC - steps.x_NWTC
    assert entropy.shape == apart.shape[:2]
    from pairuni_eval.models.bagel.flow import timesteps

    times = timesteps(8, 2.0)
    number = int(rollout.tokens_NT[0, 1])
    time, after = times[number], times[number + 1]
    width = 0.7 * math.sqrt(time / (1 - time)) * math.sqrt(time - after)
    normal = torch.distributions.Normal(0.0, width)
    assert float(entropy[0, 1]) == pytest.approx(float(normal.entropy()), rel=1e-4)


def test_steps_at_their_own_times_are_those_one_by_one() -> None:
    generator = torch.Generator().manual_seed(3)
    x, v, e = (torch.randn(3, 4, 5, generator=generator) for _ in range(3))
    times = ((1.0, 0.9), (0.9, 0.7), (0.4, 0.1))
    alone = [
        stochastic_step(x[n : n + 1], v[n : n + 1], e[n : n + 1], times=one, cap=0.9, level=0.7)
        for n, one in enumerate(times)
    ]
    first, last = (torch.tensor(one) for one in zip(*times, strict=True))
    found = stochastic_step(x, v, e, times=(first, last), cap=0.9, level=0.7)
    torch.testing.assert_close(found.logp_N, torch.cat([one.logp_N for one in alone]))
    torch.testing.assert_close(found.next_NTC, torch.cat([one.next_NTC for one in alone]))
    again = score_step(x, v, found.next_NTC, times=(first, last), cap=0.9, level=0.7)
    torch.testing.assert_close(again.logp_N, found.logp_N)


def test_the_divergence_of_noisy_steps_is_that_of_their_means(policy: BagelPolicy) -> None:
    rollout = policy.sample("gen", asked("gen"))
    (view,) = policy.plan_views(rollout, [0] * 4)
    own = policy(rollout, view)
    assert own.steps is not None
    assert divergence(own, own).count_nonzero() == 0
    # Two standard deviations of every number: 2^2 / 2, as of two normal distributions.
    moved = own.steps._replace(mean=own.steps.mean + 2 * own.steps.width_NT[..., None, None])
    far = divergence(own, own._replace(steps=moved))
    torch.testing.assert_close(far, torch.full_like(far, 2.0))
    words = policy.sample("und", asked("und"))
    (view,) = policy.plan_views(words, [0] * 4)
    said = policy(words, view)
    other = said._replace(logp_NT=said.logp_NT - 0.5)
    torch.testing.assert_close(divergence(said, other), k3(said.logp_NT, other.logp_NT))


def test_what_cannot_be_trained_is_refused(policy: BagelPolicy) -> None:
    rollout = policy.sample("gen", asked("gen"))
    with pytest.raises(UserError, match="one pass"):
        scored(policy, rollout, policy_logits="cfg_detached_uncond")
    with pytest.raises(UserError, match=r"sde_window is 9, and 8 points in time are 7 steps"):
        policy.sample("gen", asked("gen", flow(sde_window=9)))
    with pytest.raises(UserError, match="A thought before a picture is not trained"):
        policy.sample("gen", asked("gen", flow(thinking=True)))
    with pytest.raises(UserError, match="has none"):
        policy._inference.draw(asked("gen"))


def test_a_step_of_training_moves_both_experts(tmp_path: Path) -> None:
    bagel.save(bagel.build(0, SMALL), tmp_path, recipe="none", step=0)
    model = load_model(str(tmp_path), None, LoadOptions(device="cpu"))
    policy = model.policy  # type: ignore[attr-defined]
    recipe = find_recipe(
        "tiny-bagel",
        {
            **{"pairs_per_step": 2, "und.rollouts": 3, "gen.rollouts": 3, "probe.every": 1},
            **{"und.decoding.max_tokens": 4, "gen.decoding.steps": 5, "lr": 1e-3},
        },
    )
    before = {name: one.detach().clone() for name, one in policy.named_parameters()}
    trainer = small_trainer(policy, recipe, tiny_pairs(4))
    result = trainer.step(0)
    assert result.metrics["first_ratio_off/gen"] == result.metrics["first_ratio_off/und"] == 0.0
    assert result.metrics["live_groups/gen"] == 1.0
    after = dict(policy.named_parameters())
    moved = {name for name, one in after.items() if not torch.equal(one, before[name])}
    assert any("_moe_gen" in name for name in moved)
    assert any(name.endswith("lm_head.weight") for name in moved)
    whole = next(row for row in result.gradients if row.block == "all" and not row.preconditioned)
    assert whole.tasks[0] > 0 and whole.tasks[2] > 0
    policy.save(tmp_path / "saved", {"capabilities": ["understand", "generate", "edit"]})
    again = load_model(str(tmp_path / "saved"), None, LoadOptions(device="cpu"))
    rollouts = [one.policy.sample("gen", asked("gen")) for one in (model, again)]  # type: ignore[attr-defined]
    assert torch.equal(*(one.conditions["steps"].latents_NTC for one in rollouts))
