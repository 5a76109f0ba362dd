"""Understanding and generation rows of the tiny world, the raw material of its pairs.

Questions come in the forms of tiny-mmmu, tiny-mmstar, tiny-mme and tiny-pope, prompts in the six
kinds of tiny-geneval, each with a picture that shows what the prompt asks for. No scene is one of
`world.held_out`, on which the benchmarks ask; the prompts are the benchmark's own, for the world
has no others. A row depends on the seed and its number alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pairuni_eval import prompts as forms
from pairuni_eval.records import Picture
from pairuni_eval.seeds import seed_for
from pairuni_eval.tiny import prompts, question_rows, questions, world
from pairuni_train.pair_data.record import Generation, Understanding

LICENCE = "Apache-2.0"
_LETTER_DRAWS = 12  # tries to get a question whose answer has a given letter
_EXTRAS = (0, 0, 1, 2)  # further things in a prompt's picture


class Asked(NamedTuple):
    """A question in a benchmark's form, with its answer."""

    form: str
    kind: str
    question: str
    answer: str


def understanding_rows(count: int, seed: int) -> Iterator[Understanding]:
    """Questions about random scenes."""
    for number in range(count):
        rng = random.Random(seed_for(seed, f"tiny question {number}", 0, "pair source"))
        scene = world.random_scene(rng, held=False)
        asked = ask(rng, scene)
        yield Understanding(
            id=f"q{number:05d}",
            source=f"tiny/{asked.form}",
            licence=LICENCE,
            image=Picture.from_image(world.render(scene)).data,
            question=asked.question,
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
            licence=LICENCE,
            prompt=row["prompt"],
            image=Picture.from_image(world.render(_scene_of(rng, row))).data,
            facts={"row": row},
        )


def _scene_of(rng: random.Random, row: prompts.Row) -> world.Scene:
    while True:
        scene = prompts.sample_scene(rng, row, extra=rng.choice(_EXTRAS))
        if not world.held_out(scene):
            return scene


# Questions in the forms of the benchmarks


def ask(rng: random.Random, scene: world.Scene) -> Asked:
    """A question about a scene in one of the four forms, letters and yes/no about balanced."""
    (make,) = rng.choices(_FORMS, weights=(3, 3, 2, 2))
    return make(rng, scene)


def _choice(rng: random.Random, scene: world.Scene) -> questions.Choice:
    while True:
        question = questions.ask(rng, scene, rng.choice(questions.KINDS))
        if question is not None:
            return question


def _lettered(rng: random.Random, scene: world.Scene) -> questions.Choice:
    """A question whose letters are about evenly drawn, as far as the scene allows."""
    letter = rng.choice(questions.LETTERS)
    tried = [_choice(rng, scene) for _ in range(_LETTER_DRAWS)]
    return next((question for question in tried if question.letter == letter), tried[0])


def _mmmu(rng: random.Random, scene: world.Scene) -> Asked:
    one = _lettered(rng, scene)
    text = forms.mmmu_prompt(one.text, one.options(one.letter))
    return Asked("mmmu", one.kind, text, one.letter)


def _mmstar(rng: random.Random, scene: world.Scene) -> Asked:
    one = _lettered(rng, scene)
    text = forms.mmstar_prompt(question_rows.mmstar_text(one, one.letter))
    return Asked("mmstar", one.kind, text, one.letter)


def _mme(rng: random.Random, scene: world.Scene) -> Asked:
    while True:
        kind, truth = rng.choice(questions.STATEMENT_KINDS), rng.random() < 0.5
        said = questions.statement(rng, scene, kind, truth=truth)
        if said is not None:
            return Asked("mme", kind, forms.mme_prompt(question_rows.mme_text(said)), said.answer)


def _pope(rng: random.Random, scene: world.Scene) -> Asked:
    if rng.random() < 0.5:
        name, answer = rng.choice(scene.things).name, "yes"
    else:
        split = rng.choice(("random", "adversarial"))
        name, answer = question_rows.absent_names(rng, scene, split, ())[0], "no"
    return Asked("pope", "existence", forms.pope_prompt(question_rows.pope_text(name)), answer)


_FORMS: tuple[Callable[[random.Random, world.Scene], Asked], ...] = (_mmmu, _mmstar, _mme, _pope)
