"""What the tiny world answers to a question about a scene, told from the question's words alone.

The questions of `pairuni_eval.tiny.questions` in the prompt forms of tiny-mmmu, tiny-mmstar,
tiny-mme and tiny-pope are read back: options, instruction and all. Nothing here knows how a
question was made, so a question and an answer that a writer made up can be judged by it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Protocol

from pairuni_eval.api.prompts import LETTER_SUFFIX, WORD_SUFFIX, YES_NO_REQUEST, lettered
from pairuni_eval.api.tiny import (
    COLORS,
    NAMES,
    ORDINALS,
    PLURALS,
    SHAPES,
    TAGS,
    Row,
    Scene,
    Thing,
    color_of,
    detections_of,
    geneval_rows,
    holds_names,
    name_of,
    name_rows,
    name_scene,
    names_in,
    names_of,
    sample_scene,
    satisfied_rows,
    satisfies,
    shape_of,
    shape_phrases,
    sides,
)

WHICH = "Which shape is in the image?"  # one of the options, which are things or names
_IMAGE_MARK = "<image 1>"
_OPTION_LINE = re.compile(r"^\(([A-Z])\) (.+)$", re.MULTILINE)  # tiny-mmmu
_OPTIONS = re.compile(r"^Options: (.+)$", re.MULTILINE)  # tiny-mmstar
_SCENES_PER_PROMPT = 24


def stem_of(question: str) -> str:
    """The question itself, without image mark, options and instruction."""
    text = question.replace(_IMAGE_MARK, "")
    for instruction in (LETTER_SUFFIX, WORD_SUFFIX, YES_NO_REQUEST.strip()):
        text = text.replace(instruction, "")
    return _OPTIONS.sub("", _OPTION_LINE.sub("", text)).strip()


def options_of(question: str) -> dict[str, str]:
    """The options by letter; empty for a question without any."""
    inline = _OPTIONS.search(question)
    if inline is None:
        return dict(_OPTION_LINE.findall(question))
    words = [part.partition(": ")[2] for part in inline.group(1).split(", ")]
    return lettered(words)


def true_answer(question: str, scene: Scene) -> str | None:
    """The right answer: a letter if there are options, else a word.

    None if the question is none of the world's, or has no single answer on this scene.
    """
    return _reader(question)(scene)


@lru_cache(maxsize=4096)
def _reader(question: str) -> Callable[[Scene], str | None]:
    """A question, read once for many scenes."""
    options = options_of(question)
    in_words = _reader_of_stem(stem_of(question), options)

    def answer(scene: Scene) -> str | None:
        word = in_words(scene)
        if word is None or not options:
            return word
        return next((letter for letter, option in options.items() if option == word), None)

    return answer


def _reader_of_stem(stem: str, options: Mapping[str, str]) -> Callable[[Scene], str | None]:
    if stem == WHICH:
        return lambda scene: _only_present(options, scene)
    for pattern, answer in _READERS:
        match = pattern.fullmatch(stem)
        if match:
            return partial(answer, words=match.groups())
    return lambda _: None


def _only_present(options: Mapping[str, str], scene: Scene) -> str | None:
    names = {word for thing in scene.things for word in (thing.name, name_of(thing))}
    present = [option for option in options.values() if option in names]
    return present[0] if len(present) == 1 else None


# Words of the world


def _one_of(names: Sequence[str]) -> str:
    return "(" + "|".join(sorted(names, key=len, reverse=True)) + ")"


_SINGULAR = {plural: shape for shape, plural in PLURALS.items()}
_PHRASES = dict(shape_phrases())
_SHAPE, _COLOR = _one_of(SHAPES), _one_of(COLORS)
_PLURAL, _PHRASE = _one_of(list(_SINGULAR)), _one_of(list(_PHRASES))
_MADE_UP = _one_of(NAMES)


class Answerer(Protocol):
    """Answers one wording, of which `words` are the variable ones."""

    def __call__(self, scene: Scene, words: tuple[str, ...]) -> str | None:
        """The answer in words, or None if the scene has no single one."""
        ...


def _only(scene: Scene, **by: str) -> Thing | None:
    found = scene.select(**by)
    return found[0] if len(found) == 1 else None


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


# One function per wording


def _count(scene: Scene, words: tuple[str, ...]) -> str:
    return str(len(scene.select(shape=_SINGULAR[words[0]])))


def _count_color(scene: Scene, words: tuple[str, ...]) -> str:
    return str(len(scene.select(color=words[0])))


def _total(scene: Scene, words: tuple[str, ...]) -> str:  # noqa: ARG001 - one form for all
    return str(len(scene.things))


def _sum(scene: Scene, words: tuple[str, ...]) -> str:
    return str(sum(len(scene.select(shape=_SINGULAR[word])) for word in words))


def _color(scene: Scene, words: tuple[str, ...]) -> str | None:
    thing = _only(scene, shape=_PHRASES.get(words[0], words[0]))
    return thing.color if thing else None


def _shape(scene: Scene, words: tuple[str, ...]) -> str | None:
    thing = _only(scene, color=words[0])
    return thing.shape if thing else None


def _side(scene: Scene, words: tuple[str, ...]) -> str | None:
    first, second = (_only(scene, shape=word) for word in words)
    found = sides(first, second) if first and second else frozenset()
    return next(iter(found)) if len(found) == 1 else None


def _line(scene: Scene, words: tuple[str, ...]) -> str | None:
    thing = _only(scene, shape=words[1])
    if thing is None:
        return None
    return ORDINALS[thing.row if words[0] == "row" else thing.col]


def _most(scene: Scene, words: tuple[str, ...]) -> str | None:  # noqa: ARG001 - one form for all
    counts = {shape: len(scene.select(shape=shape)) for shape in SHAPES}
    best = [shape for shape in SHAPES if counts[shape] == max(counts.values())]
    return best[0] if len(best) == 1 else None


def _holds(scene: Scene, words: tuple[str, ...]) -> str:
    color, shape = words if len(words) == 2 else ("", _PHRASES.get(words[0], words[0]))
    return _yes(bool(scene.select(shape=shape, color=color.strip() or None)))


def _is_there(scene: Scene, words: tuple[str, ...]) -> str:
    return _yes(words[0] in names_in(scene))


def _color_of_name(scene: Scene, words: tuple[str, ...]) -> str | None:
    return color_of(words[0]) if _once(scene, words[0]) else None


def _shape_of_name(scene: Scene, words: tuple[str, ...]) -> str | None:
    return shape_of(words[0]) if _once(scene, words[0]) else None


def _once(scene: Scene, name: str) -> bool:
    return len(scene.select(shape_of(name), color_of(name))) == 1


def _is_number(scene: Scene, words: tuple[str, ...]) -> str:
    return _yes(_count(scene, words) == words[1])


def _is_beside(scene: Scene, words: tuple[str, ...]) -> str | None:
    first, second = _only(scene, shape=words[0]), _only(scene, shape=words[2])
    if first is None or second is None:
        return None
    return _yes(words[1].removesuffix(" of") in sides(first, second))


def _is_color(scene: Scene, words: tuple[str, ...]) -> str | None:
    thing = _only(scene, shape=words[0])
    return _yes(thing.color == words[1]) if thing else None


def _more(scene: Scene, words: tuple[str, ...]) -> str:
    more, less = (len(scene.select(shape=_SINGULAR[word])) for word in words)
    return _yes(more > less)


_READERS: tuple[tuple[re.Pattern[str], Answerer], ...] = tuple(
    (re.compile(pattern), answer)
    for pattern, answer in (
        (rf"How many {_PLURAL} are there\?", _count),
        (rf"How many {_COLOR} shapes are there\?", _count_color),
        (r"How many shapes are there\?", _total),
        (rf"How many {_PLURAL} and {_PLURAL} are there together\?", _sum),
        (rf"What color is the {_SHAPE}\?", _color),
        (rf"What color is the {_PHRASE}\?", _color),
        (rf"What shape is {_COLOR}\?", _shape),
        (rf"Where is the {_SHAPE} relative to the {_SHAPE}\?", _side),
        (rf"In which (row|column) is the {_SHAPE}\?", _line),
        (r"Which kind of shape is there the most\?", _most),
        (rf"Is there an? {_SHAPE} in the image\?", _holds),
        (rf"Is there an? {_COLOR} {_SHAPE} in the image\?", _holds),
        (rf"Is there an? {_PHRASE} in the image\?", _holds),
        (rf"Is the number of {_PLURAL} in the image (\d)\?", _is_number),
        (rf"Is the {_SHAPE} (left of|right of|above|below) the {_SHAPE}\?", _is_beside),
        (rf"Is the {_SHAPE} {_COLOR}\?", _is_color),
        (rf"Are there more {_PLURAL} than {_PLURAL} in the image\?", _more),
        (rf"Is there a {_MADE_UP} in the image\?", _is_there),
        (rf"What color is the {_MADE_UP}\?", _color_of_name),
        (rf"What shape is the {_MADE_UP}\?", _shape_of_name),
    )
)


# What a prompt says


@cache
def rows_by_prompt() -> dict[str, Row]:
    """Every prompt row of the six kinds by its prompt; do not write into the result."""
    return {row["prompt"]: row for tag in TAGS for row in geneval_rows(tag)}


@cache
def _plain_scenes(prompt: str) -> tuple[Scene, ...]:
    """Scenes that show what a prompt names and nothing else, free attributes drawn at random."""
    rng = random.Random(f"plain scenes:{prompt}")
    row = rows_by_prompt()[prompt]
    return tuple(sample_scene(rng, row) for _ in range(_SCENES_PER_PROMPT))


def shown_by(prompt: str, scene: Scene) -> bool:
    """Whether a scene shows what a prompt of the six kinds or of names asks for.

    False for other prompts. Further things do no harm: a prompt need not name all of a picture.
    """
    if prompt in name_rows():
        return holds_names(name_rows()[prompt], scene)
    row = rows_by_prompt().get(prompt)
    return row is not None and satisfies(row, detections_of(scene))


def prompts_shown_by(scene: Scene) -> list[str]:
    """Every prompt of the six kinds that a scene satisfies."""
    satisfied = satisfied_rows(rows_by_prompt().values(), detections_of(scene))
    return [str(row["prompt"]) for row in satisfied]


def carries(prompt: str, question: str, answer: str) -> bool:
    """Whether who knows the prompt alone gives this answer.

    Looked up on scenes that show what the prompt names and nothing else: none of them has another
    answer, and at least a third have this one. (Not all, since what stands askew has two sides and
    the question where it stands then no single answer.) A prompt of names leaves nothing free that
    a question could ask for: its one scene has this answer.
    """
    if prompt in name_rows():
        return true_answer(question, _scene_of_names(prompt)) == answer
    if prompt not in rows_by_prompt():
        return False
    found = [true_answer(question, scene) for scene in _plain_scenes(prompt)]
    return set(found) <= {answer, None} and 3 * found.count(answer) >= len(found)


def words_asked_for(question: str, answer: str) -> frozenset[str]:
    """What a question and its right answer name of the world; other options do not count."""
    right = options_of(question).get(answer, answer)
    return frozenset(words_of_world(f"{stem_of(question)} {right}"))


@cache
def _scene_of_names(prompt: str) -> Scene:
    """A scene that shows what a prompt of names asks for and nothing else."""
    rng = random.Random(f"scene of names:{prompt}")
    return name_scene(rng, names_of(name_rows()[prompt]))


def words_of_world(text: str) -> Iterator[str]:
    """The shapes, colors and relations that a text names, plurals and phrases as their shape."""
    for phrase, shape in _PHRASES.items():
        text = text.replace(phrase, shape)
    for word in re.findall(r"[a-z]+", text):
        name = _SINGULAR.get(word, word)
        if name in _NAMES:
            yield name


_NAMES = frozenset((*SHAPES, *COLORS, "left", "right", "above", "below"))
