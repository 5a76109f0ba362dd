"""Questions about scenes of the tiny world, with the true answer and plausible wrong ones.

One function per kind makes a `Choice` question (a short answer and three wrong options, which
the rows list in their natural order: numbers by size, colors as in the world) or, if
the scene does not allow one (no color that only one thing has, say), None. `statement` makes
yes/no questions. `question_rows` puts both into the schemas of the benchmarks. Everything is drawn
from the generator that the caller hands over.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from pairuni_eval.scorers.facts import with_article
from pairuni_eval.scorers.objects import relative_position
from pairuni_eval.tiny.knowledge import shape_phrases
from pairuni_eval.tiny.prompts import PLURALS
from pairuni_eval.tiny.world import (
    COLORS,
    MAX_THINGS,
    SHAPES,
    Scene,
    Thing,
    detections_of,
    random_scene,
)

LETTERS = "ABCD"
ORDINALS: tuple[str, ...] = ("first", "second", "third", "fourth")
SIDES: tuple[str, ...] = ("left", "right", "above", "below")
DIGITS: tuple[str, ...] = tuple(str(n) for n in range(MAX_THINGS + 1))
_NAMES = [f"{color} {shape}" for color, shape in product(COLORS, SHAPES)]


@dataclass(frozen=True)
class Choice:
    """A question with one right answer and three wrong ones, all different.

    `letter` is the place of the answer (A to D) when the options stand in their natural order:
    numbers and places by size, colors and shapes as `world` lists them.
    """

    kind: str
    text: str
    answer: str
    wrong: tuple[str, str, str]
    letter: str = "A"

    def options(self, letter: str) -> tuple[str, ...]:
        """The four options in order, the right one at `letter` (A to D)."""
        options = list(self.wrong)
        options.insert(LETTERS.index(letter), self.answer)
        return tuple(options)


@dataclass(frozen=True)
class Statement:
    """A question that is answered with "yes" or "no"; `text` ends with the question mark."""

    kind: str
    text: str
    answer: str


# Referring to a thing


def unique_things(scene: Scene) -> list[tuple[str, Thing]]:
    """Words that point at exactly one thing: by shape, by color ("the red shape"), by both."""
    found: list[tuple[str, Thing]] = []
    for thing in scene.things:
        if len(scene.select(shape=thing.shape)) == 1:
            found.append((f"the {thing.shape}", thing))
        elif len(scene.select(thing.shape, thing.color)) == 1:
            found.append((f"the {thing.name}", thing))
        if len(scene.select(color=thing.color)) == 1:
            found.append((f"the {thing.color} shape", thing))
    return found


def _uniquely(scene: Scene, by: str) -> list[Thing]:
    values = Counter(getattr(thing, by) for thing in scene.things)
    return [thing for thing in scene.things if values[getattr(thing, by)] == 1]


def _choice(rng: random.Random, kind: str, text: str, answer: str, pool: Sequence[str]) -> Choice:
    """A question whose options are four neighbors in a pool, in the pool's order."""
    windows = [pool[start : start + 4] for start in sorted({0, len(pool) - 4})]
    options = rng.choice([window for window in windows if answer in window])
    first, second, third = (word for word in options if word != answer)
    return Choice(kind, text, answer, (first, second, third), LETTERS[options.index(answer)])


# Choice questions, one function per kind


def _count(rng: random.Random, scene: Scene) -> Choice | None:
    shape = rng.choice(SHAPES)
    count = len(scene.select(shape=shape))
    text = f"How many {PLURALS[shape]} are there?"
    return _choice(rng, "count", text, DIGITS[count], DIGITS)


def _count_color(rng: random.Random, scene: Scene) -> Choice | None:
    color = rng.choice(COLORS)
    count = len(scene.select(color=color))
    text = f"How many {color} shapes are there?"
    return _choice(rng, "count_color", text, DIGITS[count], DIGITS)


def _total(rng: random.Random, scene: Scene) -> Choice | None:
    count = len(scene.things)
    if count >= len(DIGITS):
        return None
    return _choice(rng, "total", "How many shapes are there?", DIGITS[count], DIGITS)


def _color(rng: random.Random, scene: Scene) -> Choice | None:
    things = _uniquely(scene, "shape")
    if not things:
        return None
    thing = rng.choice(things)
    return _choice(rng, "color", f"What color is the {thing.shape}?", thing.color, COLORS)


def _shape(rng: random.Random, scene: Scene) -> Choice | None:
    things = _uniquely(scene, "color")
    if not things:
        return None
    thing = rng.choice(things)
    return _choice(rng, "shape", f"What shape is {thing.color}?", thing.shape, SHAPES)


def names_without(scene: Scene) -> list[str]:
    """A color and a shape of every thing that a scene does not have, in the order of `world`."""
    present = {thing.name for thing in scene.things}
    return [name for name in _NAMES if name not in present]


def _existence(rng: random.Random, scene: Scene) -> Choice | None:
    if not scene.things:
        return None
    absent = names_without(scene)
    answer = rng.choice(scene.things).name
    options = sorted([answer, *rng.sample(absent, 3)], key=_NAMES.index)
    first, second, third = (name for name in options if name != answer)
    letter = LETTERS[options.index(answer)]
    return Choice(
        "existence", "Which shape is in the image?", answer, (first, second, third), letter
    )


def sides(a: Thing, b: Thing) -> frozenset[str]:
    """On which sides of `b` thing `a` lies, by GenEval's geometry: left, right, above, below."""
    first, second = detections_of(Scene((a,)))[0], detections_of(Scene((b,)))[0]
    return frozenset(name.removesuffix(" of") for name in relative_position(first.box, second.box))


def _pair(rng: random.Random, scene: Scene) -> tuple[Thing, Thing, str] | None:
    things = _uniquely(scene, "shape")
    if len(things) < 2:
        return None
    a, b = rng.sample(things, 2)
    found = sides(a, b)
    return (a, b, next(iter(found))) if len(found) == 1 else None


def _relation(rng: random.Random, scene: Scene) -> Choice | None:
    pair = _pair(rng, scene)
    if pair is None:
        return None
    a, b, side = pair
    text = f"Where is the {a.shape} relative to the {b.shape}?"
    return _choice(rng, "relation", text, side, SIDES)


def _row(rng: random.Random, scene: Scene) -> Choice | None:
    return _line(rng, scene, "row")


def _column(rng: random.Random, scene: Scene) -> Choice | None:
    return _line(rng, scene, "column")


def _line(rng: random.Random, scene: Scene, line: str) -> Choice | None:
    things = _uniquely(scene, "shape")
    if not things:
        return None
    thing = rng.choice(things)
    answer = ORDINALS[thing.row if line == "row" else thing.col]
    text = f"In which {line} is the {thing.shape}?"
    return _choice(rng, line, text, answer, ORDINALS)


def _most(rng: random.Random, scene: Scene) -> Choice | None:
    counts = Counter(thing.shape for thing in scene.things).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    answer = counts[0][0]
    text = "Which kind of shape is there the most?"
    return _choice(rng, "most", text, answer, SHAPES)


def _sum(rng: random.Random, scene: Scene) -> Choice | None:
    a, b = rng.sample(SHAPES, 2)
    count = len(scene.select(shape=a)) + len(scene.select(shape=b))
    if count >= len(DIGITS):
        return None
    text = f"How many {PLURALS[a]} and {PLURALS[b]} are there together?"
    return _choice(rng, "sum", text, DIGITS[count], DIGITS)


def _knowledge(rng: random.Random, scene: Scene) -> Choice | None:
    things = _uniquely(scene, "shape")
    if not things:
        return None
    thing = rng.choice(things)
    phrase = rng.choice([phrase for phrase, shape in shape_phrases() if shape == thing.shape])
    text = f"What color is the {phrase}?"
    return _choice(rng, "knowledge", text, thing.color, COLORS)


_ASK: dict[str, Callable[[random.Random, Scene], Choice | None]] = {
    "count": _count,
    "color": _color,
    "shape": _shape,
    "existence": _existence,
    "relation": _relation,
    "row": _row,
    "column": _column,
    "total": _total,
    "count_color": _count_color,
    "most": _most,
    "sum": _sum,
    "knowledge": _knowledge,
}
KINDS: tuple[str, ...] = tuple(_ASK)


def ask(rng: random.Random, scene: Scene, kind: str) -> Choice | None:
    """A question of a kind about a scene; None if this draw on this scene gives no question.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in _ASK:
        raise ValueError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
    return _ASK[kind](rng, scene)


def random_question(
    rng: random.Random,
    kind: str | None = None,
    *,
    letter: str | None = None,
    held: bool | None = None,
) -> tuple[Scene, Choice]:
    """A random scene and a question about it; the kind is drawn evenly when none is given.

    `letter` is the natural place of the answer (any if None), `held` that of `random_scene`.
    """
    kind = kind or rng.choice(KINDS)
    while True:
        scene = random_scene(rng, held=held)
        question = ask(rng, scene, kind)
        if question is not None and letter in (None, question.letter):
            return scene, question


# Yes/no questions


def _say_existence(rng: random.Random, scene: Scene, truth: bool) -> str | None:
    present = sorted({t.shape for t in scene.things})
    pool = present if truth else [s for s in SHAPES if s not in present]
    return f"Is there {with_article(rng.choice(pool))} in the image?" if pool else None


def _say_count(rng: random.Random, scene: Scene, truth: bool) -> str | None:
    shape = rng.choice(SHAPES)
    count = len(scene.select(shape=shape))
    said = count if truth else rng.choice([n for n in (count - 1, count + 1) if n >= 0])
    text = f"Is the number of {PLURALS[shape]} in the image {said}?"
    return text if said < len(DIGITS) else None


def _say_position(rng: random.Random, scene: Scene, truth: bool) -> str | None:
    pair = _pair(rng, scene)
    if pair is None:
        return None
    a, b, side = pair
    said = side if truth else _OPPOSITE[side]
    words = f"{said} of" if said in ("left", "right") else said
    return f"Is the {a.shape} {words} the {b.shape}?"


_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def _say_color(rng: random.Random, scene: Scene, truth: bool) -> str | None:
    things = _uniquely(scene, "shape")
    if not things:
        return None
    thing = rng.choice(things)
    color = thing.color if truth else rng.choice([c for c in COLORS if c != thing.color])
    return f"Is the {thing.shape} {color}?"


def _say_commonsense(rng: random.Random, scene: Scene, truth: bool) -> str | None:
    present = {thing.shape for thing in scene.things}
    pool = [phrase for phrase, shape in shape_phrases() if (shape in present) == truth]
    return f"Is there a {rng.choice(pool)} in the image?" if pool else None


def _say_numerical(rng: random.Random, scene: Scene, truth: bool) -> str | None:
    pairs = [
        (a, b)
        for a, b in product(SHAPES, SHAPES)
        if a != b and (len(scene.select(shape=a)) > len(scene.select(shape=b))) == truth
    ]
    if not pairs:
        return None
    more, less = rng.choice(pairs)
    return f"Are there more {PLURALS[more]} than {PLURALS[less]} in the image?"


_SAY: dict[str, Callable[[random.Random, Scene, bool], str | None]] = {
    "existence": _say_existence,
    "count": _say_count,
    "position": _say_position,
    "color": _say_color,
    "commonsense_reasoning": _say_commonsense,
    "numerical_calculation": _say_numerical,
}
# The first four are perception in MME, the last two cognition.
STATEMENT_KINDS: tuple[str, ...] = tuple(_SAY)


def statement(rng: random.Random, scene: Scene, kind: str, *, truth: bool) -> Statement | None:
    """A yes/no question of a kind whose answer is yes if `truth`; None if the scene has none.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in _SAY:
        raise ValueError(f"unknown kind {kind!r}; there are {', '.join(STATEMENT_KINDS)}")
    text = _SAY[kind](rng, scene, truth)
    return None if text is None else Statement(kind, text, "yes" if truth else "no")


def random_statement(
    rng: random.Random,
    kind: str | None = None,
    *,
    truth: bool | None = None,
    held: bool | None = None,
) -> tuple[Scene, Statement]:
    """A random scene and a yes/no question about it; what is not given is drawn evenly.

    `held` is that of `random_scene`.
    """
    kind = kind or rng.choice(STATEMENT_KINDS)
    truth = rng.random() < 0.5 if truth is None else truth
    while True:
        scene = random_scene(rng, held=held)
        said = statement(rng, scene, kind, truth=truth)
        if said is not None:
            return scene, said


def wordings() -> Iterator[str]:
    """Every fixed wording and every word that a question or an answer of this module can hold."""
    yield from SHAPES
    yield from COLORS
    yield from PLURALS.values()
    yield from DIGITS
    yield from ORDINALS
    yield from SIDES
    yield from (phrase for phrase, _ in shape_phrases())
    yield "How many shapes are there together? Which shape is in the image? yes no of a an and"
    yield "What color is the? What shape is? Where is the relative to the? In which row column"
    yield "Is the number of in the image? Which kind of shape is there the most?"
    yield "Are there more than? Please answer yes or no."
    yield "Options: A: B: C: D: () <image 1>"
