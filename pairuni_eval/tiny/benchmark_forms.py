"""Questions about a tiny scene as a model reads them, in the forms of MMMU, MMStar, MME and POPE.

Pretraining and pair sets ask them about scenes of their own. The benchmarks ask on held-out scenes
by rows in the upstream schemas (`question_rows`), whose texts are the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from pairuni_eval import prompts as forms
from pairuni_eval.tiny import question_rows, questions
from pairuni_eval.tiny.world import Scene

_LETTER_DRAWS = 12  # tries to get a question whose answer has a given letter


class TinyQuestion(NamedTuple):
    """A question in a benchmark's form.

    Attributes:
        form: "mmmu", "mmstar", "mme" or "pope".
        kind: What it asks for, one of `questions.KINDS` or `STATEMENT_KINDS`.
        text: What a model reads.
        answer: A letter, or yes or no.
    """

    form: str
    kind: str
    text: str
    answer: str


def choice(rng: random.Random, scene: Scene) -> questions.Choice:
    """A question of a random kind that the scene has an answer to."""
    while True:
        question = questions.ask(rng, scene, rng.choice(questions.KINDS))
        if question is not None:
            return question


def _lettered(rng: random.Random, scene: Scene) -> questions.Choice:
    """A question whose letters are about evenly drawn, as far as the scene allows."""
    letter = rng.choice(questions.LETTERS)
    tried = [choice(rng, scene) for _ in range(_LETTER_DRAWS)]
    return next((question for question in tried if question.letter == letter), tried[0])


def mmmu(rng: random.Random, scene: Scene) -> TinyQuestion:
    """A choice question in MMMU's form, without its image marker."""
    one = _lettered(rng, scene)
    text = forms.mmmu_prompt(one.text, one.options(one.letter))
    return TinyQuestion("mmmu", one.kind, text, one.letter)


def mmstar(rng: random.Random, scene: Scene) -> TinyQuestion:
    """A choice question in MMStar's form."""
    one = _lettered(rng, scene)
    text = forms.mmstar_prompt(question_rows.mmstar_text(one, one.letter))
    return TinyQuestion("mmstar", one.kind, text, one.letter)


def mme(rng: random.Random, scene: Scene) -> TinyQuestion:
    """A yes/no question in MME's form, true and false alike often."""
    while True:
        kind, truth = rng.choice(questions.STATEMENT_KINDS), rng.random() < 0.5
        said = questions.statement(rng, scene, kind, truth=truth)
        if said is not None:
            return TinyQuestion(
                "mme", kind, forms.mme_prompt(question_rows.mme_text(said)), said.answer
            )


def pope(rng: random.Random, scene: Scene) -> TinyQuestion:
    """POPE's question about a thing that is there, or as often about one that is not."""
    if rng.random() < 0.5:
        name, answer = rng.choice(scene.things).name, "yes"
    else:
        split = rng.choice(("random", "adversarial"))
        name, answer = (
            question_rows.absent_names(rng, scene, split, question_rows.UNCOUNTED)[0],
            "no",
        )
    return TinyQuestion(
        "pope", "existence", forms.pope_prompt(question_rows.pope_text(name)), answer
    )


_FORMS: tuple[Callable[[random.Random, Scene], TinyQuestion], ...] = (mmmu, mmstar, mme, pope)


def ask(rng: random.Random, scene: Scene) -> TinyQuestion:
    """A question in one of the four forms, letters and yes/no about balanced."""
    (make,) = rng.choices(_FORMS, weights=(3, 3, 2, 2))
    return make(rng, scene)
