"""Lessons of a step, and the packs that they go through a model in.

A lesson is half a pair; its seed has an address of run, pair, step and task, so that neither its
neighbors nor the rank that holds it changes what is drawn for it. A pack takes whole units, both
halves of a pair where a step has both, in order, until the next one would make it too long. Which
pack holds a unit changes no loss: sums are divided by counts over the whole step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from pairuni_eval.toolkit import UserError, seed_for
from pairuni_eval.toolkit.models import Lesson, PreparedLesson, Task
from pairuni_train.pair_data.read_half import picture_of, question_of
from pairuni_train.pair_data.record import Pair
from pairuni_train.sft.config import SftRecipe

Unit = Sequence[Lesson]
Prepared = Sequence[PreparedLesson]


def units_of(
    und: Sequence[Pair], gen: Sequence[Pair], recipe: SftRecipe, *, seed: int, step: int
) -> list[Unit]:
    """The lessons of a step, those that belong together as one unit.

    Args:
        und: Rows whose understanding half is taught.
        gen: Rows whose generation half is.
        recipe: Settings.
        seed: The run's.
        step: From 0.

    Raises:
        UserError: for a half that cannot be taught.
    """
    questions = [_question(pair, recipe, seed, step) for pair in und if pair.understanding]
    drawings = [_drawing(pair, seed, step) for pair in gen if pair.generation]
    both = zip_longest(questions, drawings)
    return [[one for one in unit if one is not None] for unit in both]


def packs_of(units: Iterable[Prepared], tokens: int) -> Sequence[Prepared]:
    """Units one after the other in packs of at most so many tokens.

    Raises:
        UserError: for a unit that is longer.
    """
    packs: list[list[PreparedLesson]] = []
    room = 0
    for unit in units:
        length = sum(one.length for one in unit)
        if length > tokens:
            raise UserError(
                f"A pair takes {length} tokens, and a pack holds {tokens}.",
                hint=f"--set pack_tokens={length}, or smaller pictures: --set longest=512",
            )
        if length > room:
            packs.append([])
            room = tokens
        packs[-1] += unit
        room -= length
    return packs


def _question(pair: Pair, recipe: SftRecipe, seed: int, step: int) -> Lesson:
    half = pair.understanding
    assert half is not None
    said = recipe.answer_form.replace("{answer}", half.answer)
    if thought := str(half.facts.get("thought") or ""):
        said = recipe.thought_form.replace("{thought}", thought) + said
    text = question_of(half, recipe.instruction)
    return Lesson("und", text, picture_of(half), said, _seed(seed, pair, step, "und"))


def _drawing(pair: Pair, seed: int, step: int) -> Lesson:
    half = pair.generation
    assert half is not None
    if half.image is None:
        raise UserError(
            f"Pair {pair.id}: its prompt has no picture, and drawing is taught by pictures.",
            hint="Build the pair set with the pictures of its prompts.",
        )
    return Lesson("gen", half.prompt, picture_of(half), "", _seed(seed, pair, step, "gen"))


def _seed(seed: int, pair: Pair, step: int, task: Task) -> int:
    return seed_for(seed, pair.id, step, f"{task} lesson")
