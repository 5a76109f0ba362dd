"""Training by compiled rollouts is training: the same steps, by one decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from support import small_training as small

from pairuni_eval.errors import UserError
from pairuni_eval.models.janus import JanusPolicy, token_loop
from pairuni_eval.tiny import janus
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.trainer import StepResult
from pairuni_train.pair_data.record import Pair
from pairuni_train.setup import load_trainable


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole steps as compiled code has them, of torch's own operations."""
    step = torch.compile(token_loop.advance, fullgraph=True, dynamic=False, backend="eager")
    monkeypatch.setattr(token_loop, "compiled_advance", lambda: step)


def trained(
    folder: Path, pairs: Sequence[Pair], *, compiled: bool, steps: int
) -> tuple[JanusPolicy, list[StepResult]]:
    """Some steps from one beginning, at a rate that moves what is drawn."""
    loaded = janus.load(folder)
    policy = JanusPolicy(loaded.model, loaded.processor, compiled=compiled).eval()
    recipe = small.small_recipe(lr=3e-3, rollouts_every=1, compiled=compiled)
    trainer = small.small_trainer(policy, recipe, pairs)
    return policy, [trainer.step(number) for number in range(steps)]


@pytest.mark.usefixtures("captured")
def test_steps_by_compiled_rollouts_are_those_of_plain_ones(
    untrained: Path, pairs: Sequence[Pair]
) -> None:
    plain, expected = trained(untrained, pairs, compiled=False, steps=2)
    policy, found = trained(untrained, pairs, compiled=True, steps=2)
    for mine, theirs in zip(found, expected, strict=True):
        assert len(mine.kept) == 2
        for one, other in zip(mine.kept, theirs.kept, strict=True):
            assert one.row.answers == other.row.answers
            assert one.row.drawn == other.row.drawn
        for task in TASKS:
            name = f"reward/{task}"
            assert mine.metrics[name] == pytest.approx(theirs.metrics[name], abs=1e-6)
    for mine_, theirs_ in zip(policy.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine_, theirs_, atol=1e-4, rtol=1e-4)
    rewards = [one.metrics["reward/gen"] for one in found]
    assert len(set(rewards)) == 2, "the case needs rollouts that move"
    assert policy._loop.made == 1, "one decoder for both tasks, all batches and all steps"
    assert plain._loop.made == 8


def test_a_family_without_compiled_steps_is_refused() -> None:
    with pytest.raises(UserError, match="'llada' are not compiled; those of Janus are"):
        load_trainable("tiny-dimoo", torch.device("cpu"), compiled=True)
