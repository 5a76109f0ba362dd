"""What a look at the gradients adds to a training step, beyond one copy of the gradient.

The same step (no learning rate, the same rollouts) runs in turns: without a look, without a look
but with one copy of all gradients, and with a look at both tasks, their halves, and both again
preconditioned by Adam. Prints medians of seconds on one thread, and the share of the step that the
look adds to the copy. Looks and copies happen in the update, so its seconds are what is compared:
those of sampling differ from step to step by more than a look takes.

    python tests/bench/probe_cost.py [--checkpoint tiny] [--pairs 8] [--rounds 25]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from spread import spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from support import small_training as small

from pairuni_eval.adapters import load_model
from pairuni_eval.models.base import LoadOptions
from pairuni_train.config import find_recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.grpo.rewards import load_rewards
from pairuni_train.grpo.rollouts import TASKS


class Copying(Engine):
    """An engine that copies every gradient once before it clips them."""

    def clip_gradients(self, limit: float) -> float:
        """Copy, then clip."""
        self.copies = [p.grad.clone() for p in self.parameters if p.grad is not None]
        return super().clip_gradients(limit)


def trainer(policy: Any, pairs: int, *, every: int, copies: bool) -> Any:
    """A trainer that looks, or copies, or neither; all share one policy."""
    changes = {"pairs_per_step": pairs, "lr": 0.0, "probe.every": every}
    recipe = find_recipe("tiny", changes)
    rewards = {task: load_rewards(recipe.task(task).rewards) for task in TASKS}
    made = small.small_trainer(policy, recipe, small.tiny_pairs(2 * pairs), rewards=rewards)
    if copies:
        engine = Copying(made.parts.engine.accelerator, policy)
        made.parts = made.parts._replace(engine=engine)
    return made


def _at_least_one(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)


class Look(NamedTuple):
    """Seconds by phase of every round: each way by its name."""

    rounds: list[dict[str, dict[str, float]]]

    @property
    def shares(self) -> list[float]:
        """What the look adds to the copy, as a share of a plain step, round by round."""
        return [
            (one["look"]["update"] - one["copy"]["update"]) / sum(one["plain"].values())
            for one in self.rounds
        ]


def measured(checkpoint: str, pairs: int, rounds: int) -> Look:
    """The three ways by turns, after a step that warms up and gives Adam its state."""
    torch.set_num_threads(1)
    loaded: Any = load_model(checkpoint, "janus", LoadOptions(device="cpu"))
    ways = {
        "plain": trainer(loaded.policy, pairs, every=0, copies=False),
        "copy": trainer(loaded.policy, pairs, every=0, copies=True),
        "look": trainer(loaded.policy, pairs, every=1, copies=False),
    }
    for one in ways.values():
        one.step(0)
    return Look([{name: one.step(0).seconds for name, one in ways.items()} for _ in range(rounds)])


def main() -> None:
    """Print seconds and the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=_at_least_one, default=25)
    given = parser.parse_args()
    found = measured(given.checkpoint, given.pairs, given.rounds)
    print(f"{given.pairs} pairs a step, medians of {given.rounds} steps")
    for name in found.rounds[0]:
        step = statistics.median(sum(one[name].values()) for one in found.rounds)
        update = statistics.median(one[name]["update"] for one in found.rounds)
        print(f"  {name:6} step {step:.4f} s, update {update:.4f} s")
    print(f"  the look adds {spread(found.shares).words('+.1%')} of a step to the copy")


if __name__ == "__main__":
    main()
