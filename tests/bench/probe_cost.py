"""What a look at the gradients adds to a training step, beyond one copy of the gradient.

The same step (no learning rate, the same rollouts) runs in turns: without a look, without a look
but with one copy of all gradients, and with a look at both tasks, their halves, and both again
preconditioned by Adam. Prints medians of the process' own CPU seconds on one thread, which other
work on the machine hardly moves, and the share of the step that the look adds to the copy.

    python tests/bench/probe_cost.py [--checkpoint tiny] [--pairs 8] [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import small_training as small

from pairuni_eval.adapters import load_model
from pairuni_eval.models.base import LoadOptions
from pairuni_train.engine import Engine
from pairuni_train.recipe import find_backbone
from pairuni_train.rewards import load_rewards
from pairuni_train.rollouts import TASKS


class Copying(Engine):
    """An engine that copies every gradient once before it clips them."""

    def clip_gradients(self, limit: float) -> float:
        """Copy, then clip."""
        self.copies = [p.grad.clone() for p in self.trained if p.grad is not None]
        return super().clip_gradients(limit)


def trainer(policy: Any, pairs: int, *, every: int, copies: bool) -> Any:
    """A trainer that looks, or copies, or neither; all share one policy."""
    changes = {"pairs_per_step": pairs, "lr": 0.0, "probe.every": every}
    backbone = find_backbone("tiny", changes)
    rewards = {task: load_rewards(backbone.task(task).rewards) for task in TASKS}
    made = small.small_trainer(policy, backbone, small.tiny_pairs(2 * pairs), rewards=rewards)
    if copies:
        engine = Copying(made.parts.engine.accelerator, policy)
        made.parts = made.parts._replace(engine=engine)
    return made


def main() -> None:
    """Print seconds and the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded: Any = load_model(given.checkpoint, "janus", LoadOptions(device="cpu"))
    ways = {
        "plain": trainer(loaded.policy, given.pairs, every=0, copies=False),
        "copy": trainer(loaded.policy, given.pairs, every=0, copies=True),
        "look": trainer(loaded.policy, given.pairs, every=1, copies=False),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(given.rounds + 1):
        for name, one in ways.items():
            start = time.process_time()
            one.step(0)
            if number:  # the first warms up, and gives Adam its state
                taken[name].append(time.process_time() - start)
    median = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{given.pairs} pairs a step, medians of {given.rounds} steps")
    for name, seconds in median.items():
        print(f"  {name:6} {seconds:.4f} s of CPU")
    shares = [
        (look - copy) / plain
        for plain, copy, look in zip(taken["plain"], taken["copy"], taken["look"], strict=True)
    ]
    print(f"  the look adds {statistics.median(shares):+.1%} of a step to the copy")


if __name__ == "__main__":
    main()
