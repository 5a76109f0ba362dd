"""A decoder that is kept from batch to batch: one for all, fresh weights, memory that stays."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from pairuni_eval.decoding import Decoding
from pairuni_eval.models import joint_products
from pairuni_eval.models.base import Request, Task
from pairuni_eval.models.janus import JanusPolicy, decoder, token_loop
from pairuni_eval.models.janus.decoder import StaticDecoder, shared_size
from pairuni_eval.models.janus.decoder_layers import KeptLayers, places_of
from pairuni_eval.models.janus.prefix import begin
from pairuni_eval.tiny import janus

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
TASK = pytest.mark.parametrize("task", ["und", "gen"])


SIZE = janus.TinySize(
    hidden=32, layers=2, heads=2, feed_forward=32, vision_hidden=32, vision_layers=1,
    vision_heads=2, vq_channels=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def loaded() -> janus.Tiny:
    torch.set_num_threads(1)
    return janus.build(0, SIZE)


def policy_of(loaded: janus.Tiny, *, compiled: bool, device: str = "cpu") -> JanusPolicy:
    model = deepcopy(loaded.model).to(device)  # as each test may change its weights
    return JanusPolicy(model, loaded.processor, compiled=compiled).eval()


@pytest.fixture
def policy(loaded: janus.Tiny) -> JanusPolicy:
    return policy_of(loaded, compiled=True)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> CompileCounter:
    """Whole steps as compiled code has them, of torch's own operations."""
    counter = CompileCounter()
    step = torch.compile(token_loop.advance, fullgraph=True, dynamic=False, backend=counter)
    monkeypatch.setattr(token_loop, "compiled_advance", lambda: step)
    return counter


def requests(task: Task, count: int = 5, length: int = 6) -> list[Request]:
    decoding = Decoding(temperature=1.0, max_tokens=length, cfg_scale=3.0)
    text = "a red circle" if task == "gen" else "How many circles are there?"
    return [Request((text,), decoding, 5 + row, f"row-{row}") for row in range(count)]


def tokens(policy: JanusPolicy, task: Task, **shape: int) -> Tensor:
    return policy.sample(task, requests(task, **shape)).tokens_NT


def bent(policy: JanusPolicy) -> None:
    """Change a weight of every kind in place, as an optimizer does: none is left out of it."""
    with torch.no_grad():
        for one in policy.janus.model.language_model.parameters():
            one.add_(
                0.3 * torch.randn(one.shape, generator=torch.Generator().manual_seed(3)).to(one)
            )


@TASK
def test_code_is_made_once_for_batches_of_like_sizes(
    policy: JanusPolicy, captured: CompileCounter, task: Task
) -> None:
    for rows in (5, 8, 6, 5):
        tokens(policy, task, count=rows)
    assert (captured.frame_count, policy._loop.made) == (1, 1)
    tokens(policy, task, count=9)
    assert (captured.frame_count, policy._loop.made) == (2, 1)


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("autocast", [False, True])
@TASK
def test_after_an_update_rollouts_are_those_of_the_new_weights(
    loaded: janus.Tiny, policy: JanusPolicy, task: Task, autocast: bool
) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        before = tokens(policy, task)
        bent(policy)
        after = tokens(policy, task)
        fresh = policy_of(loaded, compiled=True)
        fresh.janus.load_state_dict(policy.janus.state_dict())
        assert torch.equal(after, tokens(fresh, task))
    assert not torch.equal(before, after), "the case needs weights that matter"
    assert policy._loop.made == 1


@pytest.mark.usefixtures("captured")
def test_weights_that_were_put_elsewhere_are_read_there(
    loaded: janus.Tiny, policy: JanusPolicy
) -> None:
    tokens(policy, "gen")
    fresh = policy_of(loaded, compiled=True)
    bent(fresh)
    policy.janus.load_state_dict(fresh.janus.state_dict(), assign=True)
    assert torch.equal(tokens(policy, "gen"), tokens(fresh, "gen"))
    assert policy._loop.made == 2


@pytest.mark.usefixtures("captured")
def test_a_copy_of_a_policy_keeps_nothing_of_the_first(policy: JanusPolicy) -> None:
    expected = tokens(policy, "gen")
    other = deepcopy(policy)
    assert other.compiled
    assert (other._loop.made, policy._loop.made) == (0, 1)
    bent(policy)
    assert torch.equal(tokens(other, "gen"), expected)


@pytest.mark.usefixtures("captured")
def test_adapters_are_called_as_the_modules_they_are(
    loaded: janus.Tiny, policy: JanusPolicy
) -> None:
    pytest.importorskip("peft")
    from pairuni_train.grpo.config import LoraSpec
    from pairuni_train.grpo.trainable_parameters import select_trainable

    plain = policy_of(loaded, compiled=False)
    for one in (policy, plain):
        torch.manual_seed(1)
        select_trainable(one, ("janus.model.language_model.",), LoraSpec(rank=2))
        bent(one)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokens(policy, "gen"), tokens(plain, "gen"))
    assert torch.equal(tokens(policy, "und"), tokens(plain, "und"))


def test_copies_are_read_into_the_same_memory(policy: JanusPolicy) -> None:
    llama = policy.janus.model.language_model
    with torch.autocast("cpu", torch.bfloat16):
        kept = KeptLayers(llama)
    kept.read()
    product: Any = kept.layers[1].query_key_value
    first, place = product.weight_IO.clone(), product.weight_IO.data_ptr()
    bent(policy)
    kept.read()
    attention = llama.layers[1].self_attn
    rows = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
    assert product.weight_IO.dtype is torch.bfloat16
    assert product.weight_IO.data_ptr() == place
    assert torch.equal(product.weight_IO.T, torch.cat(rows).to(torch.bfloat16))
    assert not torch.equal(product.weight_IO, first)
    assert kept.called == []


def test_places_tell_weights_that_have_moved(policy: JanusPolicy) -> None:
    llama = policy.janus.model.language_model
    before = places_of(llama)
    bent(policy)
    assert places_of(llama) == before
    llama.norm.weight.data = llama.norm.weight.data.clone()
    assert places_of(llama) != before


def test_sizes_are_few_and_hardly_larger() -> None:
    assert [shared_size(count) for count in (1, 8, 9, 84, 128, 129, 616, 1188)] == [
        8, 8, 16, 88, 128, 144, 640, 1280,
    ]  # fmt: skip
    for count in range(1, 3000):
        assert count <= shared_size(count) <= max(count + 7, count * 9 / 8)
    assert len({shared_size(count) for count in range(1, 2049)}) <= 16 + 4 * 8


@pytest.mark.parametrize("copied", [True, False])
@torch.inference_mode()
def test_one_code_is_that_of_every_layer_and_reach(
    policy: JanusPolicy, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    """What a GPU captures, step by step: the cache is looked at as far as it is filled."""
    counter = CompileCounter()
    torch.compiler.reset()  # sizes that another test had would be variables from the beginning
    compiled = torch.compile(decoder._through, fullgraph=True, backend=counter)
    monkeypatch.setattr(decoder, "_REACH", 8)
    monkeypatch.setattr(joint_products, "JOINED_BELOW", 50_000_000 * copied)
    prefix = begin(policy.janus, [policy.encode("gen", requests("gen"))])
    llama = policy.janus.model.language_model
    mine, plain = StaticDecoder(llama, kept=True), StaticDecoder(llama)
    mine.on_gpu, mine._through = True, compiled
    assert (mine.called == []) == copied, "what is not copied is called as the module it is"
    length = prefix.where_BP.shape[1]
    for one in (mine, plain):
        one.prefill(prefix, slots=length + 20)
    reaches = []
    for _ in range(20):
        x_BD = torch.randn(5, llama.config.hidden_size)
        for one in (mine, plain):
            one.expect_step()
        torch.testing.assert_close(mine.step(x_BD), plain.step(x_BD), atol=1e-5, rtol=1e-4)
        reaches.append(mine.shape[2])
    places = range(length + 1, length + 21)
    assert reaches == [-(-place // 8) * 8 for place in places]
    # The first reach, the second with its size as a variable, and the whole cache.
    assert counter.frame_count == 3


@torch.inference_mode()
def test_a_step_can_be_run_again(policy: JanusPolicy) -> None:
    """As the warm-up of a graph does: the decoder stands where it stood."""
    llama = policy.janus.model.language_model
    prefix = begin(policy.janus, [policy.encode("gen", requests("gen"))])
    steps = torch.randn(3, 5, llama.config.hidden_size)

    def run(again: int) -> list[Tensor]:
        one = StaticDecoder(llama, kept=True)
        found = [one.prefill(prefix, slots=prefix.where_BP.shape[1] + 3)]
        for x_BD in steps:
            one.expect_step()
            for _ in range(again):
                one.step(x_BD)
                one.again()
            found.append(one.step(x_BD))
        return found

    for once, more in zip(run(0), run(2), strict=True):
        assert torch.equal(once, more)


# What only a GPU shows


def on_gpu(work: Callable[[], Tensor], *, autocast: bool) -> Tensor:
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        return work().cpu()


@CUDA
@TASK
def test_graphs_draw_the_tokens_of_plain_steps(loaded: janus.Tiny, task: Task) -> None:
    plain, kept = (policy_of(loaded, compiled=one, device="cuda") for one in (False, True))
    for number, rows in enumerate((5, 12, 5)):
        if number == 2:
            bent(plain)
            bent(kept)
        mine, theirs = (
            one.sample(task, requests(task, rows), record_logp=True) for one in (kept, plain)
        )
        assert torch.equal(mine.tokens_NT, theirs.tokens_NT)
        assert torch.equal(mine.mask_NT, theirs.mask_NT)
        assert mine.sampler_logp_NT is not None
        assert theirs.sampler_logp_NT is not None
        assert float((mine.sampler_logp_NT - theirs.sampler_logp_NT).abs().max()) <= 1e-4
    assert kept._loop.made == 1


@CUDA
@TASK
def test_a_graph_is_captured_once_for_a_shape_and_a_reach(loaded: janus.Tiny, task: Task) -> None:
    kept = policy_of(loaded, compiled=True, device="cuda")
    first = tokens(kept, task)
    graphs = dict(kept._loop._kept._captured._graphs)  # type: ignore[union-attr]
    assert torch.equal(tokens(kept, task), first)
    again = kept._loop._kept._captured._graphs  # type: ignore[union-attr]
    assert graphs
    assert {key: id(one) for key, one in again.items()} == {
        key: id(one) for key, one in graphs.items()
    }


@CUDA
@TASK
def test_graphs_under_autocast_follow_the_weights(loaded: janus.Tiny, task: Task) -> None:
    kept = policy_of(loaded, compiled=True, device="cuda")
    before = on_gpu(lambda: tokens(kept, task), autocast=True)
    bent(kept)
    after = on_gpu(lambda: tokens(kept, task), autocast=True)
    fresh = policy_of(loaded, compiled=True, device="cuda")
    fresh.janus.load_state_dict(kept.janus.state_dict())
    assert torch.equal(after, on_gpu(lambda: tokens(fresh, task), autocast=True))
    assert not torch.equal(before, after)
