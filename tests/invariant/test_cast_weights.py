"""Under autocast a sampler casts each weight once, and draws what it would draw without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pairuni_eval.decoding import Decoding
from pairuni_eval.models import joint_products
from pairuni_eval.models.base import Request, Task
from pairuni_eval.models.cast_weights import CAST_LAYERS, cast_once
from pairuni_eval.models.janus import JanusPolicy, token_loop
from pairuni_eval.tiny import janus

ROWS = 3
TASK = pytest.mark.parametrize("task", ["und", "gen"])


@pytest.fixture(scope="module")
def policy(untrained: Path) -> JanusPolicy:
    torch.set_num_threads(1)
    loaded = janus.load(untrained)
    return JanusPolicy(loaded.model, loaded.processor).eval()


def requests(task: Task) -> list[Request]:
    decoding = Decoding(temperature=1.0, max_tokens=6, cfg_scale=5.0)
    text = "a red circle" if task == "gen" else "How many circles are there?"
    return [Request((text,), decoding, 5 + row, f"row-{row}") for row in range(ROWS)]


class Casts(TorchDispatchMode):
    """Counts what is cast to bfloat16, by shape; a matrix of few rows is no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: Counter[tuple[int, ...]] = Counter()
        self.caches = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        # In inference mode the call is seen as it was made.
        if func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.to):
            shape = tuple(found.shape)
            if (args[0].dtype, found.dtype) == (torch.float32, torch.bfloat16):
                self.weights[shape] += len(shape) == 2 and min(shape) > 2 * ROWS
                # A step casts one position; what has more is the cache, or the prompt before it.
                self.caches += len(shape) == 4 and shape[2] > 1
        return found


def expected(policy: JanusPolicy, task: Task) -> Counter[tuple[int, ...]]:
    """How many matrices of each shape a sampler multiplies by."""
    model = policy.janus.model
    head = model.generation_head if task == "gen" else policy.janus.lm_head
    parts = [model.language_model, head]
    if task == "gen":  # what a code looks like is computed once, by an autocast of its own
        parts.append(model.generation_aligner)
    return Counter(
        tuple(layer.weight.shape)
        for part in parts
        for layer in part.modules()
        if isinstance(layer, nn.Linear)
    )


def sample(policy: JanusPolicy, task: Task) -> tuple[Tensor, Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        found = policy.sample(task, requests(task), record_logp=True)
    assert found.sampler_logp_NT is not None
    return found.tokens_NT, found.sampler_logp_NT


@pytest.mark.parametrize("fused", [True, False])
@TASK
def test_each_weight_is_cast_once_for_all_tokens(
    policy: JanusPolicy, task: Task, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fused:
        monkeypatch.setattr(joint_products, "JOINED_BELOW", 0)
    with Casts() as casts:
        tokens_NT, _ = sample(policy, task)
    assert tokens_NT.shape[1] > 4, "the case needs several tokens"
    if task == "gen":
        casts.weights[tuple(policy.janus.model.generation_embeddings.weight.shape)] -= 1
    assert +casts.weights == expected(policy, task)
    layers = len(policy.janus.model.language_model.layers)
    assert casts.caches <= 3 * layers, "queries, keys and values of the prompt, and no token's"


@contextmanager
def nothing(*_: nn.Module) -> Iterator[None]:
    yield


@TASK
def test_what_is_drawn_is_that_of_weights_cast_for_every_token(
    policy: JanusPolicy, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sample(policy, task)
    monkeypatch.setattr(token_loop, "cast_once", nothing)
    for one, other in zip(found, sample(policy, task), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("autocast", [True, False])
def test_the_weights_are_given_back(autocast: bool) -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Embedding(4, 4))
    before = list(network.parameters())
    with (
        torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext(),
        pytest.raises(KeyError),
        cast_once(network, network),
    ):
        cast = [isinstance(layer, CAST_LAYERS) and autocast for layer in network]
        assert [layer.weight.dtype is torch.bfloat16 for layer in network] == cast
        raise KeyError
    assert all(one is other for one, other in zip(network.parameters(), before, strict=True))
