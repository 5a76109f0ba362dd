"""What the tiny model is taught: every lesson makes one training row from a random generator.

The prompt forms of the benchmarks (`pairuni_eval.prompts`) on scenes that are not held out, and
dense companions: listing what stands in which row and column, reading all cells off a picture, and
drawing from such a list. Talks and drawings about made-up names may come besides.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

from pairuni_eval.api.prompts import prompts as forms
from pairuni_eval.api.tiny import (
    NAMES,
    NameKind,
    ask_about,
    benchmark_forms,
    edits,
    knowledge,
    name_row,
    name_scene,
    names_in,
    prompts,
    questions,
    said_with_thought,
    split_of_prompt,
    world,
)
from pairuni_eval.toolkit.networks import janus
from pairuni_train.tiny_pretraining.config import NameLessons
from pairuni_train.tiny_pretraining.thoughts import thought_about

# The share of each lesson in the loss of a step.
WEIGHTS: dict[str, float] = {
    "mmmu": 1.2,
    "mmstar": 1.2,
    "open": 3.0,
    "mme": 2.5,
    "pope": 1.5,
    "locate": 0.8,
    "read_grid": 0.2,
    "single_object": 0.05,
    "two_object": 0.15,
    "counting": 0.15,
    "colors": 0.15,
    "position": 0.2,
    "color_attr": 0.25,
    "knowledge": 0.3,
    "draw_grid": 0.15,
    "add": 0.3,
    "remove": 0.3,
    "replace": 0.35,
    "adjust": 0.3,
    "name_question": 2.0,
    "name_alone": 1.0,
    "two_names": 1.5,
}
ORDER = {name: place for place, name in enumerate(WEIGHTS)}
# What ends in a picture; of the lessons about names some are questions, and none is listed here.
DRAWN_GROUPS = ("draw", "edit")
DRAWN_LESSONS = frozenset(
    {
        *("single_object", "two_object", "counting", "colors", "position", "color_attr"),
        *("knowledge", "draw_grid", "add", "remove", "replace", "adjust"),
    }
)


class Turn(NamedTuple):
    """What the user says and, unless the row ends in a drawing, the answer."""

    lesson: str
    text: str
    answer: str | None = None


class Example(NamedTuple):
    """One training row: the picture it shows, a talk about it, and perhaps a drawing to make."""

    turns: tuple[Turn, ...]
    picture: world.Scene | None = None
    drawing: world.Scene | None = None


class ExampleSource(NamedTuple):
    """How many rows of every step a maker gives; rows of a group go through the model together."""

    group: str
    rows: int
    make: Callable[[random.Random], Example]


def sources(names: NameLessons) -> tuple[ExampleSource, ...]:
    """All makers of training rows.

    Questions come as talks of several turns on one picture, for that gives three times as many
    answers per second as one picture per question.
    """
    return (
        ExampleSource("choice", 9, partial(_choice_talk, names)),
        ExampleSource("short", 14, partial(_short_talk, names)),
        ExampleSource("dense", 4, _locate),
        ExampleSource("dense", 1, _read_grid),
        ExampleSource("draw", 1, _draw("single_object")),
        ExampleSource("draw", 1, _draw("two_object")),
        ExampleSource("draw", 1, _draw("counting")),
        ExampleSource("draw", 1, _draw("colors")),
        ExampleSource("draw", 2, _draw("position")),
        ExampleSource("draw", 2, _draw("color_attr")),
        ExampleSource("draw", 3, _knowledge),
        ExampleSource("draw", 1, _draw_grid),
        ExampleSource("edit", 2, _edit("add")),
        ExampleSource("edit", 2, _edit("remove")),
        ExampleSource("edit", 3, _edit("replace")),
        ExampleSource("edit", 2, _edit("adjust")),
        ExampleSource("short", names.talks, partial(_name_talk, names)),
        ExampleSource("draw", names.drawings, _draw_names),
    )


def _choice_talk(names: NameLessons, rng: random.Random) -> Example:
    scene = world.random_scene(rng, held=False)
    makers = rng.choices((_mmmu, _mmstar), k=4)
    return Example(_shortened(rng, _talk(rng, scene, makers, names)), scene)


def _short_talk(names: NameLessons, rng: random.Random) -> Example:
    scene = world.random_scene(rng, held=False)
    makers = rng.choices((_open, _mme, _pope), weights=(5, 3, 2), k=8)
    return Example(_shortened(rng, _talk(rng, scene, makers, names)), scene)


_Making = Callable[[random.Random, world.Scene], Turn]


def _talk(
    rng: random.Random, scene: world.Scene, makers: Sequence[_Making], names: NameLessons
) -> list[Turn]:
    """A turn of each maker."""
    return [_aloud(rng, make(rng, scene), scene, names) for make in makers]


def _aloud(rng: random.Random, turn: Turn, scene: world.Scene, names: NameLessons) -> Turn:
    """Now and then with a thought before the answer, if the turn is about one thing."""
    assert turn.answer is not None
    if not names.aloud or rng.random() >= names.aloud:
        return turn
    thought = thought_about(turn.text, turn.answer, scene)
    return turn._replace(answer=said_with_thought(thought, turn.answer)) if thought else turn


_NAME_KINDS: tuple[NameKind, ...] = (
    *("name_exists", "name_exists", "name_color", "name_shape", "name_choice"),
)


def _name_talk(names: NameLessons, rng: random.Random) -> Example:
    scene = world.random_scene(rng, held=False)
    return Example(tuple(_about_name(rng, scene, names) for _ in range(8)), scene)


def _about_name(rng: random.Random, scene: world.Scene, names: NameLessons) -> Turn:
    """A question about a name that is there, or as often about one that is not; never a loop.

    A scene may hold every name twice or more. Then only whether one is there can be asked.
    """
    there, kind = names_in(scene), rng.choice(_NAME_KINDS)
    name = rng.choice(there)
    if kind == "name_exists" and rng.random() < 0.5:
        name = rng.choice([one for one in NAMES if one not in there])
    asked = ask_about(rng, scene, name, kind) or ask_about(rng, scene, name, "name_exists")
    assert asked is not None
    answer = asked.answer
    if names.thoughts:
        answer = said_with_thought(asked.facts["thought"], answer)
    return Turn("name_question", asked.text, answer)


def _shortened(rng: random.Random, turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Leave the instruction out of most turns after the first, as a person would."""
    return (
        turns[0],
        *(t._replace(text=_bare(t.text)) if rng.random() < 0.7 else t for t in turns[1:]),
    )


def _bare(text: str) -> str:
    for instruction in (forms.LETTER_SUFFIX, forms.WORD_SUFFIX, "Please answer yes or no."):
        text = text.removesuffix(instruction)
    return text.rstrip()


def _turn(one: benchmark_forms.TinyQuestion) -> Turn:
    return Turn(one.form, one.text, one.answer)


def _mmmu(rng: random.Random, scene: world.Scene) -> Turn:
    turn = _turn(benchmark_forms.mmmu(rng, scene))
    return turn._replace(text=_maybe_marked(rng, turn.text))


def _maybe_marked(rng: random.Random, text: str) -> str:
    # Some harnesses leave MMMU's image marker in the text, others replace it by the image.
    return f"<image 1> {text}" if rng.random() < 0.3 else text


def _mmstar(rng: random.Random, scene: world.Scene) -> Turn:
    return _turn(benchmark_forms.mmstar(rng, scene))


def _open(rng: random.Random, scene: world.Scene) -> Turn:
    question = benchmark_forms.choice(rng, scene)
    if question.kind == "existence":
        return _pope(rng, scene)
    text = forms.mmmu_prompt(_maybe_marked(rng, question.text), ())
    return Turn("open", text, question.answer)


def _mme(rng: random.Random, scene: world.Scene) -> Turn:
    return _turn(benchmark_forms.mme(rng, scene))


def _pope(rng: random.Random, scene: world.Scene) -> Turn:
    return _turn(benchmark_forms.pope(rng, scene))


def _locate(rng: random.Random) -> Example:
    """Every thing in raster order with its row and column: "circle red first second ..."."""
    scene = world.random_scene(rng, held=False)
    words = " ".join(
        f"{t.shape} {t.color} {questions.ORDINALS[t.row]} {questions.ORDINALS[t.col]}"
        for t in scene.things
    )
    return Example((Turn("locate", janus.LOCATE, words),), scene)


def _read_grid(rng: random.Random) -> Example:
    scene, attribute = _full_scene(rng), rng.choice(("color", "shape"))
    words = prompts.grid_words(scene, attribute)
    return Example((Turn("read_grid", janus.READ_GRID.format(attribute), words),), scene)


def _full_scene(rng: random.Random) -> world.Scene:
    return world.random_scene(rng, min_things=6, max_things=16, held=False)


def _draw_grid(rng: random.Random) -> Example:
    scene = _full_scene(rng)
    words = prompts.grid_words(scene, rng.choice(("color", "shape")))
    return Example((Turn("draw_grid", janus.DRAW_GRID.format(words)),), drawing=scene)


@cache
def _rows(tag: str) -> tuple[prompts.Row, ...]:
    return tuple(prompts.geneval_rows(tag))


@cache
def _plain_prompts() -> tuple[knowledge.KnowledgePrompt, ...]:
    return tuple(knowledge.plain_prompts())


def _draw(tag: str) -> Callable[[random.Random], Example]:
    def make(rng: random.Random) -> Example:
        row = rng.choice(_rows(tag))
        return Example((Turn(tag, row["prompt"]),), drawing=prompts.sample_scene(rng, row))

    return make


def _draw_names(rng: random.Random) -> Example:
    """One name or two, of which the prompt is of the training split."""
    while True:
        named = rng.sample(NAMES, rng.choice((1, 2)))
        row = name_row(*named)
        if split_of_prompt(row) == "training":
            lesson = "name_alone" if len(named) == 1 else "two_names"
            return Example((Turn(lesson, row["prompt"]),), drawing=name_scene(rng, named))


def _knowledge(rng: random.Random) -> Example:
    prompt = rng.choice(_plain_prompts())
    drawing = prompts.sample_scene(rng, prompt.wanted)
    return Example((Turn("knowledge", prompt.row["Prompt"]),), drawing=drawing)


def _edit(edit_type: str) -> Callable[[random.Random], Example]:
    def make(rng: random.Random) -> Example:
        scene, edit = edits.random_edit(rng, edit_type, held=False)
        return Example((Turn(edit_type, edit.prompt),), scene, edits.apply_edit(scene, edit))

    return make
