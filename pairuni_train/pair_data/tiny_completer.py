"""The completer of the tiny world: it knows the truth.

The writer finds, among all prompts of the six kinds, one that the scene shows and that carries what
the question needs, or asks a question about a prompt's scene that the prompt alone answers. Where
there is none it declines, as it does for a half of an exact source whose picture shows more than
a prompt would name. Halves about made-up names are completed by `tiny_name_completer`, and
where a set has any, no prompt is written that a suite holds out. The verifier reads the picture and
the words, nothing else: it does not know what the writer knew. Free choices are drawn from the seed
and the row, so that a resumed build makes the same ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from pairuni_eval.api.tiny import Scene, ask, exact_flaw, read, split_of_prompt
from pairuni_eval.toolkit import seed_for
from pairuni_train.pair_data import tiny_answers
from pairuni_train.pair_data.complete import Declined, Draft, NewPrompt, NewQuestion, Verification
from pairuni_train.pair_data.embed import decode
from pairuni_train.pair_data.record import Generation, Half, Understanding
from pairuni_train.pair_data.tiny_name_completer import complete_names
from pairuni_train.pair_data.tiny_name_rows import prompt_facts

_CANDIDATES = 16  # prompts that are tried for one question
_QUESTIONS = 60  # questions that are tried for one prompt


class TinyCompleter:
    """See the module docstring.

    Args:
        seed: Where the free choices come from.
        spare: Write only prompts of the training split.
    """

    writer = "tiny-writer/1"
    verifier = "tiny-verifier/1"
    usage = ""

    def __init__(self, seed: int, *, spare: bool = False) -> None:
        self._seed, self._spare = seed, spare

    def write(self, halves: Sequence[Half]) -> list[Draft | Declined]:
        """Write the missing halves."""
        return [self._write(half) for half in halves]

    def verify(self, halves: Sequence[Half], drafts: Sequence[Draft]) -> list[Verification]:
        """Check the new halves against the given ones, by picture and words alone."""
        return [_verify(half, draft) for half, draft in zip(halves, drafts, strict=True)]

    def _write(self, half: Half) -> Draft | Declined:
        rng = random.Random(seed_for(self._seed, f"{half.source} {half.id}", 0, "tiny writer"))
        rng.random()  # the first draw is left out: the sets that were built so far stay as they are
        scene = _scene(half)
        if half.facts.get("concepts"):
            draft = complete_names(rng, half, scene)
        elif isinstance(half, Understanding):
            draft = _write_prompt(rng, half, scene, spare=self._spare)
        else:
            draft = _write_question(rng, half, scene, spare=self._spare)
        return _names_all(draft, scene) if half.facts.get("exact") else draft


def _names_all(draft: Draft | Declined, scene: Scene) -> Draft | Declined:
    """The draft of a prompt, declined where its picture shows more than it names."""
    if isinstance(draft, Declined) or exact_flaw(draft.facts["exactly"], scene) is None:
        return draft
    return Declined("the picture shows more than a prompt names")


def _scene(half: Half) -> Scene:
    assert half.image is not None  # rows without one never get here
    return read(decode(half.image))


def _write_prompt(
    rng: random.Random, half: Understanding, scene: Scene, *, spare: bool
) -> Draft | Declined:
    rows = tiny_answers.rows_by_prompt()
    for prompt in _prompts_about(rng, half, scene):
        row = rows[prompt]
        if spare and split_of_prompt(row) != "training":
            continue
        if tiny_answers.carries(prompt, half.question, half.answer):
            return Draft(NewPrompt(prompt), prompt_facts(row) if spare else {"row": row})
    return Declined("no prompt of the six kinds carries what the question needs")


def _prompts_about(rng: random.Random, half: Understanding, scene: Scene) -> list[str]:
    """True prompts, those first that name most of what the question and its answer name."""
    words = tiny_answers.words_asked_for(half.question, half.answer)
    prompts = tiny_answers.prompts_shown_by(scene)
    rng.shuffle(prompts)

    def named(prompt: str) -> int:
        return len(words & set(tiny_answers.words_of_world(prompt)))

    return sorted(prompts, key=lambda prompt: (-named(prompt), -len(prompt)))[:_CANDIDATES]


def _write_question(
    rng: random.Random, half: Generation, scene: Scene, *, spare: bool
) -> Draft | Declined:
    for _ in range(_QUESTIONS):
        asked = ask(rng, scene)
        if tiny_answers.carries(half.prompt, asked.text, asked.answer):
            facts: dict[str, Any] = {"form": asked.form, "kind": asked.kind}
            facts |= {"concepts": []} if spare else {}
            return Draft(NewQuestion(asked.text, asked.answer), facts)
    return Declined("no question was found that the prompt answers")


def _verify(half: Half, draft: Draft) -> Verification:
    if isinstance(half, Understanding):
        assert isinstance(draft.new, NewPrompt)
        return _verify_prompt(half, draft.new.prompt)
    assert isinstance(draft.new, NewQuestion)
    return _verify_question(half, draft.new)


def _verify_prompt(half: Understanding, prompt: str) -> Verification:
    if not tiny_answers.shown_by(prompt, _scene(half)):
        return Verification(False, "the prompt names what the image does not show")
    if not tiny_answers.carries(prompt, half.question, half.answer):
        return Verification(False, "the prompt does not carry what the question needs")
    return Verification(True)


def _verify_question(half: Generation, new: NewQuestion) -> Verification:
    if tiny_answers.true_answer(new.question, _scene(half)) != new.answer:
        return Verification(False, "the answer is wrong")
    if not tiny_answers.carries(half.prompt, new.question, new.answer):
        return Verification(False, "the question is not about what the prompt names")
    return Verification(True)
