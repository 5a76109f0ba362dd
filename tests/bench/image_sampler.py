"""Images per second of our sampler against transformers' own `generate`, in one run.

Same weights, same prompts, same number of threads; the two take turns, so a machine that slows
down slows both. Prints the median of each, and of the paired ratios with quartiles. Codes only:
both decode pixels with the same VQ decoder. A batch of 16 comes in three mixes, because we run each
distinct prompt once: 16 prompts, 4 prompts x 4 images (GenEval) and 2 prompts x 8 rollouts (the
paper's batch per device).

    python tests/bench/image_sampler.py [--checkpoint tiny] [--cfg-scale 5] [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from spread import ratios, spread

from pairuni_eval.adapters import load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.models.base import LoadOptions, Request
from pairuni_eval.models.janus import JanusModel
from pairuni_eval.models.janus.codes import draw_codes
from pairuni_eval.models.janus.token_loop import TokenLoop

BATCH = 16
IMAGES_PER_PROMPT = (1, 4, 8)
PROMPTS = tuple(
    prompt
    for color in ("red", "blue", "green", "yellow")
    for prompt in (
        f"a photo of a {color} circle",
        "a photo of two squares",
        f"a photo of a {color} cross left of a square",
        f"a photo of a blue circle and a {color} triangle",
    )
)


def seconds(work: Callable[[], Any]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def contenders(model: JanusModel, share: int, cfg_scale: float) -> dict[str, Callable[[], Any]]:
    """The peer and our sampler, eager and compiled, on the same prompts, `share` images each."""
    policy, janus = model.policy, model.policy.janus
    decoding = Decoding(temperature=1.0, cfg_scale=cfg_scale)
    requests = [Request((PROMPTS[i // share],), decoding, seed=i, uid=str(i)) for i in range(BATCH)]
    prompt = policy.encode("gen", requests)
    seeds = [request.seed for request in requests]

    @torch.no_grad()
    def peer() -> None:
        janus.generate(
            prompt.ids_NP,
            attention_mask=prompt.mask_NP.long(),
            generation_mode="image",
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            guidance_scale=cfg_scale,
        )

    def ours(loop: TokenLoop) -> Callable[[], Any]:
        return lambda: draw_codes(
            janus,
            prompt,
            guidance=policy.guidance,
            decoding=decoding,
            seeds=seeds,
            loop=loop,
        )

    loops = {"ours": TokenLoop(), "ours, compiled": TokenLoop(compiled=True)}
    return {PEER: peer, **{name: ours(loop) for name, loop in loops.items()}}


PEER = "transformers generate"


def taken(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in every round; they take turns."""
    for work in works.values():
        work()  # warm-up; compiles
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    return times


def show(times: dict[str, list[float]]) -> None:
    """Print images per second and the ratio to the peer."""
    for name, mine in times.items():
        rate = BATCH / statistics.median(mine)
        found = spread(ratios(times[PEER], mine))
        print(f"  {name:24} {rate:8.1f} images/s   {found.words('5.2f')} x transformers")


def main() -> None:
    """Print images per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--cfg-scale", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    model = load_model(options.checkpoint, "janus", LoadOptions())
    assert isinstance(model, JanusModel)
    print(f"batch {BATCH}, CFG {options.cfg_scale:g}, {model.hardware}, {options.rounds} rounds")
    for share in IMAGES_PER_PROMPT:
        print(f"{BATCH // share} prompts x {share} images")
        show(taken(contenders(model, share, options.cfg_scale), options.rounds))


if __name__ == "__main__":
    main()
