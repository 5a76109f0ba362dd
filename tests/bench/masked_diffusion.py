"""Pictures per second of our masked-diffusion sampler against a plain loop, in one run.

The plain loop does what the official code does: one picture at a time, each branch of guidance a
forward of its own, logits of the whole vocabulary at every place, and counts read back from the
device at every step. Weights, prompts, schedule and uniform numbers are the same, so both give the
same codes, which is checked. The two take turns, so a machine that slows down slows both. Codes
only: both decode pixels with the same VQ.

    python tests/bench/masked_diffusion.py [--checkpoint FOLDER] [--steps 8] [--rounds 9]

Without a checkpoint the weights are random ones of the tiny model's size.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairuni_eval.adapters import load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.models.base import LoadOptions, Request
from pairuni_eval.models.lumina_dimoo import prompts
from pairuni_eval.models.lumina_dimoo.adapter import DimooModel
from pairuni_eval.models.lumina_dimoo.noise import UniformNoise
from pairuni_eval.models.lumina_dimoo.policy import DimooPolicy
from pairuni_eval.tiny import dimoo

BATCH = 16
PROMPTS = tuple(
    f"a photo of a {color} {shape}"
    for color in ("red", "blue", "green", "yellow")
    for shape in ("circle", "square", "cross and a circle", "triangle left of a square")
)


@torch.no_grad()
def plain(policy: DimooPolicy, request: Request) -> Tensor:
    """The codes of one picture by the plain loop."""
    ids, layout, decoding = policy.config.ids, policy.layout, request.decoding
    said = prompts.draw(request.text)
    tail = layout.drawing(policy.grid_of(request))
    guidance, steps = decoding.cfg_scale - 1, decoding.steps or 1
    rows = [
        torch.tensor([(*prefix, *tail.ids)])
        for prefix in (layout.words(said), layout.unconditional(said))
    ]
    starts = [row.shape[1] - len(tail.ids) for row in rows]
    places = torch.tensor(tail.places)
    count = len(places)
    noise = UniformNoise([request.seed], steps, count, torch.device("cpu"))
    for step in range(steps):
        masked = (rows[0][0, starts[0] + places] == ids.mask).nonzero()[:, 0]
        if not len(masked):
            break
        logits = [
            policy.network(row)[0, start + places[masked], ids.image_offset :]
            for row, start in zip(rows, starts, strict=True)
        ]
        guided = ((1 + guidance) * logits[0] - guidance * logits[1])[None]
        code = noise.codes(step, masked[None], guided, decoding.temperature)
        logp = guided.log_softmax(-1).gather(-1, code[..., None])[0, :, 0]
        sure = logp + decoding.temperature * noise.ranks(step, masked[None])[0]
        keep = max(1, math.floor(count * math.cos(math.pi / 2 * (step + 1) / steps)))
        stay = 0 if step == steps - 1 else min(keep, len(masked) - 1)
        again = set(sure.argsort()[:stay].tolist())
        for number, (place, token) in enumerate(
            zip(masked.tolist(), code[0].tolist(), strict=True)
        ):
            known = ids.mask if number in again else ids.image_offset + token
            for row, start in zip(rows, starts, strict=True):
                row[0, start + places[place]] = known
    return rows[0][0, starts[0] + places] - ids.image_offset


def seconds(work: Callable[[], Any]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def loaded(checkpoint: Path | None) -> DimooPolicy:
    """The policy of a folder, or of random weights."""
    with tempfile.TemporaryDirectory() as made:
        if checkpoint is None:
            dimoo.save(dimoo.build(0), Path(made), recipe="random", step=0)
        model = load_model(str(checkpoint or made), None, LoadOptions(device="cpu"))
    if not isinstance(model, DimooModel):
        raise SystemExit(f"{checkpoint} is not a Lumina-DiMOO")
    return model.policy


def main() -> None:
    """Check that both give the same codes, then time them in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    policy = loaded(options.checkpoint)
    decoding = Decoding(temperature=1.0, cfg_scale=5.0, steps=options.steps)
    requests = [Request((text,), decoding, i, str(i)) for i, text in enumerate(PROMPTS)]
    ours = policy.sample("gen", requests).tokens_NT
    theirs = torch.stack([plain(policy, request) for request in requests])
    equal = int((ours == theirs).all(1).sum())
    print(f"{equal} of {BATCH} pictures have the same codes")
    pairs = [
        (
            seconds(lambda: [plain(policy, request) for request in requests]),
            seconds(lambda: policy.sample("gen", requests)),
        )
        for _ in range(options.rounds)
    ]
    for name, times in zip(("plain loop", "ours"), zip(*pairs, strict=True), strict=True):
        print(f"{name:12} {BATCH / statistics.median(times):8.1f} pictures a second")
    ratios = sorted(slow / fast for slow, fast in pairs)
    print(f"ratio {statistics.median(ratios):.2f}, from {ratios[0]:.2f} to {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
