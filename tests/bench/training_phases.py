"""A training step by phase, and its memory beside what `--plan` tells: in a process of its own.

    python tests/bench/training_phases.py SHAPE DEVICE

Prints a line of JSON: seconds of each phase (median of the steps after the first), bytes that the
plan tells and bytes that were taken. Random weights, the recipe of Janus-Pro-1B with the share of
one device of eight (two pairs, eight rollouts each), answers of 128 tokens, bf16 and compiled
rollouts; on a CPU the tiny recipe. Rewards are plain: how long an answer is, how red a picture.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from bandwidth import wait
from random_janus import PUBLISHED, TINY, build, processor_of
from support import small_training as small

from pairuni_eval.models.janus import JanusPolicy
from pairuni_train.config import Recipe, find_arm, find_recipe
from pairuni_train.distributed.engine import start_process
from pairuni_train.plan import figures, memory_now, memory_peak

STEPS = 3
ON_GPU = {
    "pairs_per_step": 2,
    "und.decoding.max_tokens": 128,
    "compiled": True,
}


def recipe_of(name: str, checkpoint: str) -> Recipe:
    """How a shape is trained."""
    if name == TINY.name:
        return small.small_recipe(checkpoint=checkpoint)
    return find_recipe(
        "janus-pro-1b", {**ON_GPU, "checkpoint": checkpoint, "probe.every": 0, "name": name}
    )


class OptimizerClock:
    """Seconds of an optimizer's own steps, the device waited for on both sides."""

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self.seconds = 0.0
        self._device = device
        self._began = 0.0
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def _before(self, *_: Any) -> None:
        wait(self._device)
        self._began = time.perf_counter()

    def _after(self, *_: Any) -> None:
        wait(self._device)
        self.seconds = time.perf_counter() - self._began


def measured(name: str, device: torch.device) -> dict[str, Any]:
    """Run some steps of a shape."""
    shape = TINY if name == TINY.name else PUBLISHED[name]
    if device.type == "cpu":
        torch.set_num_threads(1)
    accelerator = start_process()
    before = memory_now(device)
    processor = processor_of(shape)
    model: Any = build(shape, device, torch.float32).requires_grad_(True)
    # The smallest thing that tells a plan the sizes: a configuration.
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        recipe, pairs = recipe_of(name, folder), small.tiny_pairs(8)
        told = figures(recipe, find_arm("pairuni"), pairs, 1)
    policy = JanusPolicy(model, processor, compiled=recipe.parallelism.compiled).eval()
    if recipe.parallelism.gradient_checkpointing:
        policy.checkpoint_activations()
        policy.train()
    trainer = small.small_trainer(policy, recipe, pairs, accelerator=accelerator)
    clock = OptimizerClock(trainer.parts.optimizer, device)
    steps = []
    for number in range(STEPS):
        seconds = dict(trainer.step(number).seconds)
        seconds["update: optimizer"] = clock.seconds
        seconds["update: loss and backward"] = seconds.pop("update") - clock.seconds
        steps.append(seconds)
    return {
        "seconds": {phase: statistics.median(one[phase] for one in steps[1:]) for phase in seconds},
        "first": sum(steps[0].values()),
        "told": None if told is None else told[1].peak,
        "took": memory_peak(device) - before,
    }


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], torch.device(sys.argv[2]))))
