"""Pictures per second of our flow-matching sampler against a plain loop, in one run.

The plain loop does what the official code does: one request at a time, its prompt read anew for
every draw, and each of the three branches of guidance a forward of its own, the third of which says
the same as the first where there is no source picture. Weights, prompts, times and noise are the
same, so both give the same latents, which is checked. The two take turns, so a machine that slows
down slows both. Latents only: both decode pixels with the same auto-encoder.

    python tests/bench/flow_matching.py [--checkpoint FOLDER] [--points 11] [--rounds 9]

Without a checkpoint the weights are random ones of the tiny model's size.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from pairuni_eval.adapters import load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.models.bagel.adapter import BagelModel
from pairuni_eval.models.bagel.contexts import MARKS, Context, latent_block, read, text_block
from pairuni_eval.models.bagel.flow import Canvas, FlowGuidance, VelocityField, drawn, timesteps
from pairuni_eval.models.base import LoadOptions, Request
from pairuni_eval.tiny import bagel

BATCH = 8
DRAWS = 2  # of each prompt, as a benchmark of several pictures a prompt asks for
PROMPTS = (
    "a photo of a red circle",
    "a photo of a blue square left of a green circle",
    "a photo of two yellow triangles",
    "a photo of a cross",
)
SHIFT = 2.0
BARE = Decoding()


class Plain:
    """The plain loop, on the weights of a loaded model."""

    def __init__(self, model: BagelModel) -> None:
        self._loaded = model.inference._loaded
        self._network, self._canvas = self._loaded.network, canvas_of(model)

    def latents(self, text: str, noise_TC: Tensor, guidance: FlowGuidance, points: int) -> Tensor:
        """The latents of one picture."""
        branches = [self._said(text), Context.empty(1, self._network.device), self._said(text)]
        x = noise_TC[None]
        for now, after in pairwise(timesteps(points, SHIFT)):
            whole, wordless, again = (self._velocity(one, x, now) for one in branches)
            x = x - guidance.mixed(whole, wordless, again) * (now - after)
        return x[0]

    def _said(self, text: str) -> Context:
        ids = self._loaded.tokenizer.encode(text, add_special_tokens=False).ids
        block = text_block(self._network, self._loaded.marks, [ids])
        return read(self._network, Context.empty(1, self._network.device), block)[1]

    def _velocity(self, context: Context, x: Tensor, now: float) -> Tensor:
        block = latent_block(self._network, self._canvas.marks, x, self._canvas.places_T, now)
        hidden, _ = read(self._network, context, block)
        velocity: Tensor = self._network.llm2vae(hidden[:, MARKS:])
        return velocity.float()


def canvas_of(model: BagelModel) -> Canvas:
    """Where a picture of the usual size is drawn."""
    loaded = model.inference._loaded
    width, height = loaded.shapes.drawn
    return model.inference.canvas((height // loaded.config.cell, width // loaded.config.cell))


@torch.inference_mode()
def ours(
    model: BagelModel, requests: list[Request], noise: Tensor, guidance: FlowGuidance, points: int
) -> Tensor:
    """The latents of a batch."""
    branches, _ = model.inference.branches_of_prompts(requests)
    field = VelocityField(model.inference._network, branches, canvas_of(model), guidance)
    return drawn(field, noise, timesteps(points, SHIFT))


def timed(make: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Seconds that a call took, and what it gave."""
    start = time.perf_counter()
    made = make()
    return time.perf_counter() - start, made


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--points", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if given.checkpoint is None:
            bagel.save(bagel.build(0), Path(scratch), recipe="random", step=0)
        model = load_model(str(given.checkpoint or scratch), None, LoadOptions(device="cpu"))
    assert isinstance(model, BagelModel)
    guidance = FlowGuidance(4.0, 1.5, renorm="global")
    requests = [
        Request((PROMPTS[number // DRAWS],), BARE, number, str(number)) for number in range(BATCH)
    ]
    config = model.inference._loaded.config
    tokens = (model.inference._loaded.shapes.drawn[0] // config.cell) ** 2
    noise = torch.stack(
        [
            torch.randn(tokens, config.token, generator=torch.Generator().manual_seed(one.seed))
            for one in requests
        ]
    )
    plain = Plain(model)

    @torch.inference_mode()
    def one_by_one() -> Tensor:
        made = [
            plain.latents(request.text, noise[number], guidance, given.points)
            for number, request in enumerate(requests)
        ]
        return torch.stack(made)

    def together() -> Tensor:
        return ours(model, requests, noise, guidance, given.points)

    ratios = []
    for number in range(given.rounds + 1):
        slow, theirs = timed(one_by_one)
        fast, mine = timed(together)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-3)
        if number:  # the first is a warm-up
            ratios.append(slow / fast)
    print(
        f"{BATCH} pictures of {len(set(PROMPTS))} prompts, {given.points - 1} steps, guided: "
        f"{BATCH / fast:.1f} pictures a second, {statistics.median(ratios):.1f} times as many as "
        f"the plain loop ({min(ratios):.1f} to {max(ratios):.1f} in {given.rounds} rounds)"
    )


if __name__ == "__main__":
    main()
