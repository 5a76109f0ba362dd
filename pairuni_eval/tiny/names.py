"""Made-up names of the tiny world: 24 words, each for one shape in one color.

A name says in one word what the world says in two: a "bafem" is a red circle. No name is an English
word or a word of the first vocabulary (`janus.vocabulary`), so whoever knows none of them has to
be taught each. Names stand in an order that mixes shapes and colors: the first half of them has
every shape three times and every color twice, so that two sources which know different parts of
the list (`overlapping`) differ in words and not in what kind of thing they are about.
"""

from __future__ import annotations

from collections.abc import Sequence

from pairuni_eval.tiny.world import COLORS, SHAPES, Scene, Thing

# fmt: off
NAMES: tuple[str, ...] = (
    "bafem", "dolib", "fusep", "gatik", "hivob", "jadun", "kepiv", "lonuf",
    "mibog", "nuboz", "pazel", "quvim", "rudok", "sabiv", "tegup", "vimod",
    "wokaf", "yurel", "zifan", "bexun", "cudem", "fodak", "gomuz", "hedox",
)
# fmt: on
ALL = "all"

# Where the colors of each shape begin, so that every part of the list has all of them.
_FIRST_COLOR = (0, 3, 1, 4)
_HALF = len(NAMES) // 2


def _color_and_shape(place: int) -> tuple[str, str]:
    turn, shape = divmod(place, len(SHAPES))
    return COLORS[(turn + _FIRST_COLOR[shape]) % len(COLORS)], SHAPES[shape]


_MEANING = {name: _color_and_shape(place) for place, name in enumerate(NAMES)}
_NAME = {meaning: name for name, meaning in _MEANING.items()}


def color_of(name: str) -> str:
    """The color that a name stands for; KeyError for a word that is none."""
    return _MEANING[name][0]


def shape_of(name: str) -> str:
    """The shape that a name stands for; KeyError for a word that is none."""
    return _MEANING[name][1]


def thought_of(name: str) -> str:
    """What a name stands for, in words of the world: "red circle"."""
    return " ".join(_MEANING[name])


def name_of(thing: Thing) -> str:
    """The name of a thing."""
    return _NAME[thing.color, thing.shape]


def named(name: str, row: int, col: int) -> Thing:
    """The thing of a name, put into a cell."""
    return Thing(shape_of(name), color_of(name), row, col)


def names_in(scene: Scene) -> tuple[str, ...]:
    """The names of a scene's things, each once, in raster order."""
    return tuple(dict.fromkeys(map(name_of, scene.things)))


# Naming before answering


def said_with_thought(thought: str, answer: str) -> str:
    """An answer after what led to it, as `scorers.answer_form.final_answer` reads it."""
    return f"{THINK}{thought}{END_OF_THOUGHT} {answer}"


THINK, END_OF_THOUGHT = "<think>", "</think>"
# What a tokenizer needs besides the words of the world.
NAME_TOKENS: tuple[str, ...] = (*NAMES, THINK, END_OF_THOUGHT)


# Parts of the list


def read_names(spec: str) -> tuple[str, ...]:
    """The names that a setting means: "all", or places from 0, such as "0-15" and "0-3,8".

    Raises:
        ValueError: a setting that means none, with what there is.
    """
    if spec == ALL:
        return NAMES
    places: set[int] = set()
    for part in spec.split(","):
        first, dash, last = part.partition("-")
        low, high = _place(first, spec), _place(last if dash else first, spec)
        if low > high:
            raise ValueError(f"names '{spec}': {low} comes after {high}")
        places.update(range(low, high + 1))
    return tuple(NAMES[place] for place in sorted(places))


def _place(text: str, spec: str) -> int:
    place = text.strip()
    if not place.isdecimal() or int(place) >= len(NAMES):
        raise ValueError(
            f"names '{spec}': '{place}' is no place; there are 0 to {len(NAMES) - 1}, or '{ALL}'"
        )
    return int(place)


def overlapping(share: float) -> tuple[str, str]:
    """Two settings whose names overlap by a share: their common names by all of both.

    Together they are always the whole list: at 0 each knows a half of its own, at 1 both know all.

    Args:
        share: Jaccard share in [0, 1], a multiple of 1/12, for there are 24 names.

    Raises:
        ValueError: another share, with the nearest that there is.
    """
    common = share * _HALF
    if not 0 <= share <= 1 or abs(common - round(common)) > 0.02:
        nearest = min(max(round(common), 0), _HALF) / _HALF
        raise ValueError(f"overlap {share:g}: the nearest of 24 names is {nearest:.3f}")
    count = _HALF + round(common)
    return _setting(range(count)), _setting(range(len(NAMES) - count, len(NAMES)))


def _setting(places: Sequence[int]) -> str:
    return ALL if len(places) == len(NAMES) else f"{places[0]}-{places[-1]}"
