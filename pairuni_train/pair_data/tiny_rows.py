"""Understanding and generation rows of the tiny world, the raw material of its pairs.

Questions come in the forms of tiny-mmmu, tiny-mmstar, tiny-mme and tiny-pope, prompts in the six
kinds of tiny-geneval, each with a picture that shows what the prompt asks for. No scene is one of
`world.held_out`, on which the benchmarks ask; the prompts are the benchmark's own, for the world
has no others. A row depends on the seed and its number alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from pairuni_eval.api import Picture
from pairuni_eval.api.tiny import ask, prompts, world
from pairuni_eval.toolkit import seed_for
from pairuni_train.pair_data.record import Generation, Understanding

LICENSE = "Apache-2.0"
_EXTRAS = (0, 0, 1, 2)  # further things in a prompt's picture


def understanding_rows(count: int, seed: int) -> Iterator[Understanding]:
    """Questions about random scenes."""
    for number in range(count):
        rng = random.Random(seed_for(seed, f"tiny question {number}", 0, "pair source"))
        scene = world.random_scene(rng, held=False)
        asked = ask(rng, scene)
        yield Understanding(
            id=f"q{number:05d}",
            source=f"tiny/{asked.form}",
            licence=LICENSE,
            image=Picture.from_image(world.render(scene)).data,
            question=asked.text,
            answer=asked.answer,
            facts={"form": asked.form, "kind": asked.kind},
        )


def generation_rows(count: int, seed: int) -> Iterator[Generation]:
    """Prompts by turns of the six kinds, each with a picture of it; `facts` hold GenEval's row."""
    for number in range(count):
        rng = random.Random(seed_for(seed, f"tiny prompt {number}", 0, "pair source"))
        row = prompts.random_row(rng, prompts.TAGS[number % len(prompts.TAGS)])
        yield Generation(
            id=f"p{number:05d}",
            source=f"tiny/{row['tag']}",
            licence=LICENSE,
            prompt=row["prompt"],
            image=Picture.from_image(world.render(_scene_of(rng, row))).data,
            facts={"row": row},
        )


def _scene_of(rng: random.Random, row: prompts.Row) -> world.Scene:
    while True:
        scene = prompts.sample_scene(rng, row, extra=rng.choice(_EXTRAS))
        if not world.held_out(scene):
            return scene
