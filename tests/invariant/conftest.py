"""What the tests of training share: the untrained tiny model and a few pairs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support import small_training as small

from pairuni_eval.models.janus import JanusPolicy
from pairuni_eval.tiny import janus
from pairuni_train.pair_data.record import Pair


@pytest.fixture(scope="module")
def loaded(untrained: Path) -> janus.Tiny:
    torch.set_num_threads(1)
    return janus.load(untrained)


@pytest.fixture
def policy(loaded: janus.Tiny) -> Iterator[JanusPolicy]:
    """The model, given back as it was."""
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    yield JanusPolicy(loaded.model, loaded.processor).eval()
    loaded.model.load_state_dict(before)
    loaded.model.zero_grad(set_to_none=True)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return small.tiny_pairs(8)
